"""Models of the hub: found in the library's own cache with their commit, loaded from there, never downloaded."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from perjoule.errors import PerjouleError, UsageError
from perjoule_server import models
from perjoule_server.profiles import hub
from perjoule_server.tasks.base import ModelSpec, TaskRequest
from perjoule_server.tiny import build_tiny
from tests.server.profiles.hubcache import COMMIT, stored

GPT2 = ModelSpec("gpt2", "text-generation", "openai-community/gpt2", "main", "hub")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2."""
    return build_tiny(tmp_path_factory.mktemp("tiny"), ["text-generation"])["text-generation"]


def located(spec: ModelSpec, cache: Path, **settings: Any) -> ModelSpec:
    """The one specification, located."""
    (found,) = models.located([spec], settings.pop("dtype", "float32"), cache=cache, **settings)
    return found


@pytest.mark.parametrize("downloaded_as", ["openai-community/gpt2", "gpt2"])
@pytest.mark.parametrize("asked_as", ["openai-community/gpt2", "gpt2"])
def test_renamed_repositories(model: Path, tmp_path: Path, downloaded_as: str, asked_as: str) -> None:
    """A model is found under its old and its new name, with the commit that its branch stands for."""
    stored(tmp_path, downloaded_as, model)
    found = located(replace(GPT2, source=asked_as), tmp_path)
    assert (found.id, found.source, found.revision) == ("gpt2", downloaded_as, COMMIT)
    assert found.options["dtype"] == "float32"


def test_a_folder_of_the_same_name(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in the working directory that is called like the repository is not taken in its place."""
    stored(tmp_path / "cache", "gpt2", model)
    (tmp_path / "gpt2").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="start from another one"):
        located(GPT2, tmp_path / "cache")
    (spec,) = models.profile("architecture:gpt2", ["text-generation"])
    assert located(spec, tmp_path / "cache", dtype="auto").options["dtype"] == "float32"


def test_a_pinned_revision(model: Path, tmp_path: Path) -> None:
    """A commit or a tag is served where it is there; another one is not taken in its place."""
    other = "0" * 40
    stored(tmp_path, "openai-community/gpt2", model, other, "v1.0")
    assert located(replace(GPT2, revision="v1.0"), tmp_path).revision == other
    assert located(replace(GPT2, revision=other), tmp_path).revision == other
    for missing in ("main", COMMIT):
        with pytest.raises(UsageError, match=f"revision {missing}"):
            located(replace(GPT2, revision=missing), tmp_path)


def test_missing_models_are_told_at_once(tmp_path: Path) -> None:
    """All that is missing is told together, each with the line that downloads it, in well under a second."""
    specs = models.profile("study", ["text-generation", "text-to-image"])
    started = time.monotonic()
    with pytest.raises(UsageError) as caught:
        models.located(specs, cache=tmp_path)
    assert time.monotonic() - started < 5
    lines = [line.strip() for line in str(caught.value).splitlines() if line.strip().startswith("hf download")]
    assert [line.split()[2] for line in lines] == [
        "openai-community/gpt2", "stable-diffusion-v1-5/stable-diffusion-v1-5",
    ]  # fmt: skip
    assert all("--revision main" in line and "safetensors" in line and ".bin" not in line for line in lines)


def test_the_real_loading_path(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of the cache loads by name and commit, and answers as the same folder does."""
    from huggingface_hub import constants

    stored(tmp_path, "openai-community/gpt2", model)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    found = located(GPT2, tmp_path)
    local = located(replace(GPT2, source=str(model), revision="local"), tmp_path)
    request = TaskRequest("The train", {"max_new_tokens": 5})
    from tests.server.tasks.material import answer

    assert answer(models.load(found, "cpu"), request) == answer(models.load(local, "cpu"), request)


def test_auto_is_the_stored_precision(model: Path, tmp_path: Path) -> None:
    """``auto`` takes what most of the weights are stored in, the model's own option goes before the flag."""
    import transformers

    half = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16, local_files_only=True)
    half.save_pretrained(tmp_path / "half")
    spec = replace(GPT2, source=str(tmp_path / "half"), revision="local")
    assert located(spec, tmp_path, dtype="auto").options["dtype"] == "bfloat16"
    assert located(spec, tmp_path, dtype="float16").options["dtype"] == "float16"
    own = replace(spec, options={"dtype": "float32"})
    assert located(own, tmp_path, dtype="float16").options["dtype"] == "float32"


def test_weights_are_loaded_in_the_precision_asked_for(model: Path, tmp_path: Path) -> None:
    """What the label says is what the weights are."""
    spec = replace(GPT2, source=str(model), revision="local")
    for dtype in ("float32", "bfloat16"):
        task: Any = models.load(located(spec, tmp_path, dtype=dtype), "cpu")
        assert {parameter.dtype for parameter in task._language.model.parameters()} == {getattr(torch, dtype)}


def as_bin(model: Path, folder: Path) -> ModelSpec:
    """Copy a model with its weights as .bin only."""
    from safetensors.torch import load_file

    shutil.copytree(model, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return replace(GPT2, source=str(folder), revision="local")


def test_bin_weights_need_a_flag(model: Path, tmp_path: Path) -> None:
    """Weights that are .bin only are refused with the flag that allows them, and read with it."""
    spec = as_bin(model, tmp_path / "bin")
    with pytest.raises(UsageError, match=r"\.bin only.*--allow-bin"):
        located(spec, tmp_path)
    found = located(spec, tmp_path, allow_bin=True)
    with pytest.raises(PerjouleError, match="cannot load"):
        models.load(found, "cpu")
    assert models.load(found, "cpu", allow_bin=True).max_batch > 1


def test_a_pickle_with_code_runs_nothing(model: Path, tmp_path: Path) -> None:
    """Even where .bin is allowed, a pickle that calls something is refused and calls nothing."""
    spec = as_bin(model, tmp_path / "bin")
    ran = tmp_path / "ran"
    (tmp_path / "bin" / "pytorch_model.bin").write_bytes(f"cos\nsystem\n(S'touch {ran}'\ntR.".encode())
    with pytest.raises(PerjouleError, match="cannot load gpt2"):
        models.load(located(spec, tmp_path, allow_bin=True), "cpu", allow_bin=True)
    assert not ran.exists()


def test_code_of_a_repository_is_refused(model: Path, tmp_path: Path) -> None:
    """A repository whose model is its own code is refused with that reason, and the code is not run."""
    shutil.copytree(model, tmp_path / "own")
    ran = tmp_path / "ran"
    (tmp_path / "own" / "code.py").write_text(f"open({str(ran)!r}, 'w')", encoding="utf-8")
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (tmp_path / "own" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    spec = located(replace(GPT2, source=str(tmp_path / "own"), revision="local"), tmp_path)
    with pytest.raises(PerjouleError, match="never runs"):
        models.load(spec, "cpu")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("missing", "message"),
    [("config.json", r"no config\.json"), ("model.safetensors", "no weights")],
)
def test_half_a_download(model: Path, tmp_path: Path, missing: str, message: str) -> None:
    """A snapshot that lacks its configuration or its weights is refused before anything is loaded."""
    snapshot = stored(tmp_path, "openai-community/gpt2", model)
    (snapshot / missing).unlink()
    with pytest.raises(UsageError, match=f"{message}.*is its download complete"):
        located(GPT2, tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0[]"])
def test_headers_that_are_none(tmp_path: Path, content: bytes) -> None:
    """A file that is cut off or is no safetensors has no precision: it is refused, or counts for nothing."""
    (tmp_path / "model.safetensors").write_bytes(content)
    if content.endswith(b"[]"):
        assert hub.stored_dtype(tmp_path) == "float32"
        return
    with pytest.raises(UsageError, match="not a whole safetensors file"):
        hub.stored_dtype(tmp_path)


def environment(home: Path) -> dict[str, str]:
    """The environment of a server whose hub cache is below ``home``."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, "HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub"), "PYTHONPATH": path}


def test_the_program_refuses_what_is_not_there(tmp_path: Path) -> None:
    """``inference-server --models study`` without the models exits with 2 and the lines that download them."""
    command = [sys.executable, "-m", "perjoule_server", "--models", "study", "--tasks", "fill-mask", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(tmp_path), timeout=60)
    assert done.returncode == 2
    assert "hf download google-bert/bert-base-uncased --revision main" in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def program(home: Path, *flags: str) -> Iterator[Callable[[str], str]]:
    """A server of its own process whose hub cache is below ``home``; yields a GET, once it is ready."""
    log = home / "server.log"
    command = [sys.executable, "-m", "perjoule_server", "--device", "cpu", "--port", "0", *flags]
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, env=environment(home))

    def get(route: str) -> str:
        (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)", log.read_text())[:1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{route}", timeout=30) as reply:
            return str(reply.read().decode())

    try:
        deadline = time.monotonic() + 110
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            with suppress(ValueError, OSError):  # it has not said its port yet, or answers 503
                get("/readyz")
                break
            time.sleep(0.1)
        yield get
        process.terminate()
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_program_serves_from_the_cache(model: Path, tmp_path: Path) -> None:
    """The whole program: a study model of the cache, with its commit in the metrics."""
    stored(tmp_path / "hub", "gpt2", model)
    with program(tmp_path, "--models", "study:gpt2", "--tasks", "text-generation") as get:
        (info,) = re.findall(r"^inference_model_info\{(.*)\} 1", get("/metrics"), re.MULTILINE)
        (listed,) = json.loads(get("/v1/models"))["data"]
    for label in ('task="text-generation"', 'model="gpt2"', f'revision="{COMMIT}"', 'dtype="float32"', 'weights="hub"'):
        assert label in info
    assert (listed["id"], listed["weights"], listed["state"]) == ("gpt2", "hub", "ready")
    assert (listed["revision"], listed["dtype"]) == (COMMIT, "float32")

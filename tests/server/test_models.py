"""Profiles and files of models: what is served, without torch until something is loaded, and in clear words."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from perjoule.errors import PerjouleError, UnknownWorkloadError, UsageError
from perjoule.workloads import WORKLOADS
from perjoule_server import models
from perjoule_server.tasks.base import ModelSpec
from perjoule_server.tiny import build_tiny


def test_tiny_profile() -> None:
    """One model a workload, called after it; the three zero-shot ones read one folder."""
    specs = models.profile("tiny", WORKLOADS)
    assert [(spec.id, spec.task, spec.weights) for spec in specs] == [
        (f"tiny/{task}", task, "tiny") for task in WORKLOADS
    ]
    assert len({spec.source for spec in specs}) == len(WORKLOADS) - 2


def test_profile_needs_no_torch() -> None:
    """Specifications are made without importing the model libraries, so that a command line is answered at once."""
    code = (
        "import sys; from perjoule.workloads import WORKLOADS; from perjoule_server import models;"
        "models.go_offline(); specs = models.located(models.profile('tiny', WORKLOADS));"
        "print(*({'torch', 'transformers', 'diffusers', 'numpy'} & set(sys.modules)), len(specs))"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout.split() == ["15"]


@pytest.mark.parametrize("name", ["Tiny", "", "gpt2", "studies:gpt2", "../study"])
def test_unknown_profiles(name: str) -> None:
    """A profile that does not exist is refused with those that do."""
    with pytest.raises(UsageError, match=r"profiles are tiny, packaged, study, architecture; or name a \.toml file"):
        models.profile(name, WORKLOADS)


def test_unknown_task() -> None:
    """A task that does not exist is refused with those that do."""
    with pytest.raises(UnknownWorkloadError, match="fill-mask"):
        models.profile("tiny", ["translation"])


GOOD = '[[model]]\nid = "own/mask"\ntask = "fill-mask"\nsource = "mask"\n'


def written(folder: Path, text: str) -> str:
    """Write a models file and return its path."""
    path = folder / "models.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_own_models(tmp_path: Path) -> None:
    """A file names folders, relative to itself, and hub repositories; tasks that are not served are left out."""
    (tmp_path / "mask").mkdir()
    text = GOOD + '[[model]]\nid = "gpt2"\ntask = "text-generation"\nsource = "openai-community/gpt2"\n'
    local, hub = models.profile(written(tmp_path, text), ["fill-mask", "text-generation"])
    assert local == ModelSpec("own/mask", "fill-mask", str(tmp_path / "mask"), "local", "hub")
    assert (hub.source, hub.revision) == ("openai-community/gpt2", "main")
    assert [spec.id for spec in models.profile(written(tmp_path, text), ["fill-mask"])] == ["own/mask"]


def test_a_profile_serves_what_it_has(tmp_path: Path) -> None:
    """Where all workloads are asked for, a file with fewer serves those; a workload asked for by name must be there."""
    assert [spec.task for spec in models.profile(written(tmp_path, GOOD), WORKLOADS)] == ["fill-mask"]
    with pytest.raises(UsageError, match="no model for summarization"):
        models.profile(written(tmp_path, GOOD), ["summarization"])


def test_tiny_has_no_choice() -> None:
    """Tiny models are chosen by workload, not by name."""
    with pytest.raises(UsageError, match="choose with --tasks"):
        models.profile("tiny:fill-mask", WORKLOADS)


MISTAKES = [
    ("", "must hold"),
    ("[model]\nid = 'a'", "must hold"),
    ("models = 1", "must hold"),
    ("[[model]]\nid = 'a'", "model 1: must hold id, task and source"),
    (GOOD + "extra = 1", "model 1: must hold"),
    (GOOD.replace('"own/mask"', "5"), "id must be a string"),
    (GOOD.replace('"own/mask"', '""'), "id must be a string"),
    (GOOD + "options = 5", "options must be a table"),
    (GOOD + GOOD, "'own/mask' occurs twice"),
    (GOOD.replace("fill-mask", "masking"), "unknown task 'masking'"),
    (GOOD.replace('"mask"', '"./absent"'), "neither a folder nor the name"),
    (GOOD.replace('"mask"', '"../../etc"'), "neither a folder nor the name"),
    (GOOD.replace('"mask"', '"https://example.org/a"'), "neither a folder nor the name"),
    (GOOD.replace('"mask"', '"a/../b"'), "neither a folder nor the name"),
    (GOOD.replace('"own/mask"', '"../mask"'), "must be names of"),
    (GOOD.replace('"own/mask"', '"own/../mask"'), "must be names of"),
    (GOOD.replace('"own/mask"', '"https://example.org/mask"'), "must be names of"),
    (GOOD.replace('"own/mask"', '"a b"'), "must be names of"),
    (GOOD.replace('"own/mask"', f'"{"a" * 129}"'), "must be names of"),
    (GOOD.replace('"mask"', '"a/b"') + 'revision = "../main"', "is no revision"),
    (GOOD.replace('"mask"', '"a/b"') + 'revision = "main;rm"', "is no revision"),
    (GOOD.replace('"mask"', '"."') + 'revision = "main"', "revision is for hub repositories"),
    (GOOD + "options = {trust_remote_code = true}", "unknown option 'trust_remote_code'; the options are dtype"),
    (GOOD.replace('"mask"', '"a/b"') + 'options = {dtype = "int8"}', "dtype must be one of float32"),
    (GOOD.replace('"mask"', '"a/b"') + "options = {num_inference_steps = 0}", "whole number from 1 to 150"),
    (GOOD.replace('"mask"', '"a/b"') + 'options = {prompt = "Summarize"}', "a string with {text} in it"),
    ("[[model", "is not TOML"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_mistakes_in_a_file(tmp_path: Path, text: str, message: str) -> None:
    """Each mistake in a file has its own sentence."""
    (tmp_path / "sub").mkdir()
    with pytest.raises(UsageError, match=message):
        models.profile(written(tmp_path / "sub", text), ["fill-mask"])


def test_file_that_cannot_be_used(tmp_path: Path) -> None:
    """A missing file, bytes that are no text, and a task without a model are refused."""
    with pytest.raises(UsageError, match="cannot read"):
        models.profile(str(tmp_path / "absent.toml"), ["fill-mask"])
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not TOML"):
        models.profile(str(tmp_path / "bytes.toml"), ["fill-mask"])
    with pytest.raises(UsageError, match="no model for summarization"):
        models.profile(written(tmp_path, GOOD), ["fill-mask", "summarization"])


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """A tiny fill-mask model as a folder of the user's own."""
    folder = build_tiny(tmp_path_factory.mktemp("own"), ["fill-mask"])["fill-mask"]
    return ModelSpec("own/mask", "fill-mask", str(folder), "local", "hub")


def test_loading_a_folder(mask: ModelSpec) -> None:
    """A local folder is loaded through the libraries."""
    assert models.load(mask, "cpu").max_batch > 1


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json", "tokenizer.json"])
def test_incomplete_folder(mask: ModelSpec, tmp_path: Path, missing: str) -> None:
    """A folder that lacks a file is refused in one line that names model, task and folder; the hub is not asked."""
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(mask.source, folder)
    (folder / missing).unlink()
    with pytest.raises(PerjouleError, match=rf"cannot load own/mask for fill-mask from {folder}: ") as caught:
        models.load(replace(mask, source=str(folder)), "cpu")
    assert "\n" not in str(caught.value)


def test_pickles_are_refused(mask: ModelSpec, tmp_path: Path) -> None:
    """Weights that only exist as a pickle are not read: unpickling runs code."""
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(mask.source, folder)
    (folder / "model.safetensors").unlink()
    ran = tmp_path / "ran"
    (folder / "pytorch_model.bin").write_bytes(f"cos\nsystem\n(S'touch {ran}'\ntR.".encode())
    with pytest.raises(PerjouleError, match="cannot load own/mask"):
        models.load(replace(mask, source=str(folder)), "cpu")
    assert not ran.exists()


def test_wrong_kind_of_model(mask: ModelSpec) -> None:
    """A model whose architecture cannot do the task is refused."""
    for task in ("object-detection", "text-to-image", "automatic-speech-recognition"):
        with pytest.raises(PerjouleError, match=f"cannot load own/mask for {task}"):
            models.load(replace(mask, task=task), "cpu")


def test_random_heads_are_told(mask: ModelSpec, caplog: pytest.LogCaptureFixture) -> None:
    """Weights that the checkpoint lacks are random, and the log says so."""
    models.load(replace(mask, task="text-classification"), "cpu")
    assert "not in the checkpoint and are random" in caplog.text

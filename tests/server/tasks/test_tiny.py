"""The cache of tiny models: whole or not at all, the same bytes always, and healed when it is damaged."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from perjoule.errors import PerjouleError
from perjoule.workloads import WORKLOADS
from perjoule_server.tiny import FOLDERS, build_tiny, cache_root
from perjoule_server.tiny.cache import ensure, intact

PATH = os.pathsep.join(entry for entry in sys.path if entry)


def fill(_name: str, folder: Path) -> None:
    """Build a model of one file."""
    (folder / "sub").mkdir()
    (folder / "sub" / "weights").write_text("weights")


def started(code: str) -> subprocess.Popen[str]:
    """Start Python on ``code``."""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": PATH}
    )


def test_folder_of_the_cache(tmp_path: Path) -> None:
    """$XDG_CACHE_HOME where it is absolute, ~/.cache otherwise; one folder a recipe."""
    home = cache_root({}).parents[2]
    assert cache_root({"XDG_CACHE_HOME": str(tmp_path)}).parent == tmp_path / "perjoule" / "tiny"
    assert (home, cache_root({"XDG_CACHE_HOME": "relative"}).parents[2]) == (Path.home() / ".cache", home)


def test_built_once(tmp_path: Path) -> None:
    """A model is built when it is missing, and not again."""
    assert [ensure(tmp_path / "model", fill) for _ in range(3)] == [True, False, False]
    assert intact(tmp_path / "model")


@pytest.mark.parametrize("damage", ["truncated", "changed", "removed", "added", "manifest", "emptied"])
def test_damage_is_healed(tmp_path: Path, damage: str) -> None:
    """A folder whose files are not those of its manifest is built again."""
    folder = tmp_path / "model"
    ensure(folder, fill)
    weights, manifest = folder / "sub" / "weights", folder / "perjoule-manifest.json"
    damages: dict[str, Callable[[], object]] = {
        "truncated": lambda: weights.write_text("wei"),
        "changed": lambda: weights.write_text("wEights"),
        "removed": weights.unlink,
        "added": lambda: (folder / "more").write_text(""),
        "manifest": lambda: manifest.write_text("{"),
        "emptied": lambda: manifest.write_text("[]"),
    }
    damages[damage]()
    assert (intact(folder), ensure(folder, fill), weights.read_text()) == (False, True, "weights")


def test_failed_build_leaves_nothing(tmp_path: Path) -> None:
    """A build that raises leaves neither a model nor rubbish, and the next one succeeds."""

    def broken(_name: str, folder: Path) -> None:
        (folder / "half").write_text("")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        ensure(tmp_path / "model", broken)
    assert [path.name for path in tmp_path.iterdir()] == ["model.lock"]
    assert ensure(tmp_path / "model", fill)


def test_killed_build(tmp_path: Path) -> None:
    """SIGKILL in the middle of a build leaves no half model; the next build takes the lock and sweeps up."""
    code = (
        "import time; from pathlib import Path; from perjoule_server.tiny.cache import ensure\n"
        "def fill(name, folder):\n"
        "    (folder / 'half').write_text(''); print('building', flush=True); time.sleep(60)\n"
        f"ensure(Path({str(tmp_path / 'model')!r}), fill)"
    )
    with started(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "building\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "model").exists()
    assert ensure(tmp_path / "model", fill)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.lock"]


def test_two_processes_build_once(tmp_path: Path) -> None:
    """Of two processes at once one builds and the other waits for it; both have the model."""
    code = (
        "import os, time; from pathlib import Path; from perjoule_server.tiny.cache import ensure, intact\n"
        "def fill(name, folder):\n"
        "    time.sleep(0.3); (folder / 'pid').write_text(str(os.getpid()))\n"
        f"folder = Path({str(tmp_path / 'model')!r})\n"
        "print(ensure(folder, fill), intact(folder))"
    )
    processes = [started(code) for _ in range(3)]
    replies = sorted(process.communicate()[0] for process in processes)
    assert replies == ["False True\n", "False True\n", "True True\n"]


def test_readable_for_all(tmp_path: Path) -> None:
    """What save_pretrained writes for its user alone is made readable: a container may run as another."""
    ensure(tmp_path / "model", fill)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert (modes, stat.S_IMODE((tmp_path / "model").stat().st_mode)) == ({0o644}, 0o755)


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """A cache in a place that cannot hold it is one clear sentence."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PerjouleError, match=r"cannot keep tiny models .* set XDG_CACHE_HOME"):
        ensure(tmp_path / "file" / "model", fill)


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All models, built a second time elsewhere."""
    root = tmp_path_factory.mktemp("again")
    began = time.monotonic()
    build_tiny(root, WORKLOADS)
    assert time.monotonic() - began < 20  # on a free machine 2 s
    return root


@pytest.mark.parametrize("name", sorted(set(FOLDERS.values())))
def test_same_bytes(again: Path, cache: Path, load: Callable[[str], object], name: str) -> None:
    """Building a model twice gives the same bytes, whatever was built before it, and whatever the random state."""
    task = next(task for task, folder in FOLDERS.items() if folder == name)
    load(task)
    first, second = ((root / name / "perjoule-manifest.json").read_text() for root in (cache, again))
    assert json.loads(first) == json.loads(second)


def test_nothing_but_safetensors(again: Path) -> None:
    """No model is a pickle, and none brings code."""
    kinds = {path.suffix for path in again.rglob("*") if path.is_file()}
    assert kinds == {".json", ".safetensors", ".lock"}

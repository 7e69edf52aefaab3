"""Where tiny models are kept, and how a folder gets there: whole or not at all.

A model is built in a temporary folder, sealed with a manifest of its files' sizes and digests, and renamed into place
under a lock; so two processes build it once, and a kill leaves at most a temporary folder, which the next build
removes. A folder whose manifest does not fit is built again.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from perjoule.errors import PerjouleError

_LIBRARIES = ("torch", "transformers", "diffusers", "tokenizers", "safetensors")
_MANIFEST = "perjoule-manifest.json"


def cache_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for this recipe below ``$XDG_CACHE_HOME/perjoule/tiny`` (``~/.cache``)."""
    base = environment.get("XDG_CACHE_HOME") or ""
    # The specification: a relative path is to be ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root / "perjoule" / "tiny" / recipe()


def recipe() -> str:
    """Return a digest of what decides the models' bytes: this package's own code, and the libraries' versions."""
    digest = hashlib.sha256(" ".join(f"{name}={version(name)}" for name in _LIBRARIES).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def ensure(folder: Path, build: Callable[[str, Path], None]) -> bool:
    """Make sure that ``folder`` holds a whole model; return whether it had to be built.

    ``build`` is given the name of the folder and an empty folder to fill.

    Raises:
        PerjouleError: the cache cannot be written.
    """
    if intact(folder):
        return False
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock")):
            if intact(folder):  # another process was faster
                return False
            _replace(folder, build)
    except OSError as error:
        hint = "set XDG_CACHE_HOME to a folder that can be written"
        raise PerjouleError(f"cannot keep tiny models in {folder.parent}: {error.strerror or error}; {hint}") from error
    return True


def intact(folder: Path) -> bool:
    """Tell whether every file of the manifest is there, with its size and digest."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        return isinstance(manifest, dict) and manifest == _digests(folder)
    except (OSError, ValueError):
        return False


def _replace(folder: Path, build: Callable[[str, Path], None]) -> None:
    for leftover in folder.parent.glob(f"{folder.name}.building-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.building-", dir=folder.parent))
    try:
        build(folder.name, scratch)
        _seal(scratch)
        if folder.exists():
            shutil.rmtree(folder)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _seal(folder: Path) -> None:
    """Write the manifest, and make readable for all what ``save_pretrained`` and ``mkdtemp`` made for one user."""
    (folder / _MANIFEST).write_text(json.dumps(_digests(folder)), encoding="utf-8")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)
    return {str(path.relative_to(folder)): _digest(path) for path in files}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the kernel releases it when the process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

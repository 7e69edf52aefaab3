"""A folder laid out as the hub library's cache: blobs, references, snapshots of links."""

import hashlib
from pathlib import Path

COMMIT = "6b5e1d4a0f3c2b1a9e8d7c6b5a4f3e2d1c0b9a87"


def stored(cache: Path, repository: str, model: Path, commit: str = COMMIT, reference: str = "main") -> Path:
    """Put the files of ``model`` into ``cache`` as a downloaded ``repository``; return the snapshot's folder."""
    base = cache / f"models--{repository.replace('/', '--')}"
    snapshot = base / "snapshots" / commit
    for source in (path for path in sorted(model.rglob("*")) if path.is_file()):
        content = source.read_bytes()
        blob = base / "blobs" / hashlib.sha256(content).hexdigest()
        link = snapshot / source.relative_to(model)
        for folder in (blob.parent, link.parent):
            folder.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link.symlink_to(blob)
    (base / "refs").mkdir(exist_ok=True)
    (base / "refs" / reference).write_text(commit, encoding="ascii")
    return snapshot

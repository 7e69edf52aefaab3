"""The file that a trace is written to. It has its name only when it is whole: until then it is ``FILE.part``."""

import gzip
import os
from collections.abc import Sequence
from pathlib import Path

from perjoule.errors import PerjouleError, UsageError


class TraceFile:
    """A gzipped trace in the making."""

    def __init__(self, path: Path) -> None:
        """Create the unfinished file.

        Raises:
            UsageError: it cannot be created, is a folder, or another recording writes it.
        """
        if not path.name or path.is_dir():
            raise UsageError(f"--output {path} is a directory: name a file in it, such as {path / 'trace.jsonl.gz'}")
        self._path, self._part = path, path.with_name(path.name + ".part")
        try:
            self._raw = self._part.open("xb")
        except FileExistsError as error:
            raise UsageError(f"{self._part} is there: remove it unless another recording is writing it") from error
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror} ({self._part.name} beside it)") from error
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, mtime=0)

    def write(self, lines: Sequence[str]) -> None:
        """Append lines.

        Raises:
            PerjouleError: the disk does not take them; the unfinished file is removed.
        """
        try:
            self._gzip.write("".join(f"{line}\n" for line in lines).encode())
            self._gzip.flush()  # so that a full disk shows now, and zcat finds what a killed recorder had read
        except OSError as error:
            raise self._failed(error) from error

    def finish(self) -> int:
        """Give the trace its name and return its bytes.

        Raises:
            PerjouleError: the disk does not take it; the unfinished file is removed.
        """
        try:
            self._gzip.close()
            self._raw.flush()
            os.fsync(self._raw.fileno())
            size = self._raw.tell()
            self._raw.close()
            self._part.replace(self._path)
        except OSError as error:
            raise self._failed(error) from error
        return size

    def abandon(self) -> None:
        """Remove the unfinished file."""
        self._part.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> PerjouleError:
        self.abandon()
        return PerjouleError(f"cannot write {self._path}: {error.strerror}; the unfinished recording is removed")

"""How requests went, kept so that a million of them take no more memory than a thousand.

Records of a fixed length go to a temporary file that has no name; what was told of failures is kept of the last
thousand. A disk that is full costs memory, not results. Reading while it grows sees what there was at the beginning.
"""

import math
import os
import struct
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple, overload

ERRORS = ("connect", "timeout", "4xx", "429", "5xx", "truncated", "wrong_shape")
"""Classes of failed requests."""

_RECORD = struct.Struct("<ddddHBiiiHH")
_CODES = {name: number for number, name in enumerate(("", *ERRORS))}
_NAMES = ("", *ERRORS)
_HELD_BYTES = 2**20
_DETAILS = 1000
_UNKNOWN = -1


class Result(NamedTuple):
    """How one request went. Times are monotonic seconds.

    Attributes:
        intended: when the schedule wanted it sent; equals ``sent`` in a closed loop.
        sent: when it was sent.
        done: when it had ended, however it did.
        status: HTTP status, 0 without an answer.
        error: empty, or one of ``ERRORS``.
        detail: what an error said, shortened.
        output_tokens: as the answer tells, None where it does not.
        item: index of the input.
        input_tokens: likewise.
        first: when the first token of a stream came, None without one.
        size: width and height of an answer that is an image, None where it is none.
        gaps: seconds between the pieces of a stream; kept nowhere (``Load`` counts them).
    """

    intended: float
    sent: float
    done: float
    status: int
    error: str
    detail: str
    output_tokens: int | None
    item: int
    input_tokens: int | None = None
    first: float | None = None
    size: tuple[int, int] | None = None
    gaps: tuple[float, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it was answered as the task prescribes."""
        return not self.error

    @property
    def latency(self) -> float:
        """Seconds from the intended send to the end of the answer."""
        return self.done - self.intended

    @property
    def first_token_seconds(self) -> float | None:
        """Seconds from the intended send to the first token, None without a stream."""
        return None if self.first is None else self.first - self.intended


class Results(Sequence[Result]):
    """Results in the order in which they were added."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._file: IO[bytes] | None = None
        self._written = 0
        self._full = False
        self._details: OrderedDict[int, str] = OrderedDict()

    def append(self, result: Result) -> None:
        """Keep a result."""
        if result.detail:
            self._details[len(self)] = result.detail
            if len(self._details) > _DETAILS:
                self._details.popitem(last=False)
        self._held += _packed(result)
        if len(self._held) >= _HELD_BYTES and not self._full:
            self._spill()

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (it lives as long as this object)
            done = 0
            while done < len(self._held):
                done += os.pwrite(self._file.fileno(), memoryview(self._held)[done:], self._written + done)
        except OSError:  # what was written in part is written again by nobody: it stays in memory
            self._full = True
            return
        self._written += len(self._held)
        self._held = bytearray()

    def __len__(self) -> int:
        return (self._written + len(self._held)) // _RECORD.size

    @overload
    def __getitem__(self, index: int) -> Result: ...

    @overload
    def __getitem__(self, index: slice) -> list[Result]: ...

    def __getitem__(self, index: int | slice) -> Result | list[Result]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return list(self._from_to(start, stop))
            return [self[number] for number in range(start, stop, step)]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(index)
        return next(self._from_to(number, number + 1))

    def __iter__(self) -> Iterator[Result]:
        return self._from_to(0, len(self))

    def _from_to(self, start: int, stop: int) -> Iterator[Result]:
        chunk = _HELD_BYTES // _RECORD.size
        for first in range(start, stop, chunk):
            last = min(first + chunk, stop)
            data = self._bytes(first * _RECORD.size, last * _RECORD.size)
            for number, fields in enumerate(_RECORD.iter_unpack(data), first):
                yield _result(fields, self._details.get(number, ""))

    def _bytes(self, start: int, stop: int) -> bytes:
        parts, at = [], start
        while at < min(stop, self._written) and self._file is not None:
            parts.append(os.pread(self._file.fileno(), min(stop, self._written) - at, at))
            at += len(parts[-1])
        parts.append(bytes(self._held[max(at - self._written, 0) : max(stop - self._written, 0)]))
        return b"".join(parts)


def _packed(result: Result) -> bytes:
    width, height = result.size or (0, 0)
    return _RECORD.pack(
        result.intended, result.sent, result.done, math.nan if result.first is None else result.first, result.status,
        _CODES[result.error], _UNKNOWN if result.output_tokens is None else result.output_tokens, result.item,
        _UNKNOWN if result.input_tokens is None else result.input_tokens, width, height,
    )  # fmt: skip


def _result(fields: tuple[float | int, ...], detail: str) -> Result:
    intended, sent, done, first = fields[:4]
    status, error, written, item, read, width, height = (int(field) for field in fields[4:])
    return Result(
        intended, sent, done, status, _NAMES[error], detail, None if written < 0 else written, item,
        None if read < 0 else read, None if math.isnan(first) else first, (width, height) if width else None,
    )  # fmt: skip

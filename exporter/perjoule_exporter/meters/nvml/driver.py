"""The border to NVML: the only file that imports pynvml, and where its errors become ours.

Refusals are told apart by error code, not by architecture: never (the call is not made again in this session), not now
(the value is absent), gone (the GPU is lost). What is left, as "unknown error", means lost where energy and power are
read, and absent anywhere else. The fast call, field values, goes past the binding's Python with one array that is kept:
it is made forty times a second for each GPU.
"""

import ctypes
import math
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import pynvml

from perjoule.errors import DeviceLostError, NoMeterError
from perjoule_exporter.meters.nvml.gate import Gate

_NEVER = frozenset({pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND})
"""Answers that will not change while this session lasts and MIG stays as it is."""

_NOT_NOW = frozenset(
    {
        pynvml.NVML_SUCCESS,  # raised by the binding where a list is empty
        pynvml.NVML_ERROR_INVALID_ARGUMENT,  # an older driver does not know the field, the scope or the clock
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_NOT_FOUND,
        pynvml.NVML_ERROR_INSUFFICIENT_SIZE,  # a list that grew between two calls
        pynvml.NVML_ERROR_TIMEOUT,
        pynvml.NVML_ERROR_IN_USE,
        pynvml.NVML_ERROR_MEMORY,
        pynvml.NVML_ERROR_NO_DATA,
        pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_DEPRECATED,
        pynvml.NVML_ERROR_NOT_READY,
    }
)
"""Answers after which the value is absent and the device is still there."""

_GONE = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_RESET_REQUIRED,
    }
)
"""Answers that say of themselves that the device is not there."""


_UNSIGNED_INT, _UNSIGNED_LONG_LONG = 1, 3  # nvmlValueType_t
_LITTLE_ENDIAN = sys.byteorder == "little"
_NOT_AVAILABLE_32, _NOT_AVAILABLE_64 = 2**32 - 1, 2**64 - 1
"""NVML_VALUE_NOT_AVAILABLE: a call that works and answers this has no answer. As milliwatts it would be 4.3 MW."""

_NOT_AVAILABLE = MappingProxyType(
    dict.fromkeys(
        (
            "nvmlDeviceGetTotalEnergyConsumption",
            "nvmlDeviceGetCurrentClocksEventReasons",
            "nvmlDeviceGetCurrentClocksThrottleReasons",
        ),
        _NOT_AVAILABLE_64,
    )
)
"""What it is for the calls that answer with 64 bits."""


class Handle:
    """One GPU, or slice of one, as this session of NVML knows it. ``name`` says in errors which one it is."""

    def __init__(self, raw: Any, name: str) -> None:
        self.raw = raw
        self.name = name
        self._absent: set[tuple[str, object]] = set()

    def ask(self, call: str, *arguments: Any, which: object = None, vital: bool = False) -> Any:
        """Return what the call of the binding answers for this GPU; None where it has no answer.

        ``which`` tells apart what the call may have an answer for and what not: a clock's domain. ``vital``: a GPU that
        gives an error here that says nothing is lost; elsewhere only the value is absent.

        Raises:
            DeviceLostError: the GPU does not answer.
        """
        function = getattr(pynvml, call, None)  # None: a binding older than the call
        if function is None or (call, which) in self._absent:
            return None
        try:
            answer = function(self.raw, *arguments)
            return None if answer == _NOT_AVAILABLE.get(call, _NOT_AVAILABLE_32) else answer
        except pynvml.NVMLError as error:
            if error.value in _NEVER:
                self._absent.add((call, which))
            elif error.value in _GONE or (vital and error.value not in _NOT_NOW):
                raise self.lost(error) from error
        return None

    def samples(self, kind: int, since: int) -> list[tuple[int, int]]:
        """Return (timestamp in µs, value) of the samples that the driver took by itself after a timestamp.

        Raises:
            DeviceLostError: the GPU does not answer.
        """
        answer = self.ask("nvmlDeviceGetSamples", kind, since)
        if answer is None:
            return []
        member = _MEMBERS.get(answer[0], "ullVal")
        values = ((int(sample.timeStamp), _whole(getattr(sample.sampleValue, member))) for sample in answer[1])
        return [(stamp, value) for stamp, value in values if value is not None]

    def has(self, call: str) -> bool:
        """Whether there is such a call, and it was not refused for good."""
        return hasattr(pynvml, call) and (call, None) not in self._absent

    def text(self, call: str) -> str:
        """Return a string, empty where there is none."""
        try:
            return _text(self.ask(call))
        except UnicodeDecodeError:  # the binding's: a name that is not UTF-8
            return ""

    def pci_bus_id(self) -> str:
        """Return the PCI address, empty where there is none."""
        pci = self.ask("nvmlDeviceGetPciInfo")
        try:
            return "" if pci is None else _text(pci.busId)
        except UnicodeDecodeError:
            return ""

    def forget(self) -> None:
        """Make all calls again that were refused for good: something changed that they may depend on."""
        self._absent.clear()

    def lost(self, error: Exception) -> DeviceLostError:
        """Return the error that says that this GPU is gone."""
        return DeviceLostError(f"{self.name}: {error}")


Field = tuple[int, int]
"""A field of NVML and its scope."""

_LAYOUT = "8xq8xIIQ"
"""nvmlFieldValue_t: field, scope, timestamp, latency, value type, result, value."""


def _usual(kinds: Sequence[int], result: int) -> int:
    """Return fields of these value types and with this result as one number, in which all else is 0."""
    words = [word for kind in kinds for word in (0, kind, result, 0)]
    return int.from_bytes(struct.pack("=" + _LAYOUT * len(kinds), *words), "little")


_PLAIN = _usual((_UNSIGNED_LONG_LONG, _UNSIGNED_INT, _UNSIGNED_INT), pynvml.NVML_SUCCESS)
_PLAIN_MASK = _usual((_NOT_AVAILABLE_32,) * 3, _NOT_AVAILABLE_32)
_NO_VALUE = _NOT_AVAILABLE_32.to_bytes(4, "little")
"""Where it is found in anything but a value that is not available, the call is only made again."""


class Fields:
    """Some fields of one GPU, read in one call into one array that is kept."""

    def __init__(self, handle: Handle, fields: Sequence[Field]) -> None:
        self._handle = handle
        array = (pynvml.c_nvmlFieldValue_t * len(fields))()
        for entry, (field, scope) in zip(array, fields, strict=True):
            entry.fieldId, entry.scopeId = field, scope
        self._array = array
        self._arguments = (handle.raw, ctypes.c_int(len(fields)), ctypes.byref(array))
        self._layout = struct.Struct("=" + _LAYOUT * len(fields))
        self._call = getattr(pynvml.nvmlLib, "nvmlDeviceGetFieldValues", None)  # None in a driver that is too old

    def read(self) -> list[tuple[int, int] | None]:
        """Return (value, timestamp in µs) of each field, None for those that the driver has not got.

        Raises:
            DeviceLostError: the GPU does not answer.
        """
        return self.answers(self.words())

    def words(self) -> tuple[int, ...]:
        """Make the call and return what came, four words for each field; empty where there is no such call.

        Raises:
            DeviceLostError: the GPU does not answer.
        """
        code = self._call(*self._arguments) if self._call is not None else pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
        if code:
            self._check(code)
            return ()
        return self._layout.unpack_from(self._array)

    def looker(self, session: "Session", turn: threading.Lock) -> Callable[[], bytes | None]:
        """Return what makes the call and returns what came, as it lies in memory; None where that could not be done.

        It takes as little as can be, since it is done forty times a second after a sleep: each Python function that is
        left out saves 5 to 10 µs. ``usual`` tells whether there are numbers in it, and ``answers`` which.

        Args:
            session: the handle's; in another one the call is not made.
            turn: is held around the call; where another holds it, the call is not made.
        """
        enter, leave, number = turn.acquire, turn.release, session.number
        call, arguments, array = self._call, self._arguments, self._array

        def look() -> bytes | None:
            if not enter(False):
                return None
            try:
                return bytes(array) if session.number == number and call and not call(*arguments) else None
            finally:
                leave()

        return look

    def usual(self, raw: bytes) -> bool:
        """Return whether all is there as it usually is: an energy, then two powers."""
        return int.from_bytes(raw, "little") & _PLAIN_MASK == _PLAIN and _NO_VALUE not in raw

    def last_usual(self) -> bool:
        """Return whether what a call that worked has just brought is as it usually is."""
        return self.usual(bytes(self._array))

    def unpacked(self, raw: bytes) -> tuple[int, ...]:
        """Return the words of what a ``looker`` saw."""
        return self._layout.unpack_from(raw)

    def answers(self, words: tuple[int, ...]) -> list[tuple[int, int] | None]:
        """Return (value, timestamp in µs) of each field from its words.

        Raises:
            DeviceLostError: one of them says that the GPU does not answer.
        """
        if not words:
            return [None] * len(self._array)
        answers: list[tuple[int, int] | None] = []
        each = iter(words)
        for stamp, kind, result, raw in zip(each, each, each, each, strict=True):
            if result:
                self._check(result)
                answers.append(None)
            else:
                value = _decoded(kind, raw)
                answers.append(None if value is None else (value, stamp))
        return answers

    def _check(self, code: int) -> None:
        if code not in _NEVER and code not in _NOT_NOW:
            raise self._handle.lost(pynvml.NVMLError(code))


class Session:
    """NVML between an init and a shutdown. ``number`` changes with each: handles of an earlier one are of no use.

    The GPUs of a session are those that were there when it began, and a GPU that was lost stays lost. ``took`` is how
    long the last beginning kept all others out, in seconds.
    """

    def __init__(self) -> None:
        """Load the driver's library and begin.

        Raises:
            NoMeterError: no driver, or one that does not match its library.
        """
        self.gate = Gate()
        self.number = 0
        self.took = 0.0
        try:
            self._begin()
        except pynvml.NVMLError_LibraryNotFound as error:
            raise NoMeterError("no NVIDIA driver: libnvidia-ml.so.1 was not found") from error
        except pynvml.NVMLError as error:
            raise NoMeterError(f"the NVIDIA driver does not answer: {error}") from error

    def renew(self) -> bool:
        """End and begin again, unless somebody is inside a call. Returns whether it was done.

        Raises:
            DeviceLostError: it has ended, and could not begin again.
        """
        with self.gate.alone() as alone:
            if not alone:
                return False
            began = time.monotonic()
            try:
                self.close()
                self._begin()
                self.took = time.monotonic() - began
            except pynvml.NVMLError as error:
                raise DeviceLostError(f"the NVIDIA driver does not answer: {error}") from error
        return True

    def driver_version(self) -> str:
        """Return the version of the driver, empty where it is no text."""
        try:
            return _text(_system("nvmlSystemGetDriverVersion"))
        except UnicodeDecodeError:
            return ""

    def count(self) -> int:
        """Return how many GPUs there are."""
        return int(_system("nvmlDeviceGetCount"))

    def by_index(self, index: int) -> Handle:
        """Return a GPU by its number.

        Raises:
            DeviceLostError: it does not answer.
        """
        return _found("nvmlDeviceGetHandleByIndex", index, f"GPU {index}")

    def by_uuid(self, uuid: str) -> Handle:
        """Return a GPU by its uuid.

        Raises:
            DeviceLostError: it does not answer.
        """
        return _found("nvmlDeviceGetHandleByUUID", uuid, uuid)

    def close(self) -> None:
        """End."""
        with suppress(pynvml.NVMLError):  # a driver that is gone cannot be given back
            pynvml.nvmlShutdown()

    def _begin(self) -> None:
        began = time.monotonic()
        self.number += 1
        pynvml.nvmlInit()
        self.took = time.monotonic() - began


def _system(call: str) -> Any:
    try:
        return getattr(pynvml, call)()
    except pynvml.NVMLError as error:
        raise DeviceLostError(f"the NVIDIA driver does not answer: {error}") from error


def _found(call: str, key: object, name: str) -> Handle:
    try:
        return Handle(getattr(pynvml, call)(key), name)
    except pynvml.NVMLError as error:
        raise DeviceLostError(f"{name}: {error}") from error


_MEMBERS = MappingProxyType({0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"})
"""The binding's member of a value of each ``nvmlValueType_t``."""

_KINDS = MappingProxyType({0: "=d", 1: "=I", 2: "=Q", 3: "=Q", 4: "=q", 5: "=i", 6: "=H"})
"""How a value of each ``nvmlValueType_t`` lies in the first of its eight bytes."""


def _decoded(kind: int, raw: int) -> int | None:
    """Return the number in a value of NVML, of which ``raw`` is all eight bytes; None where it is none."""
    if kind == _UNSIGNED_LONG_LONG:
        return None if raw == _NOT_AVAILABLE_64 else raw
    if kind == _UNSIGNED_INT and _LITTLE_ENDIAN:  # its four bytes are the lowest
        value = raw & 0xFFFFFFFF
        return None if value == _NOT_AVAILABLE_32 else value
    value = struct.unpack_from(_KINDS.get(kind, "=Q"), raw.to_bytes(8, sys.byteorder))[0]
    return None if kind == _UNSIGNED_INT and value == _NOT_AVAILABLE_32 else _whole(value)


def _whole(value: float) -> int | None:
    """Return a number without its fraction; None where none of energy or power can be that."""
    return int(value) if 0 <= value < math.inf else None


def _text(answer: Any) -> str:
    """Return a string of NVML, which old bindings give as bytes; unknown is empty."""
    if answer is None:
        return ""
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)

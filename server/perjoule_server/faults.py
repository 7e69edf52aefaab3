"""What an error of a model means: too little memory, a device that is gone, or the fault of the request.

Knows the libraries' words for it and nothing else; torch itself is not needed, so that its absence changes nothing.
"""

from collections.abc import Callable
from enum import StrEnum


class Fault(StrEnum):
    """Whose fault an error is."""

    MEMORY = "memory"
    LOST = "lost"
    REQUEST = "request"


class LostDeviceError(BaseException):
    """The device computes nothing any more. No ``Exception``: no edge to a model may take it for a request's fault."""


_MEMORY = ("out of memory", "defaultcpuallocator: can't allocate memory", "cublas_status_alloc_failed")

_STICKY = (
    "device-side assert",
    "illegal memory access",
    "illegal instruction",
    "misaligned address",
    "invalid address space",
    "invalid program counter",
    "unspecified launch failure",
    "hardware stack error",
    "launch timed out",
    "uncorrectable ecc error",
    "uncorrectable nvlink error",
)
"""After these every further call of the process fails alike: NVIDIA, CUDA Runtime API, section 6.1 (cudaError)."""


def fault_of(error: BaseException, synchronize: Callable[[], None]) -> Fault:
    """Return whose fault ``error`` is.

    Errors of the driver that are not known to be lasting are put to the test: after a lasting one ``synchronize``,
    which waits for the device, fails too.
    """
    text = str(error).lower()
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return Fault.MEMORY
    if not isinstance(error, RuntimeError):
        return Fault.REQUEST
    if any(words in text for words in _MEMORY):
        return Fault.MEMORY
    of_driver = type(error).__name__ == "AcceleratorError" or "cuda error" in text or "hip error" in text
    if not of_driver:
        return Fault.REQUEST
    if any(words in text for words in _STICKY) or not _answers(synchronize):
        return Fault.LOST
    return Fault.REQUEST


def _answers(synchronize: Callable[[], None]) -> bool:
    try:
        synchronize()
    except RuntimeError:
        return False
    return True

"""Whose fault an error is."""

import pytest
import torch

from perjoule_server.faults import Fault, fault_of


def answers() -> None:
    """A device that computes."""


def silent() -> None:
    """A device that does not."""
    raise RuntimeError("CUDA error: unknown error")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), Fault.MEMORY),
        (
            RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory"),
            Fault.MEMORY,
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), Fault.MEMORY),
        (torch.AcceleratorError("CUDA error: out of memory"), Fault.MEMORY),
        (MemoryError(), Fault.MEMORY),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), Fault.LOST),
        (RuntimeError("CUDA error: unspecified launch failure"), Fault.LOST),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), Fault.LOST),
        (torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device"), Fault.REQUEST),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), Fault.REQUEST),
        (ValueError("device-side assert, said a client's text"), Fault.REQUEST),
        (KeyError("out of memory"), Fault.REQUEST),
    ],
)
def test_errors_are_told_apart_by_type_and_words(error: Exception, expected: Fault) -> None:
    """Too little memory is not lasting, a failed kernel is, and a text that only speaks of either is the request's."""
    assert fault_of(error, answers) is expected


def test_a_driver_error_nobody_knows_is_put_to_the_test() -> None:
    """After a lasting error the device answers no further call; a request's own error asks it nothing."""
    unknown = torch.AcceleratorError("CUDA error: something new")
    assert (fault_of(unknown, answers), fault_of(unknown, silent)) == (Fault.REQUEST, Fault.LOST)
    assert fault_of(RuntimeError("a wrong shape"), silent) is Fault.REQUEST


def test_torch_itself_runs_out_of_memory_in_these_words() -> None:
    """The real allocator, asked for more than any machine has."""
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert fault_of(refused.value, silent) is Fault.MEMORY

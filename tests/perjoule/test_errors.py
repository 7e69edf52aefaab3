"""One error tree: exit codes for programs, statuses and outcomes for the server."""

from collections.abc import Iterator
from http import HTTPStatus

import pytest

from perjoule import errors
from perjoule.errors import BusyError, MissingExtraError, PerjouleError, RequestError, UnreachableError, UsageError

DEFINED = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]


def below(error: type[PerjouleError]) -> Iterator[type[PerjouleError]]:
    """Yield every class below ``error``."""
    for child in error.__subclasses__():
        yield child
        yield from below(child)


@pytest.mark.parametrize("error", DEFINED)
def test_everything_hangs_on_one_root(error: type[Exception]) -> None:
    """A program can catch all of ours, and nothing but ours, by one name; the drawing names each."""
    assert issubclass(error, PerjouleError)
    assert error.__name__ in str(errors.__doc__)


@pytest.mark.parametrize("error", [*below(UsageError), UsageError, UnreachableError])
def test_what_the_user_can_mend_exits_2(error: type[PerjouleError]) -> None:
    """Flags, names, missing extras, programs that do not run."""
    assert error.exit_code == 2


@pytest.mark.parametrize("error", [errors.MeterError, errors.NoMeterError, errors.MeasurementError, RequestError])
def test_what_failed_exits_1(error: type[PerjouleError]) -> None:
    """Everything else."""
    assert error.exit_code == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotFoundError, 404),
        (errors.TooLargeError, 413),
        (errors.InvalidInputError, 422),
        (errors.BusyError, 429),
        (errors.UnavailableError, 503),
        (errors.ExpiredError, 504),
        (errors.RequestError, 500),
    ],
)
def test_statuses(error: type[RequestError], status: int) -> None:
    """Each request error has the status of the contract and a code of its own."""
    assert error.status == HTTPStatus(status)
    assert error.code.isidentifier()


def test_codes_differ() -> None:
    """A client can tell errors apart by their code."""
    every: list[type[RequestError]] = [RequestError, *RequestError.__subclasses__()]
    codes = [error.code for error in every]
    assert len(set(codes)) == len(codes)


def test_busy_says_when_to_come_back() -> None:
    """The estimate travels with the error."""
    assert BusyError("the queue is full", 1.5).retry_after_seconds == 1.5


def test_a_missing_extra_says_which_line_installs_it() -> None:
    """The message can be pasted into a shell."""
    expected = "inference-server needs the module 'torch': pip install 'perjoule[server]'"
    assert str(MissingExtraError("inference-server", "server", "torch")) == expected

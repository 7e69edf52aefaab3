"""The one error tree. Third-party errors are translated into it where they enter, and nowhere else.

::

    PerjouleError
    ├── UsageError                 a flag, file or name that cannot be honoured
    │   ├── UnknownZoneError       no static carbon intensity for this zone
    │   ├── UnknownWorkloadError   not one of the 15 workloads
    │   └── MissingExtraError      a command whose optional dependencies are not installed
    ├── MeterError                 an energy meter cannot be used
    │   ├── NoMeterError           nothing on this machine answers to the meter asked for
    │   └── DeviceLostError        a device that was there no longer answers
    ├── GrafanaError               Grafana refuses what it is asked for (each has its HTTP status)
    ├── IntensityError             a live carbon intensity cannot be had now
    ├── RequestError               one inference request cannot be served (each has an HTTP status)
    │   ├── UnauthorizedError      401  no valid token
    │   ├── ForbiddenError         403  not with this token, or not from here
    │   ├── NotFoundError          404  unknown task or model
    │   ├── ConflictError          409  not in the state that the model is in
    │   ├── InvalidInputError      422  the body does not fit the task's schema, or is over a model limit
    │   ├── TooLargeError          413  body, pixels or audio over the limit
    │   ├── BusyError              429  the queue is full
    │   ├── ExpiredError           504  the deadline passed before the answer
    │   └── UnavailableError       503  loading, draining, or the device is lost
    │       └── BrokenModelError   503  the model cannot be loaded
    └── MeasurementError           a load test could not be measured
        └── UnreachableError       the server, exporter or Prometheus does not answer

What the tree does not know is how an error is shown: programs print ``str(error)`` on one line and exit with
``error.exit_code``; the server answers ``error.status``.
"""


class PerjouleError(Exception):
    """Base of every error that Perjoule raises on purpose. ``str()`` of it is a sentence for a person."""

    exit_code = 1


class UsageError(PerjouleError):
    """A setting cannot be honoured. The message says what to change."""

    exit_code = 2


class UnknownZoneError(UsageError):
    """No static carbon intensity is known for the zone that was asked for."""


class UnknownWorkloadError(UsageError):
    """The name is not one of the 15 workload ids."""


class MissingExtraError(UsageError):
    """A command needs optional dependencies; the message holds the pip line that installs them."""

    def __init__(self, command: str, extra: str, module: str) -> None:
        super().__init__(f"{command} needs the module {module!r}: pip install 'perjoule[{extra}]'")


class MeterError(PerjouleError):
    """An energy meter failed."""


class NoMeterError(MeterError):
    """The meter found no device, driver or permission on this machine."""


class DeviceLostError(MeterError):
    """A device that was enumerated no longer answers; its series must disappear."""


class GrafanaError(PerjouleError):
    """Grafana refuses, or what answers is no Grafana. ``status`` is the HTTP status, None where none is to blame."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class IntensityError(PerjouleError):
    """A live carbon intensity cannot be had now. ``status`` is the provider's HTTP status, None without an answer.

    ``retry_after_seconds`` is how long the provider asks us to wait, None where it does not say.
    """

    def __init__(self, message: str, status: int | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class RequestError(PerjouleError):
    """One inference request cannot be served. ``code`` is stable and machine readable.

    ``outcome`` is the value of the label of the same name that counts it. ``retry_after_seconds`` says when it is worth
    asking again, where that is known.
    """

    status = 500
    code = "error"
    outcome = "error"
    retry_after_seconds: float | None = None


class NotFoundError(RequestError):
    """Unknown task or model."""

    status = 404
    code = "not_found"
    outcome = "invalid"


class UnauthorizedError(RequestError):
    """No valid token."""

    status = 401
    code = "unauthorized"
    outcome = "invalid"


class ForbiddenError(RequestError):
    """Not with this token, or not from where the request comes."""

    status = 403
    code = "forbidden"
    outcome = "invalid"


class ConflictError(RequestError):
    """Not in the state that the model is in."""

    status = 409
    code = "conflict"
    outcome = "invalid"


class InvalidInputError(RequestError):
    """The body does not fit the task's schema, or exceeds a limit of the model.

    ``parameter`` names what is wrong with it, where that is one parameter.
    """

    status = 422
    code = "invalid_input"
    outcome = "invalid"

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class TooLargeError(RequestError):
    """Body, decoded pixels or audio seconds over the server's limit."""

    status = 413
    code = "too_large"
    outcome = "too_large"


class BusyError(RequestError):
    """The queue is full. ``retry_after_seconds`` is an honest estimate of when a place is free."""

    status = 429
    code = "busy"
    outcome = "busy"

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ExpiredError(RequestError):
    """The request's deadline passed."""

    status = 504
    code = "expired"
    outcome = "expired"


class UnavailableError(RequestError):
    """The server is loading or draining, or its device is lost; or the model was unloaded by hand."""

    status = 503
    code = "unavailable"
    outcome = "draining"


class BrokenModelError(UnavailableError):
    """The model cannot be loaded; the message says why. It is tried again after ``retry_after_seconds``."""

    outcome = "error"

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class MeasurementError(PerjouleError):
    """A load test could not be carried out or measured."""


class UnreachableError(MeasurementError):
    """A program that the measurement needs does not answer. The message says how to start it."""

    exit_code = 2

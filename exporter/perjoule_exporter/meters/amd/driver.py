"""The border to amdsmi: a package in pure Python over ROCm's ``libamd_smi.so``, whose versions have to fit.

The only file that imports it. Its errors, its "N/A" and its largest numbers become ``DeviceLostError`` and None here.
"""

import io
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from typing import Any

from perjoule.errors import DeviceLostError, NoMeterError
from perjoule_exporter.meters.amd.counter import Count

_NEVER = frozenset({2, 3, 45, 46, 47, 48, 49, 51})
"""``amdsmi_status_t`` of answers that will not change: not supported, not implemented, and drivers of other things."""

_NOT_NOW = frozenset({1, 7, 8, 9, 10, 11, 14, 15, 30, 39, 40, 41, 42, 43, 52, 53, 55, 56, 57})
"""Those after which the value is absent and the board is still there: time-outs, retries, permission, a missing file,
no data. Any other one (not found, I/O, DRM, not initialised, unknown) means that the board is lost."""

_NO_WATTS = 2**16 - 1  # what stands in a power field that the board has not got


@dataclass(slots=True)
class Handle:
    """One of AMD SMI's processors, and the calls that answered "never" for it."""

    raw: Any
    absent: set[tuple[Any, ...]] = field(default_factory=set)

    @property
    def address(self) -> int:
        """What tells it from others."""
        return int(self.raw.value)


class Smi:
    """The boundary: every call into amdsmi, with its errors translated."""

    def __init__(self) -> None:
        """Load and start the library.

        Raises:
            NoMeterError: no package, no library, versions that do not fit, or no driver.
        """
        self._module = _load()
        try:
            self._module.amdsmi_init()
        except self._module.AmdSmiException as error:
            raise NoMeterError(f"the AMD driver does not answer: {_sentence(error)}") from error

    def close(self) -> None:
        """Shut AMD SMI down."""
        with suppress(self._module.AmdSmiException):  # a driver that is gone cannot be given back
            self._module.amdsmi_shut_down()

    def handles(self) -> list[Handle]:
        """Return every processor that AMD SMI lists, in its order.

        Raises:
            DeviceLostError: nobody can tell now.
        """
        try:
            return list(map(Handle, self._module.amdsmi_get_processor_handles()))
        except self._module.AmdSmiException as error:
            raise DeviceLostError(_sentence(error)) from error

    def name(self, kind: str, name: str) -> Any:
        """Return a member of one of amdsmi's enumerations."""
        return getattr(self._module, kind)[name]

    def ask(self, handle: Handle, call: str, *arguments: Any) -> Any:
        """Return what ``call`` answers, or None where it has no answer.

        Raises:
            DeviceLostError: the error says that the board is gone.
        """
        question = (call, *arguments)
        if question in handle.absent:
            return None
        try:
            return getattr(self._module, call)(handle.raw, *arguments)
        except self._module.AmdSmiLibraryException as error:
            code = error.get_error_code()
            if code in _NEVER:
                handle.absent.add(question)
            elif code not in _NOT_NOW:
                raise DeviceLostError(_sentence(error)) from error
            return None
        except ValueError:  # the package decodes texts and hexadecimal numbers without looking
            return None

    def count(self, handle: Handle) -> Count | None:
        """Read the energy accumulator."""
        answer = self.ask(handle, "amdsmi_get_energy_count")
        steps = entry(answer, "energy_accumulator", "power")  # its name before 6.2.1
        resolution, stamp = entry(answer, "counter_resolution"), entry(answer, "timestamp")
        if not isinstance(steps, int) or not isinstance(resolution, float):
            return None
        count = Count(steps, resolution, stamp if isinstance(stamp, int) else 0)
        return count if count.valid else None

    def power(self, handle: Handle) -> tuple[float | None, float | None]:
        """Return (instant, average) power in watts. Which of them there is depends on the generation."""
        answer = self.ask(handle, "amdsmi_get_power_info")
        instant = _watts(entry(answer, "current_socket_power"))
        average = _watts(entry(answer, "average_socket_power"))
        if instant is None and average is None:
            instant = _watts(entry(answer, "socket_power"))
        return instant, average


def _load() -> Any:
    """Import amdsmi. It looks for its library at once, prints to stdout where it finds none, and then fails oddly."""
    try:
        with redirect_stdout(io.StringIO()):
            import amdsmi
    except AttributeError as error:
        raise NoMeterError(
            f"the amdsmi package does not fit the installed libamd_smi.so ({error}): install the version of your ROCm"
        ) from error
    except ModuleNotFoundError as error:
        raise NoMeterError("no amdsmi: pip install 'perjoule[amd]'") from error
    except (ImportError, OSError, KeyError) as error:
        raise NoMeterError(
            "no AMD driver: libamd_smi.so was not found; install ROCm's amd-smi-lib, or name its folder in ROCM_PATH"
        ) from error
    return amdsmi


def entry(answer: Any, *names: str) -> Any:
    """Return the first of these entries that an answer has; None where there is no answer, or "N/A" stands in it."""
    for name in names:
        value = (answer or {}).get(name)
        if value is not None:
            return None if value == "N/A" else value
    return None


def below(limit: int, value: Any) -> int | None:
    """Return a number that is not negative and below ``limit``; what is none, or stands for none, is None."""
    return value if isinstance(value, int) and 0 <= value < limit else None


def _watts(value: Any) -> float | None:
    """Return a power. No board draws 0 W: that is what the second half of an MI250 says, of which nothing is known."""
    watts = below(_NO_WATTS, value)
    return float(watts) if watts else None


def text(value: Any) -> str:
    """Return a name; empty where there is none."""
    return "" if value in {None, "N/A"} else str(value)


def _sentence(error: Exception) -> str:
    """Return amdsmi's words without their line breaks."""
    return " ".join(str(error).split())

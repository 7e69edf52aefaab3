"""Records what a meter's devices say into a trace: ``python -m perjoule_exporter.record --output FILE``.

One thread reads every device on a grid of due times and notes when it really did; the main thread waits for signals, so
that SIGTERM ends the recording in order even while a driver hangs. The trace stands under its name only when it is
whole: until then it is ``FILE.part``.

Exit codes: 0 recorded, 1 failed, 2 a setting that cannot be honoured.
"""

import argparse
import logging
import re
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from perjoule.errors import PerjouleError, UsageError
from perjoule_exporter.clock import Clock
from perjoule_exporter.config import Config
from perjoule_exporter.config import parse as parse_exporter
from perjoule_exporter.flags import Parser
from perjoule_exporter.logs import start_logging
from perjoule_exporter.orders import ENDING, Order, Orders
from perjoule_exporter.registry import open_meters
from perjoule_exporter.trace import LONGEST_INTERVAL_SECONDS, MOST_ROWS
from perjoule_exporter.trace.file import TraceFile
from perjoule_exporter.trace.recorder import Recorder

_LOG = logging.getLogger(__name__)

PROGRAM = "python -m perjoule_exporter.record"

_SHORTEST_INTERVAL_SECONDS = 0.001
_HANG_SECONDS = 0.5  # what the end waits for a reading that is under way

_EPILOG = """flags of gpu-energy-exporter that count here too, and mean the same:
  --meter NAME (repeatable), --path.sysfs DIR, --estimate.idle-watts W, --estimate.max-watts W,
  --simulated.script FILE, --simulated.truth FILE, --replay.file TRACE, --replay.speed FACTOR, --replay.loop,
  --config.file FILE, --log.level LEVEL, --log.format FORMAT

examples:
  python -m perjoule_exporter.record --meter nvml --interval 5ms --duration 30s --output h100.jsonl.gz
  gpu-energy-exporter --meter replay --replay.file h100.jsonl.gz

exit codes: 0 recorded, 1 failed, 2 a setting that cannot be honoured
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to record, how often and for how long (None: until a signal), and where to."""

    output: Path
    interval_seconds: float
    duration_seconds: float | None
    exporter: Config


def main(argv: Sequence[str] | None = None) -> int:
    """Record until the duration is over or a signal comes, and return the exit code."""
    try:
        settings = parse(argv)
        start_logging(settings.exporter.log_level, settings.exporter.log_format)
        return _record(settings)
    except PerjouleError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)  # noqa: T201 (a command-line program prints)
        return error.exit_code


def parse(argv: Sequence[str] | None) -> Settings:
    """Return the settings that ``argv`` asks for; flags that are not the recorder's are the exporter's.

    Raises:
        UsageError: a flag that does not exist, or a value that cannot be honoured.
    """
    given, others = _parser().parse_known_args(argv)
    if given.output is None:
        raise UsageError("--output is missing: the trace to write, such as trace.jsonl.gz (see --help)")
    interval = _seconds("--interval", given.interval, _SHORTEST_INTERVAL_SECONDS, LONGEST_INTERVAL_SECONDS, "5ms")
    duration = None if given.duration is None else _seconds("--duration", given.duration, interval, 1e6, "30s")
    return Settings(given.output, interval, duration, parse_exporter(others))


def _parser() -> argparse.ArgumentParser:
    made = Parser(
        prog=PROGRAM,
        description="Records what the devices of a meter say into a trace, which --meter replay plays.",
        usage="%(prog)s --output FILE [flags]",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add("--output", metavar="FILE", type=Path, help="the trace to write, replaced when the recording is whole")
    add("--interval", metavar="TIME", default="5ms", help="how often devices are read (default: %(default)s)")
    add("--duration", metavar="TIME", help="how long, such as 30s or 5m (default: until SIGTERM or SIGINT)")
    return made


def _seconds(flag: str, text: str, low: float, high: float, example: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text.strip())
    seconds = float(match.group(1)) * {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}[match.group(2)] if match else 0.0
    if not low <= seconds <= high:
        raise UsageError(f"{flag} {text!r} must be a time from {low:g}s to {high:g}s, such as {example}")
    return seconds


def _record(settings: Settings) -> int:
    orders = Orders(ENDING)
    file = TraceFile(settings.output)
    try:
        _record_to(file, settings, orders)
    except BaseException:
        file.abandon()
        raise
    return 0


def _record_to(file: TraceFile, settings: Settings, orders: Orders) -> None:
    clock = Clock()
    meters = open_meters(settings.exporter, clock)
    recorder = Recorder(meters, clock, settings.interval_seconds, file)
    _check_length(settings, recorder)
    stop, reading = threading.Event(), Future[None]()
    reader = threading.Thread(target=_read, args=(recorder, settings, stop, reading), name="reader", daemon=True)
    reading.add_done_callback(lambda _: orders.give(Order.END))
    reader.start()
    _await_end(orders, settings.duration_seconds)
    stop.set()
    reader.join(_HANG_SECONDS)
    if reading.done():
        reading.result()
    seconds, size = recorder.seconds(), recorder.end()
    if reader.is_alive():
        _LOG.warning("a device did not answer when the recording ended")
    else:
        for meter in meters:
            meter.close()
    _LOG.info(
        "recorded %d readings (devices: %d) over %.1f s (%d more were due and missed) to %s, %d bytes",
        recorder.samples, recorder.devices, seconds, recorder.missed, settings.output, size,
    )  # fmt: skip


def _await_end(orders: Orders, duration_seconds: float | None) -> None:
    """Wait for the end: the reader's, a signal's, or that of the time, when the reader hangs in a driver."""
    orders.next(Order.END, timeout_seconds=None if duration_seconds is None else duration_seconds + _HANG_SECONDS)


def _check_length(settings: Settings, recorder: Recorder) -> None:
    if not recorder.devices:
        raise UsageError("the meter lists no device")
    if settings.duration_seconds is not None:
        rows = settings.duration_seconds / settings.interval_seconds * recorder.devices
        if rows > MOST_ROWS:
            raise UsageError(
                f"{rows:.0f} readings are too many, a trace holds {MOST_ROWS}: ask for a longer --interval or a "
                "shorter --duration"
            )


def _read(recorder: Recorder, settings: Settings, stop: threading.Event, reading: "Future[None]") -> None:
    try:
        _on_grid(recorder, settings, stop)
    except BaseException as error:  # noqa: BLE001 (the thread's edge: raised again in the one that waits)
        reading.set_exception(error)
    else:
        reading.set_result(None)


def _on_grid(recorder: Recorder, settings: Settings, stop: threading.Event) -> None:
    """Read at due times that do not drift. What the machine was too busy for is counted, not caught up."""
    interval, due = settings.interval_seconds, 0.0
    while True:
        recorder.sample()
        if recorder.full:
            _LOG.warning("the trace is full (%d rows), the recording ends here", MOST_ROWS)
            return
        behind = int(max(0.0, recorder.seconds() - due) / interval)
        recorder.missed += behind
        due += interval * (behind + 1)
        if settings.duration_seconds is not None and due >= settings.duration_seconds:
            stop.wait(settings.duration_seconds - recorder.seconds())
            return
        if stop.wait(due - recorder.seconds()):
            return


if __name__ == "__main__":
    sys.exit(main())

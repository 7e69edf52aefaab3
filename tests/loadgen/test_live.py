"""What is shown while a run lasts, with a clock that stands still."""

import io

from rich.console import Console

from perjoule_loadgen.campaign import Campaign
from perjoule_loadgen.client import Result
from perjoule_loadgen.live import Display
from perjoule_loadgen.load import Load
from perjoule_loadgen.status import Status

NOW = 100.0


def shown(load: Load, seconds: float | None = 60.0) -> str:
    """What a terminal shows ten seconds into a window."""
    status = Status(lambda: NOW, phase="steady window", task="summarization", number=1, count=2, began=NOW - 10.0,
                    seconds=seconds, load=load)  # fmt: skip
    stream = io.StringIO()
    out = Console(file=stream, force_terminal=True, width=200, color_system=None)
    out.print(Display(out, status, Campaign())._panel())
    return stream.getvalue()


def load(answers: int, failures: int = 0, scheduled: int | None = None) -> Load:
    """Answers evenly over the last ten seconds, and failures at the end."""
    made = Load(began=NOW - 10.0, scheduled=scheduled, sent=answers + failures + 3)
    for number in range(answers):
        at = NOW - 10.0 + 10.0 * number / answers
        made.add(Result(at, at, at, 200, "", "", None, 0))
    for _ in range(failures):
        made.add(Result(NOW, NOW, NOW, 500, "5xx", "x", None, 0))
    return made


def test_phase_time_rates_and_failures() -> None:
    """Where it stands, how long it has and has still to go, and the rate that is asked beside the one achieved."""
    text = shown(load(200, failures=2, scheduled=250))
    for part in ("summarization (1/2): steady window", "10 of 60 s, 50 s left", "inf/s of 25.0 asked",
                 "205 sent of 250 due", "200 ok", "2 failed", "3 in flight"):  # fmt: skip
        assert part in text


def test_a_closed_loop_asks_for_no_rate() -> None:
    """And a phase of unknown length has no bar."""
    text = shown(load(200), seconds=None)
    assert "asked" not in text
    assert "left" not in text
    assert "20.0 inf/s" in text

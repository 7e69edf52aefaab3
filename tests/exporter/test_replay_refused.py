"""Traces that are damaged, cut off, hostile or of another kind: refused at start with the line, never half played."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from perjoule.errors import DeviceLostError, UsageError
from perjoule_exporter.meters.replay import ReplayMeter, ReplaySettings
from perjoule_exporter.trace import LONGEST_LINE, read
from tests.exporter.fakes import Hands
from tests.exporter.test_replay import DEVICE, FULL, RAMP, recorded, replayed, simulated, trace, written


def refused(path: Path, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        ReplayMeter(ReplaySettings(path), Hands().clock)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([7], "line 2: a value of the wrong type"),
        (["x"], "line 2: a value of the wrong type"),
        ([{}], "line 2: 't_us' is missing"),
        ([{"t_us": 0}], "line 2: neither a reading nor"),
        ([{"t_us": -1, "lost": 0}], "line 2: -1 is no whole number"),
        ([FULL, {"t_us": 0, "lost": 1}], "line 3: 1 is no whole number from 0 to 0"),
        ([[0, 0]], "line 2: the first reading of a device has all its values"),
        ([FULL, {"t_us": 1, "lost": 0}, [0, 2]], "line 4: the first reading"),
        ([[0, 0, 1]], "line 2: a reading has 6 values"),
        ([[1, *FULL[1:]]], "line 2: 1 is no whole number"),
        ([[True, *FULL[1:]]], "line 2: True is no whole number"),
        ([[0, 0, 1.5, None, None, None]], "line 2: 1.5 is no whole number"),
        ([[0, 0, -1, None, None, None]], "line 2: -1 is no whole number"),
        ([[0, 0, 10**30, None, None, None]], "line 2: 1000.* is no whole number"),
        ([[0, 0, 1, None, 2e6, None]], "line 2: 2000000.0 W is impossible"),
        ([[0, 0, 1, None, float("nan"), None]], "line 2: nan is no number"),
        ([[0, 0, 1, None, 10**400, None]], "line 2: a value of the wrong type"),
        ([[0, 0, 1, "now", None, None]], "line 2: now is no whole number"),
        ([FULL, [0, 10], [0, 9]], "line 4: t_us goes back from 10 to 9"),
        ([{"status": 0, "t_us": 0, "mood": 3}], "line 2: unknown status mood = 3"),
        ([{"status": 0, "t_us": 0, "throttle_reasons": ["hot"]}], "line 2: unknown status throttle_reasons"),
        ([{"status": 0, "t_us": 0, "clocks_hertz": 7}], "line 2: a value of the wrong type"),
        ([{"found": 0, "t_us": 0, "identity": DEVICE}], "line 2: a new device has the next number, 1"),
        ([{"found": 1, "t_us": 0, "identity": DEVICE}], "line 2: a new device has .* a uuid of its own"),
        ([{"found": 1, "t_us": 0, "identity": []}], "line 2: a value of the wrong type"),
        (
            [{"found": n, "t_us": 0, "identity": DEVICE | {"kind": "cpu_zone", "uuid": f"cpu-{n}"}} for n in (1, 2)],
            "line 3: two CPU zones of one index",
        ),
        ([{"end": 0, "t_us": 0, "missed": 0}, FULL], "line 3: there are lines after the end"),
        ([FULL, {"end": 7, "t_us": 0, "missed": 0}], "line 3: the end counts 7 rows, there are 1"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(rows: list[Any], sentence: str, tmp_path: Path) -> None:
    """At start, before anything is shown."""
    refused(written(tmp_path, trace(rows)), sentence)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"perjoule_trace": 2}, "line 1: no header of a Perjoule trace: version 2, and this program reads 1"),
        ({"columns": ["t"]}, "line 1: .* columns must be device, t_us"),
        ({"interval_us": 0}, "line 1: .* 0 is no whole number from 1 to 500000"),
        ({"devices": [DEVICE, DEVICE]}, "line 1: .* two of one uuid"),
        ({"devices": [DEVICE | {"uuid": f"GPU-{n}"} for n in range(257)]}, "line 1: .* over 256 devices"),
        ({"devices": [DEVICE | {"uuid": ""}]}, "line 1: .* a device has no uuid"),
        ({"devices": [DEVICE | {"kind": "toaster"}]}, "line 1: .* 'toaster' is not a valid DeviceKind"),
        ({"devices": [DEVICE | {"name": "a\nb"}]}, "line 1: .* is no text of at most 200 printable"),
        ({"devices": [DEVICE | {"slices": [1]}]}, "line 1: .* a value of the wrong type"),
        (
            {"devices": [DEVICE | {"kind": "cpu", "uuid": f"cpu-{n}"} for n in range(2)]},
            "line 1: .* two CPU zones of one index and one scope",
        ),
        ({"devices": 7}, "line 1: .* a value of the wrong type"),
        ({"devices": []}, "has no device"),
    ],
)
def test_a_wrong_header_is_refused(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    """Versions, devices and texts."""
    lines = trace([])
    refused(written(tmp_path, [lines[0] | change, *lines[1:]]), sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "line 1: no header of a Perjoule trace: no JSON"),
        (b"hello\n", "line 1: no header of a Perjoule trace: no JSON"),
        (b"[]\n", "line 1: no header of a Perjoule trace: a value of the wrong type"),
        (b"[" * 100_000, "line 1: no header"),
        (b"\xff\xfe\x00", "line 1: no header"),
        (b'{"perjoule_trace": 1}\n', "line 1: .*'columns' is missing"),
        (b"x" * (LONGEST_LINE + 2), "line 1: over 131072 bytes a line"),
        (b"\x1f\x8bjunk", "line 1: the file is damaged or cut off"),
        (gzip.compress(b"x" * 50_000_000, mtime=0), "line 1: over 131072 bytes a line"),
    ],
)
def test_a_file_that_is_no_trace_is_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    """Empty, text, binary, a bomb: one sentence."""
    path = tmp_path / "t"
    path.write_bytes(content)
    refused(path, sentence)


def test_a_bomb_of_short_lines_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good lines of spaces that unpack to far more than they weigh: refused where the limit is passed."""
    monkeypatch.setattr(read, "MOST_BYTES", 1_000_000)
    path = tmp_path / "t"
    with gzip.open(path, "wb") as file:
        file.write(json.dumps(trace([])[0]).encode() + b"\n")
        for _ in range(20):
            file.write(b'{"lost":0,"t_us":0' + b" " * 100_000 + b"}\n")
    assert path.stat().st_size < 10_000
    refused(path, r"line 11: over 131072 bytes a line or 1000000 in all")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """With its name."""
    refused(tmp_path / "none", "cannot read the trace .*none: No such file or directory")


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
def test_a_trace_that_was_cut_off_is_refused(tmp_path: Path, keep: float) -> None:
    """Packed and plain, wherever it was cut: in a line, between lines, in gzip's own end."""
    hands, path = Hands(), tmp_path / "t.jsonl.gz"
    recorded(path, simulated(RAMP, hands), hands, 5.0)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    refused(path, "cut off")
    plain = gzip.decompress(whole)
    path.write_bytes(plain[: int(len(plain) * keep)])
    refused(path, r"line \d+: (no JSON|the trace ends here without its end)")


def test_a_loop_must_last(tmp_path: Path) -> None:
    """A trace of nothing cannot begin again and again."""
    path = written(tmp_path, trace([FULL], end=10))
    with pytest.raises(UsageError, match=r"lasts 1e-05 s: --replay.loop needs 0.1 s"):
        ReplayMeter(ReplaySettings(path, loop=True), Hands().clock)


def test_a_trace_that_changes_underneath_is_lost(tmp_path: Path) -> None:
    """It was whole when it was opened; what is written over it later ends the replay, not the exporter."""
    path = tmp_path / "plain"
    rows = [FULL, *([0, n] for n in range(1, 100_000))]
    path.write_text("".join(json.dumps(line) + "\n" for line in trace(rows)))
    meter, hands = replayed(path)
    (device,) = meter.devices()
    with path.open("r+b") as file:
        file.write(b"x" * 1_000_000)
    hands.seconds = 0.2
    with pytest.raises(DeviceLostError, match="the trace has changed"):
        meter.read(device)


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit keeps the check at start short."""
    monkeypatch.setattr(read, "MOST_ROWS", 3)
    refused(written(tmp_path, trace([FULL, [0, 1], [0, 2], [0, 3]])), "line 5: over 3 rows")

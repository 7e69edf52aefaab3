"""``report.html``: in a real browser, at phone and desk width, light and dark; and its parts by hand."""

import re
from pathlib import Path
from typing import Any

import pytest

from perjoule_loadgen.html.page import page
from perjoule_loadgen.html.scales import (
    Axis,
    cumulative,
    histogram,
    linear,
    linear_ticks,
    logarithmic,
    per_second,
    thinned,
)
from tests.loadgen.chromium import Tab, in_browser
from tests.loadgen.conftest import Bench
from tests.loadgen.test_report import run

CSS = Path("loadgen/perjoule_loadgen/html/report.css")


@pytest.fixture
def report(bench: Bench) -> Path:
    """The page of a real run against the stubs, with a neighbour and some failures."""
    bench.exporter.neighbour = 30.0
    bench.run("--rate", "40")
    return bench.folder / "out" / "report.html"


def test_in_a_browser(report: Path, tmp_path: Path) -> None:
    """No complaint on the console, nothing fetched, every chart has data, and no sideways scrolling at 360 pixels."""
    url = report.as_uri()

    async def look(tab: Tab) -> None:
        for width, dark in ((360, False), (360, True), (1200, False)):
            await tab.open(url, width, dark=dark)
            assert await tab.ask("document.documentElement.scrollWidth") <= width
            wide = (
                "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1"
            )
            assert (
                await tab.ask(f"{wide} && !e.closest('.scroll, .area, details')).map(e => e.outerHTML.slice(0, 80))")
                == []
            )
            ids = "[...document.querySelectorAll('figure.chart')].map(e => e.id)"
            assert await tab.ask(ids) == ["three", "references", "power", "throughput", "latency", "latency-counts"]
            drawn = "[...document.querySelectorAll('svg path.line')].every(e => e.getTotalLength() > 100)"
            assert await tab.ask(drawn)
            assert await tab.ask("document.querySelectorAll('#latency-counts rect.bar').length") > 0
            assert await tab.ask("document.querySelectorAll('#references .dot').length") == 4
        assert tab.complaints == []
        assert set(tab.fetched) == {url}

    in_browser(tmp_path, look)


def test_cursor_zoom_and_projection(report: Path, tmp_path: Path) -> None:
    """Moving and keys show the values; dragging zooms and Escape undoes it; another number of requests counts."""

    async def use(tab: Tab) -> None:
        await tab.open(report.as_uri(), 1200, height=6000)
        area = "document.querySelector('#power .area')"
        box = await tab.ask(f"(b => [b.left, b.top, b.width])({area}.getBoundingClientRect())")
        left, top, wide = box
        await tab.mouse("mouseMoved", left + wide / 2, top + 50)
        readout = "document.querySelector('#power .readout').textContent"
        assert re.fullmatch(r"-?[\d.,]+ s · GPU-a [\d.]+ W · GPU-b 30 W · [\w-]+", await tab.ask(readout))
        await tab.mouse("mousePressed", left + wide / 4, top + 50)
        await tab.mouse("mouseMoved", left + wide / 2, top + 50)
        await tab.mouse("mouseReleased", left + wide / 2, top + 50)
        shown = f"{area}.querySelector('svg').getAttribute('viewBox').split(' ').map(Number)"
        low, _, size, _ = await tab.ask(shown)
        assert (low, size) == (pytest.approx(250, abs=3), pytest.approx(250, abs=3))
        key = "document.querySelector('#power .plot').dispatchEvent(new KeyboardEvent('keydown', {{key: '{}'}}))"
        await tab.ask(key.format("Escape"))
        assert await tab.ask(shown) == [0, 0, 1000, 1000]
        before = await tab.ask(readout)
        await tab.ask(key.format("PageDown"))
        assert await tab.ask(readout) != before
        await tab.ask(
            "(i => { i.value = 2000; i.dispatchEvent(new Event('input')) })(document.getElementById('per-day'))"
        )
        assert "At 2,000 requests a day" in await tab.ask("document.getElementById('projected').textContent")
        await tab.ask("document.getElementById('theme').click()")
        assert await tab.ask("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
        assert tab.complaints == []

    in_browser(tmp_path, use)


def _variables(block: str) -> dict[str, str]:
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})\b", block))


def _luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear_parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear_parts, strict=True))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_contrast(number: int) -> None:
    """Text and lines stand out from both grounds by WCAG's 4.5 to 1, light, dark by preference, and dark by choice."""
    blocks = re.findall(r"\{ [^{}]*--back[^{}]*\}", CSS.read_text())
    colours = _variables(blocks[number])
    for name in ("text", "muted", "one", "two", "three", "good", "bad", "warn"):
        for ground in ("back", "card"):
            bright, dim = sorted((_luminance(colours[name]), _luminance(colours[ground])), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (name, ground)


def test_both_ways_into_the_dark_are_the_same() -> None:
    """By preference and by the button."""
    _, preferred, chosen, *_ = re.findall(r"\{ [^{}]*--back[^{}]*\}", CSS.read_text())
    assert _variables(preferred) == _variables(chosen)


def made(**more: Any) -> str:
    return page(run("summarization") | more, (), ())


def test_texts_from_elsewhere_are_escaped() -> None:
    """A model or a reason may be called anything, also in what the script reads."""
    html = made(model="</script><script>alert(1)</script>", reasons=["<img src=x onerror=alert(1)>"], verdict="invalid")
    assert "<script>alert" not in html
    assert "<img" not in html
    assert "INVALID" in html


def test_the_study_never_stands_alone() -> None:
    """Beside its figures are the boundary, the CO2 factor and which phone charge is meant; elsewhere none of them."""
    html = made()
    for text in ("seven idle", "138.75 g/kWh", "Phone charges: 0.012 kWh", "one A100 alone"):
        assert text in html
    assert "seven idle" not in page(run("feature-extraction"), (), ())


def test_banners() -> None:
    """Simulated and unfinished runs say so first."""
    assert "SIMULATED: no hardware" in made(simulated=True)
    assert "UNFINISHED" in made(partial={"phase": "warm-up"})
    assert 'class="banner"' not in made()


def test_a_run_without_anything_is_a_page() -> None:
    """No figure, no rows: dashes and reasons, no chart of nothing."""
    html = page(run("summarization", reset=True), (), ())
    assert html.count("<figure") == 0
    assert "was reset within the window" in html


def test_the_page_loads_nothing() -> None:
    """No address, no import, no font: it works in a mail as on a disk."""
    html = made()
    assert "http" not in re.sub(r"https?://s</td>", "", html).replace("https?", "")
    assert not re.search(r"""(src|href)=|@import|url\(""", html)


def test_axes_by_hand() -> None:
    """Round ticks, whole decades, and positions between 0 and 1."""
    assert linear_ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert linear_ticks(-1.2, 0.1) == [-1.0, -0.75, -0.5, -0.25, 0.0]
    axis = logarithmic([0.03, 200.0], "J")
    assert (axis.low, axis.high) == (0.01, 1000.0)
    assert axis.at(0.01) == 0
    assert axis.at(3.1622776) == pytest.approx(0.5)
    assert [label for _, label in axis.ticks()] == ["10 mJ", "100 mJ", "1 J", "10 J", "100 J", "1 kJ"]
    assert linear([0.0], "W").high > 0


def test_series_by_hand() -> None:
    """Thinning keeps every peak; shares end at one; counts add up; a rate is a count over its width."""
    spiky = [(float(n), 1000.0 if n == 777 else 1.0) for n in range(10_000)]
    assert (777.0, 1000.0) in thinned(spiky, 100)
    assert len(thinned(spiky, 100)) <= 100
    assert cumulative([3.0, 1.0, 2.0]) == [(1.0, 0.0), (1.0, 1 / 3), (2.0, 2 / 3), (3.0, 1.0)]
    assert cumulative(list(range(100_000)), 50)[-1] == (99_999, 1.0)
    assert sum(count for *_, count in histogram([1.0, 2.0, 9.9], Axis(0, 10, "s"), 5)) == 3
    assert per_second([0.1, 0.2, 1.5, 7.0], 0.0, 2.0, 1.0) == [(0.5, 2.0), (1.5, 1.0)]

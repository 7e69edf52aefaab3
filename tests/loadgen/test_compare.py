"""Two runs, or two sets of repeats, told apart: Student's t, bounds, gates, and what must not be compared."""

import json
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pytest

from perjoule.errors import UsageError
from perjoule_loadgen.__main__ import main
from perjoule_loadgen.compare.alike import differences, obstacles
from perjoule_loadgen.compare.figures import changes
from perjoule_loadgen.compare.gate import Gate
from perjoule_loadgen.compare.student import cumulative, quantile, welch
from tests.loadgen.test_report import run


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(1, 12.7062), (2, 4.30265), (4, 2.77645), (8, 2.30600), (30, 2.04227), (1000, 1.96234)],
)
def test_quantiles_are_those_of_the_printed_tables(degrees: float, expected: float) -> None:
    """The 97.5 % points of the t distribution, and the way back."""
    assert quantile(0.975, degrees) == pytest.approx(expected, rel=1e-5)
    assert cumulative(-expected, degrees) == pytest.approx(0.025, rel=1e-4)


def test_welch_by_hand() -> None:
    """Variances 1 and 4 over three values each: error √(5/3), Welch's degrees (5/3)² ÷ ((1/9 + 16/9) ÷ 2)."""
    found = welch([1.0, 2.0, 3.0], [3.0, 5.0, 7.0])
    assert found.value == 3.0
    assert found.high - found.value == pytest.approx(quantile(0.975, 25 / 9 / (17 / 18)) * (5 / 3) ** 0.5)
    assert 0 < found.p < 1


def test_the_interval_covers_the_truth() -> None:
    """In 95 % of seeded pairs of five repeats each, whose scatter differs, Welch's interval holds the difference."""
    random, held, pairs = Random(1), 0, 1000  # noqa: S311 (a seeded test)
    for _ in range(pairs):
        first, second = ([random.gauss(mean, sigma) for _ in range(5)] for mean, sigma in ((10, 0.2), (11, 0.6)))
        found = welch(first, second)
        held += found.low <= 1.0 <= found.high
    assert 930 <= held <= 985


def document(factor: float = 1.0, **more: Any) -> dict[str, Any]:
    """A valid run whose joules are ``factor`` times those of the others."""
    made: dict[str, Any] = deepcopy(run("summarization")) | more
    for name in ("gross", "active"):
        each = made["joules_per_inference"][name]
        made["joules_per_inference"][name] = {key: value * factor for key, value in each.items()}
    return made


def test_one_run_each_is_judged_by_its_bounds() -> None:
    """Disjoint bounds differ, overlapping ones do not, and a figure without bounds is said to be unknown."""
    found = changes([document()], [document(1.5)])
    assert found["gross"].ratio == pytest.approx(0.5)
    assert found["gross"].differs is True
    assert found["mean"].differs is None
    assert "unknown" in found["mean"].basis
    assert changes([document()], [document(1.001)])["gross"].differs is False


def test_repeats_are_judged_by_their_scatter() -> None:
    """With repeats the bounds of each run no longer matter: it is the scatter between them that does."""
    before, after = ([document(each) for each in factors] for factors in ((1.0, 1.2, 0.8), (1.1, 1.3, 0.9)))
    assert changes(before, after)["gross"].differs is False
    steady = changes(
        [document(1.0), document(1.001), document(0.999)], [document(1.1), document(1.101), document(1.099)]
    )
    assert steady["gross"].differs is True
    assert steady["gross"].low is not None
    assert 0.09 < steady["gross"].low < 0.1
    assert steady["gross"].p is not None
    assert steady["gross"].p < 0.001


@pytest.mark.parametrize(
    ("gate", "factor", "fails"),
    [("active>+5%", 1.5, True), ("active>+60%", 1.5, False), ("gross>+0%", 1.001, False), ("gross<-5%", 0.5, True),
     ("active>5%", 0.5, False)],
)  # fmt: skip
def test_a_gate_fails_where_the_difference_is_beyond_it_and_real(gate: str, factor: float, *, fails: bool) -> None:
    """A difference within the bounds fails nobody's build, whatever the limit."""
    assert (Gate.parse(gate).failed(changes([document()], [document(factor)])) is not None) == fails


def test_what_cannot_be_judged_does_not_pass() -> None:
    """A figure that is absent fails its gate, and the sentence says where it is absent."""
    sentence = Gate.parse("attributed>+5%").failed(changes([document()], [document()]))
    assert sentence == "attributed>+5% cannot be judged: attributed is absent in A and B"


@pytest.mark.parametrize("text", ["", "active", "active>5", "watts>+5%", "active>=5%", "active>+5%; rm"])
def test_a_gate_that_is_none_is_explained(text: str) -> None:
    """With the names that there are."""
    with pytest.raises(UsageError, match="write FIGURE"):
        Gate.parse(text)


def test_like_with_like() -> None:
    """Another task, method or length of answer stands in the way; another model or load is told."""
    other = document()
    other["devices"][0]["method"] = "estimated"
    longer = document()
    longer["joules_per_unit"]["units"] *= 2
    assert obstacles([document()], [document()]) == []
    said = document()["work"]
    told, asked = said | {"output_tokens_per_inference": 12.05}, said | {"asked": {"output_tokens": [20, 30]}}
    assert obstacles([document()], [document(work=told)]) == []  # what was answered is compared by its amount
    assert "work: A" in obstacles([document()], [document(work=asked)])[0]
    assert "boundary and method" in obstacles([document()], [other])[0]
    assert "work of an inference: A 12 output tokens, B 24" in obstacles([document()], [longer])[0]
    assert differences([document()], [document(model="other")]) == ['model: A "m", B "other"']


def put(folder: Path, *documents: dict[str, Any]) -> Path:
    for number, made in enumerate(documents):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "run.json").write_text(json.dumps(made))
    return folder


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Table, JSON, CSV and page of the same comparison; 0 as asked, 4 by the gate, 3 with an INVALID run."""
    a, b = put(tmp_path / "a", document(), document(1.001)), put(tmp_path / "b", document(1.5), document(1.501))
    assert main(["compare", str(a), str(b)]) == 0
    shown = capsys.readouterr().out
    assert "+50.0%" in shown
    assert "Welch's t over 2 and 2 repeats" in shown
    assert main(["compare", str(a), str(b), "--fail-if", "active>+5%", "--format", "json"]) == 4
    (task,) = json.loads(capsys.readouterr().out)["tasks"]
    assert task["changes"]["active"]["differs"] is True
    assert task["failed"][0].startswith("active>+5%: active differs by +50.0%")
    assert main(["compare", str(a), str(b), "--format", "csv"]) == 0
    assert "summarization,gross," in capsys.readouterr().out
    assert main(["compare", str(a), str(b), "--format", "html"]) == 0
    assert "+50.0%" in capsys.readouterr().out
    c = put(tmp_path / "c", document(verdict="invalid", reasons=["the window lasted 1.0 s, less than 10 s"]))
    assert main(["compare", str(a), str(c)]) == 3
    assert "B is INVALID: the window lasted 1.0 s" in capsys.readouterr().out


def test_the_command_refuses_what_is_not_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the difference, and compares it all the same when told to, saying so."""
    longer = document()
    longer["joules_per_unit"]["units"] *= 2
    a, b = put(tmp_path / "a", document()), put(tmp_path / "b", longer)
    assert main(["compare", str(a), str(b)]) == 2
    assert "not the same work (work of an inference" in capsys.readouterr().err
    assert main(["compare", str(a), str(b), "--anyway"]) == 0
    assert "NOT LIKE WITH LIKE" in capsys.readouterr().out


def test_tasks_that_only_one_side_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in common is an error that names what there is."""
    a, b = put(tmp_path / "a", document()), put(tmp_path / "b", run("fill-mask"))
    assert main(["compare", str(a), str(b)]) == 2
    assert "A has summarization, B has fill-mask" in capsys.readouterr().err

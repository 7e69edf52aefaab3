"""Annotations in Grafana, against a server that records what it is sent and refuses when told to."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from perjoule.errors import UsageError
from perjoule_grafana.frame import RUN_TAGS
from perjoule_loadgen.annotate import TAGS, annotation
from perjoule_loadgen.tokens import grafana_token
from tests.loadgen.conftest import Bench
from tests.loadgen.stubs import Site
from tests.loadgen.test_report import run


class Grafana:
    """Records the requests of ``POST /api/annotations``."""

    def __init__(self) -> None:
        self.requests: list[tuple[str | None, dict[str, Any]]] = []
        self.status = 200

    async def annotations(self, request: web.Request) -> web.Response:
        self.requests.append((request.headers.get("authorization"), await request.json()))
        return web.json_response({"message": "Annotation added", "id": 1}, status=self.status)


@pytest.fixture
def grafana() -> Iterator[tuple[Grafana, str]]:
    made = Grafana()
    app = web.Application()
    app.router.add_post("/grafana/api/annotations", made.annotations)
    site = Site(app)
    yield made, f"{site.url}/grafana"
    site.close()


def test_a_run_is_annotated(bench: Bench, grafana: tuple[Grafana, str], tmp_path: Path) -> None:
    """Its window in milliseconds, its tags, its figure and verdict, with the token from the file; one for each task."""
    server, url = grafana
    (tmp_path / "token").write_text("glsa_secret\n")
    flags = ["--grafana", url, "--grafana-token-file", str(tmp_path / "token")]
    assert bench.loadgen("--task", "all", "--duration", "0.6s", *flags) == 0
    assert len(server.requests) == 2
    made = json.loads((bench.folder / "out" / "summarization" / "run.json").read_text())
    authorization, body = server.requests[1]
    assert authorization == "Bearer glsa_secret"
    assert body["time"] == round(made["window"]["start"] * 1000)
    assert body["timeEnd"] == round(made["window"]["end"] * 1000)
    assert body["tags"] == ["perjoule", "load-test", "task:summarization", "verdict:valid"]
    assert body["text"].startswith("summarization by tiny/summarization: ")
    assert body["text"].endswith(" VALID")
    assert "glsa_secret" not in json.dumps(made)


@pytest.mark.parametrize(("status", "says"), [(403, "answered 403"), (500, "answered 500"), (302, "answered 302")])
def test_a_refusal_costs_the_run_nothing(
    bench: Bench, grafana: tuple[Grafana, str], capsys: pytest.CaptureFixture[str], status: int, says: str
) -> None:
    """One line that says what to do, and exit code, table and files as without."""
    server, url = grafana
    server.status = status
    code, run_ = bench.run("--grafana", url)
    assert (code, run_["verdict"]) == (0, "valid")
    err = capsys.readouterr().err
    assert says in err
    assert ("GRAFANA_TOKEN" in err) == (status == 403)


def test_a_grafana_that_is_not_there(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Likewise."""
    code, _ = bench.run("--grafana", "http://127.0.0.1:9")
    assert code == 0
    assert "no annotation in Grafana: http://127.0.0.1:9/api/annotations does not answer" in capsys.readouterr().err


def test_the_dashboards_look_for_these_tags() -> None:
    """Components do not import each other, so a test holds the two together."""
    assert TAGS == RUN_TAGS


def test_where_the_token_comes_from(tmp_path: Path) -> None:
    """The file, else the variable, else none; a file that holds none is an error and never sent."""
    (tmp_path / "token").write_text("  glsa_x \n")
    assert grafana_token(tmp_path / "token", {"GRAFANA_TOKEN": "other"}) == "glsa_x"
    assert grafana_token(None, {"GRAFANA_TOKEN": "other"}) == "other"
    assert grafana_token(None, {}) is None
    for content in ("", "two words"):
        (tmp_path / "token").write_text(content)
        with pytest.raises(UsageError, match="write one token into it"):
            grafana_token(tmp_path / "token", {})
    with pytest.raises(UsageError, match="No such file"):
        grafana_token(tmp_path / "gone", {})


def test_what_is_told_of_a_run() -> None:
    """A simulated or invalid run says so; a model's name is no HTML; a run without a window is not told at all."""
    told = annotation(run("summarization") | {"simulated": True, "verdict": "invalid", "reasons": ["too short"]})
    assert told is not None
    assert told["text"].startswith("SIMULATED. summarization by m: 20.0 J/inference gross")
    assert told["text"].endswith("INVALID: too short")
    odd = annotation(run("summarization") | {"model": "<img src=x>"})
    assert odd is not None
    assert "&lt;img src=x&gt;" in odd["text"]
    assert annotation(run("summarization") | {"window": {"start": None, "end": None}}) is None


def test_a_token_without_a_grafana(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Is a mistake, told before anything is sent."""
    assert bench.loadgen("--task", "summarization", "--grafana-token-file", "x") == 2
    assert "--grafana-token-file needs --grafana" in capsys.readouterr().err
    assert bench.server.served == 0

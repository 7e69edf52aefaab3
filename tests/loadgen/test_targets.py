"""``loadgen`` against servers of other kinds: stubs with known times, and our own OpenAI routes for real."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.loadgen.conftest import Bench
from tests.loadgen.other_servers import FIRST, GAP, Vllm, tei_app, vllm_app
from tests.loadgen.stubs import Site

Run = dict[str, Any]
SHORTLY = ("--warmup", "0", "--idle", "0")


@pytest.fixture
def vllm(bench: Bench) -> Iterator[tuple[Vllm, Site]]:
    """A server as vLLM is, on the board of the bench."""
    server = Vllm(bench.exporter.power)
    site = Site(vllm_app(server))
    yield server, site
    site.close()


def asked(
    bench: Bench, url: str, *arguments: str, task: str = "text-generation", time_: str = "0.6s"
) -> tuple[int, Run]:
    """Measure against ``url``; return exit code and ``run.json``."""
    return bench.run("--task", task, "--target", url, "--duration", time_, *SHORTLY, *arguments)


def reason(run: Run) -> str:
    assert len(run["reasons"]) == 1, run["reasons"]
    return str(run["reasons"][0])


def test_a_chat_as_it_is_written(bench: Bench, vllm: tuple[Vllm, Site]) -> None:
    """The first token and the time between tokens are the server's; its usage tells the tokens."""
    server, site = vllm
    code, run = asked(bench, f"{site.url}/v1", "--api", "openai-chat", "--stream", "--output-tokens", "5", time_="2s")
    assert (code, run["model"], run["lengths"]) == (0, "llama", "checked")
    first, between = run["time_to_first_token_seconds"], run["inter_token_seconds"]
    assert FIRST <= first["p50"] < FIRST + 0.05
    assert GAP * 0.5 <= between["p50"] < GAP + 0.03
    assert between["p90"] is not None
    assert run["latency_seconds"]["p50"] >= FIRST + 4 * GAP
    assert run["output_tokens_per_second"] == pytest.approx(5 * run["throughput_per_second"])
    assert run["work"]["name"] == "text-generation, 5 tokens"
    path, token, body = server.seen[0]
    assert (path, token, body["model"], body["min_tokens"]) == ("/v1/chat/completions", None, "llama", 5)


@pytest.mark.parametrize(
    ("api", "task", "flags"),
    [("openai-completions", "text-generation", ()), ("openai-completions", "summarization", ("--output-tokens", "4")),
     ("openai-embeddings", "feature-extraction", ()), ("openai-images", "text-to-image", ("--image-size", "64x32"))],
)  # fmt: skip
def test_every_route(bench: Bench, vllm: tuple[Vllm, Site], api: str, task: str, flags: tuple[str, ...]) -> None:
    """Each is asked for its work, and the answers are held to it."""
    code, run = asked(bench, vllm[1].url, "--api", api, "--model", "lora", *flags, task=task)
    assert (code, run["model"], run["lengths"], run["reasons"]) == (0, "lora", "checked", [])
    assert run["requests"]["ok"] == run["requests"]["sent"] > 5
    assert {body["model"] for _, _, body in vllm[0].seen} == {"lora"}


@pytest.mark.parametrize("broken", ["cut", "error", "silent"])
def test_a_stream_that_ends_early_is_truncated(bench: Bench, vllm: tuple[Vllm, Site], broken: str) -> None:
    """A connection that goes, an error within the stream, and an end that never comes are no answers."""
    vllm[0].broken = broken
    code, run = asked(bench, vllm[1].url, "--api", "openai-completions", "--stream")
    assert (code, run["requests"]["ok"]) == (3, 0)
    assert run["requests"]["failed"]["truncated"] == run["requests"]["sent"]
    assert run["inter_token_seconds"] is None


def test_shorter_answers_are_other_work(bench: Bench, vllm: tuple[Vllm, Site]) -> None:
    """A server that ignores the length is found out by its own usage."""
    vllm[0].short = 3
    code, run = asked(bench, vllm[1].url, "--api", "openai-completions")
    assert (code, "7 output tokens instead of 10 to 10" in reason(run)) == (3, True)


def test_the_server_s_metrics_tell_tokens(bench: Bench, vllm: tuple[Vllm, Site]) -> None:
    """Without a usage vLLM's counters do, and single lengths stay unknown; with others' requests nothing does."""
    vllm[0].usage = False
    code, run = asked(bench, vllm[1].url, "--api", "openai-completions")
    assert (code, run["lengths"]) == (0, "unknown")
    gross = run["joules_per_inference"]["gross"]["value"]
    assert run["joules_per_unit"]["value"] == pytest.approx(gross / 10)
    vllm[0].others = 1
    _, run = asked(bench, vllm[1].url, "--api", "openai-completions")
    assert run["joules_per_unit"]["value"] is None


def test_a_token_is_for_the_target_alone(
    bench: Bench, vllm: tuple[Vllm, Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent with every request, is in no file of the run, and no proxy of the environment sees any of it."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    (tmp_path / "token").write_text("sesame-7\n")
    code, _ = asked(bench, vllm[1].url, "--api", "openai-completions", "--token-file", str(tmp_path / "token"))
    assert code == 0
    assert {token for _, token, _ in vllm[0].seen} == {"Bearer sesame-7"}
    written = "".join(path.read_text() for path in (bench.folder / "out").rglob("*") if path.is_file())
    assert "sesame" not in written


def test_redirects_are_not_followed(bench: Bench, vllm: tuple[Vllm, Site]) -> None:
    """An answer that sends elsewhere is no answer: nobody but the target gets a request."""

    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(f"{vllm[1].url}/v1/completions")

    app = web.Application()
    app.router.add_post("/v1/completions", elsewhere)
    site = Site(app)
    code, run = asked(bench, site.url, "--api", "openai-completions", "--model", "m")
    site.close()
    assert (code, run["requests"]["ok"], vllm[0].seen) == (3, 0, [])
    assert run["requests"]["failed"]["wrong_shape"] > 0


def test_text_embeddings_inference(bench: Bench) -> None:
    """Its model is told by ``/info``, its tokens by a header."""
    site = Site(tei_app(bench.exporter.power))
    code, run = asked(bench, site.url, "--api", "tei", task="feature-extraction")
    site.close()
    assert (code, run["model"]) == (0, "BAAI/bge-small-en-v1.5")
    assert run["work"]["input_tokens_per_inference"] == 9


def test_a_route_by_template(bench: Bench, vllm: tuple[Vllm, Site], tmp_path: Path) -> None:
    """A file describes where to ask and where the answer is."""
    (tmp_path / "r.toml").write_text(
        'path = "/v1/completions"\nmodel = "described"\n[body]\nprompt = "{inputs}"\nmax_tokens = "{max_new_tokens}"\n'
        '[answer]\nresult = "choices.0.text"\noutput_tokens = "usage.completion_tokens"\n'
    )
    code, run = asked(bench, vllm[1].url, "--template", str(tmp_path / "r.toml"))
    assert (code, run["model"], run["lengths"]) == (0, "described", "checked")
    assert set(vllm[0].seen[0][2]) == {"prompt", "max_tokens"}
    (tmp_path / "r.toml").write_text('path = "/v1/completions"\n[body]\nprompt = "{text}"\n')
    assert bench.loadgen("--task", "fill-mask", "--target", vllm[1].url, "--template", str(tmp_path / "r.toml")) == 2


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--api", "openai-chat"], "lists no models (status 404): name one with --model"),
        (["--api", "tei", "--task", "feature-extraction"], "no text-embeddings-inference at"),
    ],
)
def test_a_server_of_another_kind(
    bench: Bench, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is found before anything is sent, with what to do."""
    assert bench.loadgen("--task", "text-generation", *flags) == 2
    assert says in capsys.readouterr().err
    assert bench.server.served == 0


def test_a_model_that_is_not_listed(bench: Bench, vllm: tuple[Vllm, Site], capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused with those that are."""
    assert (
        bench.loadgen("--task", "summarization", "--target", vllm[1].url, "--api", "openai-chat", "--model", "x") == 2
    )
    assert "does not serve summarization with x; it has llama, lora" in capsys.readouterr().err


def test_made_up_texts_need_a_server_that_counts(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """One that does not tell the tokens that it read cannot be asked for a length: it is said, and nothing measured."""
    assert bench.loadgen("--task", "summarization", "--input-tokens", "30") == 1
    assert "the server does not tell how many tokens it read; use --inputs" in capsys.readouterr().err
    assert bench.server.served == 1


# --- Our own server, for real


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``inference-server`` with tiny models of three tasks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    tasks = "text-generation,feature-extraction,text-to-image"
    command = [sys.executable, "-m", "perjoule_server", "--models", "tiny", "--port", str(port), "--tasks", tasks,
               "--span.socket", str(folder / "none.sock")]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=_paths())
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + 100
    while not _ready(url):
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < until
        time.sleep(0.2)
    yield url
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    finally:
        process.kill()
        process.wait()


def _paths() -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": f"{root}:{root / 'server'}", "OMP_NUM_THREADS": "1"}


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("api", "task", "flags"),
    [
        ("perjoule", "text-generation", ("--stream", "--output-tokens", "6")),
        ("openai-completions", "text-generation", ()),
        ("openai-completions", "text-generation", ("--stream", "--output-tokens", "8")),
        ("openai-chat", "text-generation", ("--stream",)),
        ("perjoule", "text-generation", ("--input-tokens", "40", "--output-tokens", "3")),
        ("openai-embeddings", "feature-extraction", ()),
        ("openai-images", "text-to-image", ("--image-size", "64x64", "--steps", "2")),
        ("perjoule", "text-to-image", ("--image-size", "64x64", "--steps", "2")),
    ],
)
def test_our_own_routes(bench: Bench, real_server: str, api: str, task: str, flags: tuple[str, ...]) -> None:
    """All of them answer with the work that was asked for, whole and in the shape that their clients expect."""
    code, run = asked(bench, real_server, "--api", api, *flags, "--device", "GPU-a", task=task, time_="1.5s")
    # The board is a stub that this server does not load: only the energy may be doubted.
    assert code in {0, 3}
    assert run["requests"]["ok"] == run["requests"]["sent"] > 2
    assert run["lengths"] == ("unknown" if "--steps" in flags else "checked")
    assert not any("not the work" in one for one in run["reasons"])
    assert (run["time_to_first_token_seconds"] is not None) == ("--stream" in flags)
    if "--input-tokens" in flags:
        assert run["work"]["name"] == "text-generation, 40 input tokens, 3 tokens"
        assert run["work"]["input_tokens_per_inference"] == pytest.approx(40, abs=1)

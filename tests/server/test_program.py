"""The program as a user starts it: flags, exit codes, signals."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perjoule.workloads import WORKLOADS
from perjoule_server.__main__ import main
from perjoule_server.config import ServerConfig, from_arguments
from perjoule_server.program import listen
from tests.server.fakes import Call, Running, eventually

PROGRAM = Path(sys.executable).with_name("inference-server")


class Program:
    """The real program in a process of its own, on a free port that its first line tells."""

    def __init__(self, *flags: str) -> None:
        self.process = subprocess.Popen(
            [PROGRAM, "--port", "0", *flags],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stderr is not None
        self.first_line = self.process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.first_line)
        assert found, self.first_line
        self.server = Running(None, int(found[1]))  # type: ignore[arg-type]  # only its HTTP side is used

    def ended(self) -> tuple[int, str]:
        """Return exit code and the rest of stderr."""
        _, log = self.process.communicate(timeout=60)
        return self.process.returncode, log


@contextmanager
def started(*flags: str) -> Iterator[Program]:
    program = Program(*flags)
    try:
        eventually(lambda: program.server.ready or program.process.poll() is not None)
        yield program
    finally:
        program.process.kill()
        program.process.communicate()


def test_defaults_are_the_documented_ones() -> None:
    """The contract's defaults, and every workload."""
    config = from_arguments([])
    assert (config.models, config.host, config.port, config.device) == ("tiny", "127.0.0.1", 8080, "auto")
    assert config.tasks == tuple(WORKLOADS)
    assert config.torch_threads == 1


def test_flags_reach_the_config() -> None:
    """Each flag sets its field; tasks are taken once each, in the order given."""
    flags = (
        "--tasks fill-mask,summarization,fill-mask --port 0 --device cuda:1 --energy-device GPU-simulated-0 --queue 3"
        " --span.socket /tmp/s.sock --energy-history 7"
    )
    assert from_arguments(flags.split()) == ServerConfig(
        tasks=("fill-mask", "summarization"), port=0, device="cuda:1", energy_device="GPU-simulated-0", queue=3,
        span_socket="/tmp/s.sock", energy_history=7,  # noqa: S108 (is never opened)
        workers=from_arguments([]).workers,
    )  # fmt: skip


@pytest.mark.parametrize(
    "flags",
    [
        "--port 70000", "--port x", "--device gpu", "--device cuda:", "--queue 0", "--timeout nan", "--timeout -1",
        "--tasks ,", "--energy-device=", "--torch-threads 0", "--unheard-of", "--log.level loud", "extra",
        "--span.socket=", "--energy-history -1",
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_a_usage_error(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and a line that names the flag."""
    with pytest.raises(SystemExit) as ended:
        main(flags.split())
    assert ended.value.code == 2
    assert "inference-server: error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ("--tasks summarisation", 2, ["'summarisation'", "did you mean summarization"]),
        ("--tasks translation-of-poems", 2, ["'translation-of-poems'", *WORKLOADS]),
        ("--models enormous", 2, ["enormous"]),
        ("--models no/such/file.toml", 2, ["file.toml"]),
        ("--device cuda:99 --port 0", 2, ["cuda:99"]),
        ("--host 203.0.113.1", 1, ["203.0.113.1", "--port"]),
    ],
)
def test_failures_at_start_are_one_line(
    flags: str, code: int, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code says whose mistake it is, the line what to change."""
    assert main(flags.split()) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert [word for word in words if word not in lines[0]] == []


def test_a_port_in_use_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    """Before a model is loaded, with a sentence."""
    with listen("127.0.0.1", 0) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 1
    assert re.fullmatch(r"inference-server: cannot listen on 127\.0\.0\.1:\d+: .*\n", capsys.readouterr().err)


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_needs_no_extra(flag: str) -> None:
    """Help and version answer without the server's dependencies; running without them names the pip line."""
    block = "import sys\nfor name in ('torch', 'uvicorn', 'fastapi', 'transformers'): sys.modules[name] = None\n"
    run = block + "from perjoule_server.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    told = subprocess.run([sys.executable, "-c", run, flag], capture_output=True, text=True, check=False, timeout=30)
    assert (told.returncode, told.stderr) == (0, "")
    assert "inference-server" in told.stdout
    missing = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False, timeout=30)
    assert missing.returncode == 2
    assert "pip install 'perjoule[server]'" in missing.stderr


def test_sigterm_loses_no_accepted_request() -> None:
    """With requests on the device and in the queue: all are answered, the log says so, and the exit code is 0."""
    with started("--tasks", "text-to-image", "--energy-device", "GPU-simulated-0") as program:
        server = program.server
        assert program.first_line.rstrip().endswith("1 models on cpu (GPU-simulated-0)")
        assert server.metric("inference_model_info", device="GPU-simulated-0") == 1
        body = json.dumps({"inputs": "a house", "parameters": {"num_inference_steps": 20}}).encode()
        calls = [Call(lambda: server.post("text-to-image", body)) for _ in range(12)]
        eventually(lambda: server.metric("inference_in_flight") == len(calls))
        program.process.send_signal(signal.SIGTERM)
        assert [call.reply().status for call in calls] == [200] * len(calls)
        code, log = program.ended()
    assert code == 0
    assert "text-to-image: tiny/text-to-image ready in" in log
    assert "SIGTERM: draining 12 requests" in log
    assert "Traceback" not in log


def test_ctrl_c_ends_quietly() -> None:
    """SIGINT drains as SIGTERM does, even while models still load."""
    program = Program("--tasks", "text-classification")
    try:
        program.process.send_signal(signal.SIGINT)
        code, log = program.ended()
    finally:
        program.process.kill()
        program.process.communicate()
    assert (code, "Traceback" in log) == (0, False), log


def test_health_answers_at_once_under_load() -> None:
    """While the device computes image after image, liveness answers within a tenth of a second at the median."""
    with started("--tasks", "text-to-image") as program:
        server = program.server
        body = json.dumps({"inputs": "a house", "parameters": {"num_inference_steps": 20}}).encode()
        calls = [Call(lambda: server.post("text-to-image", body)) for _ in range(8)]
        eventually(lambda: server.metric("inference_in_flight") > 0)
        seconds = []
        for _ in range(15):
            begin = os.times().elapsed
            assert server.get("/healthz").status == 200
            seconds.append(os.times().elapsed - begin)
        assert sorted(seconds)[7] < 0.1
        assert {call.reply().status for call in calls} == {200}

"""``make demo``: the whole loop on this machine, from joules to the table of energy and CO2e per inference.

Starts the exporter, the server with its tiny models and, where a ``prometheus`` binary is found, Prometheus, each as
the program a user would start; runs loadgen over all 15 workloads; ends what it started, by its own process id. It
measures nothing itself and knows the programs only by their flags.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
DEFAULT_PORTS = {"exporter": 10101, "server": 8080, "prometheus": 9090}
START_SECONDS = 180.0
STOP_SECONDS = 10.0
INVALID = 3  # loadgen's exit code for a run that it measured and does not vouch for: the table says why
ZONE = "FRA"


class DemoError(Exception):
    """The demo cannot go on; the message is for the person who called it."""


@dataclass(frozen=True, slots=True)
class Program:
    """A started program: its name, process and log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


def say(text: str) -> None:
    """Print one line of progress."""
    print(text, file=sys.stderr, flush=True)


def free_port(name: str, taken: set[int]) -> int:
    """Return the program's usual port, or another one when that is taken, and say so."""
    usual = DEFAULT_PORTS[name]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", usual))
        except OSError:
            with socket.socket() as other:
                other.bind(("127.0.0.1", 0))
                port = int(other.getsockname()[1])
            if port in taken:
                return free_port(name, taken)
            say(f"port {usual} is taken: {name} listens on {port}")
            return port
    return usual


def start(name: str, command: Sequence[str | Path], folder: Path) -> Program:
    """Start a program in its own process group, its output going to a log file in ``folder``."""
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 (our own programs, an argument list, no shell)
            [str(part) for part in command], stdout=out, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT
        )
    return Program(name, process, log)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: SIGTERM, and SIGKILL if it does not go within ten seconds."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_ready(program: Program, url: str) -> None:
    """Wait until ``url`` answers 200.

    Raises:
        DemoError: the program ended, or did not answer in time; the message holds the end of its log.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if program.process.poll() is not None:
            raise DemoError(f"{program.name} ended with exit code {program.process.returncode}:\n{tail(program.log)}")
        if answers(url):
            return
        time.sleep(0.2)
    raise DemoError(f"{program.name} did not answer at {url} within {START_SECONDS:.0f} s:\n{tail(program.log)}")


def answers(url: str) -> bool:
    """Tell whether ``url`` answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310 (a loopback URL that was made here)
            return bool(reply.status == HTTPStatus.OK)
    except OSError:  # refused, reset, timed out, or answered with an error status
        return False


def read(url: str) -> str:
    """Return the text behind a loopback URL."""
    with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310 (a loopback URL that was made here)
        return str(reply.read().decode())


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log."""
    return "\n".join("  " + line for line in log.read_text(errors="replace").splitlines()[-lines:])


def prometheus_config(folder: Path, ports: Mapping[str, int]) -> Path:
    """Write prometheus.yml with the ports in use and absolute rule paths; return its path."""
    text = (ROOT / "prometheus.yml").read_text()
    for name, usual in DEFAULT_PORTS.items():
        text = text.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{ports[name]}")
    text = text.replace("prometheus/rules/", f"{ROOT}/prometheus/rules/")
    path = folder / "prometheus.yml"
    path.write_text(text)
    return path


def start_prometheus(folder: Path, config: Path, port: int) -> Program:
    """Start Prometheus on ``port`` with its data in ``folder``."""
    binary = shutil.which("prometheus")
    assert binary is not None  # noqa: S101 (the caller looked)
    return start(
        "prometheus",
        [binary, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"],
        folder,
    )  # fmt: skip


@contextlib.contextmanager
def programs() -> Iterator[list[Program]]:
    """Give a list to put started programs in; all of them are ended on the way out, the last started first."""
    started: list[Program] = []
    try:
        yield started
    finally:
        for program in reversed(started):
            stop(program.process)


def start_exporter(meter: str, port: int, folder: Path, started: list[Program]) -> Program:
    """Start the exporter on ``port`` and wait until it is healthy."""
    command: list[str | Path] = [BIN / "gpu-energy-exporter", "--meter", meter, "--carbon.zone", ZONE]
    own = ["--web.listen-address", f"127.0.0.1:{port}", *span_socket(folder)]
    exporter = start("exporter", [*command, *own], folder)
    started.append(exporter)
    wait_ready(exporter, f"http://127.0.0.1:{port}/healthz")
    say(f"exporter   http://127.0.0.1:{port}/metrics   (--meter {meter} --carbon.zone {ZONE})")
    return exporter


def span_socket(folder: Path) -> list[str]:
    """Return the flag by which exporter and server find each other, and nobody else: the usual socket may be taken."""
    return ["--span.socket", str(folder / "spans.sock")]


def is_measured(target: str, energy: str) -> bool:
    """Tell whether the exporter shows the energy of the device that the server runs on."""
    served = re.search(r'inference_model_info\{[^}]*device="([^"]+)"', read(f"{target}/metrics"))
    device = served.group(1) if served else ""
    label = f'package="{device.removeprefix("cpu-")}"' if device.startswith("cpu-") else f'uuid="{device}"'
    return re.search(rf"_energy_joules_total\{{[^}}]*{re.escape(label)}", read(energy)) is not None


def start_all(meter: str, folder: Path, started: list[Program]) -> tuple[str, str, str | None]:
    """Start exporter, server and Prometheus; return their URLs (None without Prometheus)."""
    ports: dict[str, int] = {}
    for name in DEFAULT_PORTS:
        ports[name] = free_port(name, set(ports.values()))
    energy, target = f"http://127.0.0.1:{ports['exporter']}/metrics", f"http://127.0.0.1:{ports['server']}"
    exporter = start_exporter(meter, ports["exporter"], folder, started)
    device = ["--energy-device", "GPU-simulated-0"] if meter == "simulated" else []
    server: list[str | Path] = [BIN / "inference-server", "--models", "tiny", "--port", str(ports["server"]), *device]
    started.append(start("server", [*server, *span_socket(folder)], folder))
    say(f"server     {target}   (--models tiny: built on first use, random weights)")
    wait_ready(started[-1], f"{target}/readyz")
    if meter == "auto" and not is_measured(target, energy):
        say("the server does not run on the GPU that is there (torch without CUDA): its CPU is estimated instead")
        stop(exporter.process)
        start_exporter("estimate", ports["exporter"], folder, started)
    if shutil.which("prometheus") is None:
        say("prometheus not found: the PromQL column is left out (Debian: apt-get install prometheus)")
        return energy, target, None
    prometheus = f"http://127.0.0.1:{ports['prometheus']}"
    config = prometheus_config(folder, ports)
    started.append(start_prometheus(folder, config, ports["prometheus"]))
    wait_ready(started[-1], f"{prometheus}/-/ready")
    say(f"prometheus {prometheus}")
    return energy, target, prometheus


def run_loadgen(energy: str, target: str, prometheus: str | None, output: Path, options: argparse.Namespace) -> int:
    """Run loadgen over the tasks with the demo's short windows; return its exit code."""
    command: list[str | Path] = [
        BIN / "loadgen", "--task", options.task, "--target", target, "--energy", energy, "--duration", options.duration,
        "--warmup", "2s", "--idle", "10s", "--output", output,
    ]  # fmt: skip
    if prometheus is not None:
        command += ["--prometheus", prometheus]
    process = subprocess.Popen([str(part) for part in command], cwd=ROOT)  # noqa: S603 (as above)
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # loadgen got the same signal: it prints what it has, then ends
                continue
    finally:
        stop(process)  # still there after SIGTERM, which came to us alone


def terminated(_signal: int, _frame: object) -> None:
    """Turn SIGTERM into an orderly exit, so that everything started is ended."""
    raise SystemExit(143)


def main() -> int:
    """Run the demo; 0 when the table was printed, else loadgen's exit code or 1."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--meter", default="auto", help="the exporter's meter: auto, nvml, estimate or simulated")
    parser.add_argument("--task", default="all", help="workloads, as loadgen takes them")
    parser.add_argument("--duration", default="10s", help="steady window of each workload")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, terminated)
    if options.meter == "simulated":
        say("=== SIMULATED GPU: no figure below is of real hardware ===")
    began = time.monotonic()
    output = ROOT / "runs" / time.strftime("demo-%Y%m%d-%H%M%S")
    with tempfile.TemporaryDirectory(prefix="perjoule-demo-") as folder, programs() as started:
        try:
            energy, target, prometheus = start_all(options.meter, Path(folder), started)
        except DemoError as error:
            say(f"demo: {error}")
            return 1
        code = run_loadgen(energy, target, prometheus, output, options)
    say(f"demo ended after {time.monotonic() - began:.0f} s; everything it started is stopped")
    return 0 if code in {0, INVALID} else code


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())

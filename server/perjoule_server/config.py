"""The server's settings: one frozen object, made from the command line and passed down.

Knows what a setting may be, not whether this machine can honour it (devices, model profiles and free ports are checked
where they are opened). Standard library only, so that ``--help`` works without the server's dependencies.
"""

import argparse
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perjoule import __version__
from perjoule.errors import UsageError
from perjoule.workloads import WORKLOADS, workload

EXAMPLES = """examples:
  inference-server                                          all 15 workloads with tiny random models, on 127.0.0.1:8080
  inference-server --tasks summarization,fill-mask          two workloads
  inference-server --device cpu --energy-device GPU-simulated-0

  curl http://127.0.0.1:8080/v1/tasks/text-classification -d '{"inputs": "I like it"}'
"""


_LONGEST_WAIT_MS = 10_000


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything that can be set.

    Attributes:
        models: name of a model profile, possibly with models of it (``study:gpt2``), or a file.
        tasks: workload ids to serve.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``.
        dtype: precision of the weights; ``auto`` for that in which they are stored.
        allow_bin: whether weights may be ``.bin`` files.
        energy_device: name of the device in spans and metrics; None derives it from ``device`` and the exporter.
        auth_tokens: file with the bearer tokens of those who may ask; None lets everyone.
        auth_metrics: whether ``/metrics`` wants a token too.
        span_socket: where the exporter listens for spans; None for its usual places.
        energy_history: requests whose energy can be asked for afterwards.
        torch_threads: threads of one operation on a CPU.
        queue: most requests that may wait for one model.
        token_budget: most tokens of a batch, padding included.
        max_wait_seconds: how long a request may wait for company while the device is free.
        compile: whether models that read a text in one pass are compiled.
        load: ``eager`` or ``lazy``: whether models are loaded at the start, or when they are asked for.
        memory_budget: bytes that the weights of all loaded models may take; None for no limit.
        workers: threads that tokenise and decode media, and as many that shape replies.
        body_bytes: largest body.
        timeout_seconds: deadline of a request that names none.
        drain_seconds: longest wait for accepted requests after SIGTERM.
        log_level: level of the log on stderr.
    """

    models: str = "tiny"
    tasks: tuple[str, ...] = tuple(WORKLOADS)
    host: str = "127.0.0.1"
    port: int = 8080
    device: str = "auto"
    dtype: str = "float32"
    allow_bin: bool = False
    energy_device: str | None = None
    auth_tokens: str | None = None
    auth_metrics: bool = False
    span_socket: str | None = None
    energy_history: int = 10_000
    torch_threads: int = 1
    queue: int = 256
    token_budget: int = 16_384
    max_wait_seconds: float = 0.0
    compile: bool = False
    load: str = "eager"
    memory_budget: int | None = None
    workers: int = 2
    body_bytes: int = 32 * 2**20
    timeout_seconds: float = 300.0
    drain_seconds: float = 30.0
    log_level: str = "info"


def _tasks(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise argparse.ArgumentTypeError("names no task")
    return tuple(workload(name).id for name in names)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    number.__name__ = "whole number"  # argparse names it in its message
    return number


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def _milliseconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= _LONGEST_WAIT_MS:
        raise argparse.ArgumentTypeError(f"{text} is no number of milliseconds from 0 to {_LONGEST_WAIT_MS}")
    return value / 1000


def _bytes(text: str) -> int:
    """Return bytes: a whole number, with K, M, G, T (thousands) or Ki, Mi, Gi, Ti behind it if one likes."""
    found = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,6})?)([KMGT]?)(i?)B?", text)
    value = 0
    if found and (found[2] or not found[3]):
        base = 1024 if found[3] else 1000
        value = int(float(found[1]) * base ** " KMGT".index(found[2] or " "))
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write bytes, or 800M, 16G, 24GiB")
    return value


def _device(text: str) -> str:
    kind, _, index = text.partition(":")
    if text in {"auto", "cpu", "cuda"} or (kind == "cuda" and index.isdecimal()):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is none of auto, cpu, cuda, cuda:<n>")


def _label(text: str) -> str:
    if not text or len(text) > 128 or not text.isprintable():  # noqa: PLR2004 (far longer than any device's name)
        raise argparse.ArgumentTypeError(f"{text!r} is no device name")
    return text


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no path")
    return text


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser; defaults are those of ``ServerConfig``."""
    made = argparse.ArgumentParser(
        "inference-server",
        description="Serves every AI task of the study, batched on one device, with metrics for energy per inference.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"inference-server {__version__}")
    _add_serving(made)
    _add_limits(made)
    _add_times(made)
    _add_auth(made)
    _add_life(made)
    return made


def _add_models(made: argparse.ArgumentParser) -> None:
    default = ServerConfig()
    add = made.add_argument
    add(
        "--models",
        default=default.models,
        metavar="NAME[:MODEL,…]|FILE",
        help="tiny, packaged, study or architecture, with some of its models; or a .toml (default: %(default)s)",
    )
    add(
        "--dtype",
        choices=("auto", "float32", "float16", "bfloat16"),
        default=default.dtype,
        help="precision of the weights; auto: as they are stored (default: %(default)s, which the study used)",
    )
    add("--allow-bin", action="store_true", help="also read weights that are .bin, with PyTorch's restricted unpickler")


def _add_serving(made: argparse.ArgumentParser) -> None:
    default = ServerConfig()
    add = made.add_argument
    _add_models(made)
    add("--tasks", type=_tasks, default=default.tasks, metavar="A,B", help="workloads to serve (default: all)")
    add("--host", default=default.host, help="address to listen on (default: %(default)s)")
    add("--port", type=_whole(0, 65535), default=default.port, help="port, 0 for a free one (default: %(default)s)")
    add("--device", type=_device, default=default.device, metavar="auto|cpu|cuda:N", help="default: %(default)s")
    add(
        "--energy-device",
        type=_label,
        metavar="NAME",
        help="the device's name for the exporter (default: the GPU's uuid on CUDA, else what the exporter suggests)",
    )
    add(
        "--span.socket",
        dest="span_socket",
        type=_path,
        metavar="PATH",
        help="the exporter's socket (default: /run/perjoule/spans.sock, then the user's runtime directory)",
    )
    add(
        "--torch-threads",
        type=_whole(1, 1024),
        default=default.torch_threads,
        metavar="N",
        help="CPU threads of one operation (default: %(default)s; more than are free make small models much slower)",
    )
    levels = ("debug", "info", "warning", "error")
    add("--log.level", dest="log_level", choices=levels, default=default.log_level, help="default: %(default)s")


def _add_limits(made: argparse.ArgumentParser) -> None:
    default = ServerConfig()
    add = made.add_argument
    add(
        "--queue",
        type=_whole(1, 100_000),
        default=default.queue,
        metavar="N",
        help="requests that may wait for one model; more are answered 429 (default: %(default)s)",
    )
    add(
        "--token-budget",
        type=_whole(1, 10**9),
        default=default.token_budget,
        metavar="N",
        help="tokens of a batch, padding included (default: %(default)s)",
    )
    add(
        "--energy-history",
        type=_whole(0, 10_000_000),
        default=default.energy_history,
        metavar="N",
        help="requests whose energy can be asked for afterwards, about 2 kB each (default: %(default)s)",
    )
    add(
        "--workers",
        type=_whole(1, 256),
        default=min(8, os.cpu_count() or 1),
        metavar="N",
        help="threads that prepare requests (default: %(default)s)",
    )
    add(
        "--max-body",
        dest="body_bytes",
        type=_whole(1, 2**40),
        default=default.body_bytes,
        metavar="BYTES",
        help="largest body; larger ones are answered 413 (default: %(default)s)",
    )


def _add_times(made: argparse.ArgumentParser) -> None:
    default = ServerConfig()
    add = made.add_argument
    add(
        "--timeout",
        dest="timeout_seconds",
        type=_seconds,
        default=default.timeout_seconds,
        metavar="SECONDS",
        help="deadline of a request without x-timeout-ms (default: %(default)s)",
    )
    add(
        "--drain-timeout",
        dest="drain_seconds",
        type=_seconds,
        default=default.drain_seconds,
        metavar="SECONDS",
        help="longest wait for accepted requests after SIGTERM (default: %(default)s)",
    )


def _add_auth(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--auth.tokens",
        dest="auth_tokens",
        type=_path,
        metavar="FILE",
        help="who may ask: lines of TOKEN [plain|admin [NAME]], read again on SIGHUP (default: everyone)",
    )
    made.add_argument(
        "--auth.metrics", dest="auth_metrics", action="store_true", help="/metrics wants a token too (default: open)"
    )


def _add_life(made: argparse.ArgumentParser) -> None:
    default = ServerConfig()
    add = made.add_argument
    add(
        "--max-wait-ms",
        dest="max_wait_seconds",
        type=_milliseconds,
        default=default.max_wait_seconds,
        metavar="MS",
        help="how long a request may wait for company while the device is free (default: 0)",
    )
    add(
        "--compile",
        action="store_true",
        help="torch.compile models that read a text in one pass: faster on a GPU, minutes of loading for each model",
    )
    add(
        "--load",
        choices=("eager", "lazy"),
        default=default.load,
        help="load models at the start, or each when it is first asked for (default: %(default)s)",
    )
    add(
        "--memory-budget",
        type=_bytes,
        default=default.memory_budget,
        metavar="BYTES",
        help="memory that weights may take, as 16G; the model used longest ago makes room (default: no limit)",
    )


def from_arguments(argv: Sequence[str] | None = None) -> ServerConfig:
    """Parse a command line; argparse exits with 2 where a flag cannot be honoured.

    Raises:
        UnknownWorkloadError: ``--tasks`` names something else than a workload; the message lists them.
        UsageError: flags that need each other.
    """
    config = ServerConfig(**vars(parser().parse_args(argv)))
    if config.auth_metrics and config.auth_tokens is None:
        raise UsageError("--auth.metrics needs --auth.tokens FILE")
    return config

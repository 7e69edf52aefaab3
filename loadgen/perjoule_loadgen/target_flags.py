"""The flags that say what is asked, of whom, and how much work it is; and what they come to in the configuration."""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perjoule.errors import UsageError
from perjoule.workloads import WORKLOADS
from perjoule_loadgen import flag_values as values
from perjoule_loadgen.config import DEFAULT_TARGET
from perjoule_loadgen.dialect import Dialect
from perjoule_loadgen.dialects import DIALECTS
from perjoule_loadgen.ours import Ours
from perjoule_loadgen.studysets import study_set
from perjoule_loadgen.template import read_template
from perjoule_loadgen.tokens import read_token

_WRITE = frozenset({
    "text-generation", "summarization", "image-to-text", "zero-shot-question-answering", "zero-shot-summarization",
})  # fmt: skip
"""Tasks that write, so that a length can be asked for."""
_DRAW = frozenset({"text-to-image"})
_READ = frozenset({
    "text-generation", "summarization", "zero-shot-summarization", "feature-extraction", "text-classification",
    "token-classification",
})  # fmt: skip
"""Tasks of one text, which may be made up."""


def add_what(made: argparse.ArgumentParser) -> None:
    """Add the group of what is asked, of whom."""
    group = made.add_argument_group("what is asked, of whom")
    group.add_argument("--task", type=values.checked(values.tasks, "a task"), metavar="TASK[,TASK…]|all",
                       help="what to measure")  # fmt: skip
    group.add_argument("--target", "--url", type=values.checked(values.base_url, "a URL"), default=DEFAULT_TARGET,
                       metavar="URL", help="base URL of the server (default %(default)s)")  # fmt: skip
    group.add_argument("--api", choices=[*DIALECTS],
                       help="what the server speaks (default perjoule, that is inference-server)")  # fmt: skip
    group.add_argument("--template", type=Path, metavar="FILE.toml", help="any other JSON route, described in a file")
    group.add_argument("--stream", action="store_true",
                       help="have the text as it is written: time to first token and between tokens")  # fmt: skip
    group.add_argument("--model", metavar="ID", help="model to ask for (default: the server's own for the task)")
    group.add_argument("--token-file", type=Path, metavar="FILE",
                       help="a bearer token, sent to the target and to nobody else")  # fmt: skip
    group.add_argument("--extra-body", type=values.checked(_members, "a JSON object"), metavar="JSON",
                       help='members added to each body; null takes one out: {"ignore_eos": null}')  # fmt: skip
    group.add_argument("--timeout", type=values.checked(values.some_time, "a duration"), default=60.0, metavar="TIME",
                       help="after which a request has failed (default 60s)")  # fmt: skip
    group.add_argument("--seed", type=values.checked(int, "a whole number"), default=0, metavar="N",
                       help="of arrivals, of the order of inputs and of made-up ones (default 0)")  # fmt: skip


def add_work(made: argparse.ArgumentParser) -> None:
    """Add the group of what is sent, and how much work is asked for."""
    group = made.add_argument_group("inputs and work (asked for, and checked in the answers)")
    group.add_argument("--inputs", type=Path, metavar="FILE.jsonl", help="your own inputs instead of the built-in ones")
    group.add_argument("--dataset", metavar="NAME",
                       help="1,000 rows of a dataset of the study: squad, imdb, … (docs/inputs.md)")  # fmt: skip
    group.add_argument("--dataset-from", metavar="FOLDER",
                       help="read it from files of the same columns instead of the hub")  # fmt: skip
    group.add_argument("--input-tokens", type=values.checked(values.count, "a number"), metavar="N",
                       help="made-up texts of so many tokens, as the server counts them")  # fmt: skip
    group.add_argument("--output-tokens", type=values.checked(_lengths, "a length"), metavar="N|N-M",
                       help="tokens of each answer (default: the study's)")  # fmt: skip
    group.add_argument("--image-size", type=values.checked(_size, "a size"), metavar="WxH",
                       help="of text-to-image (default: the model's)")  # fmt: skip
    group.add_argument("--steps", type=values.checked(values.count, "a number"), metavar="N",
                       help="denoising steps of text-to-image (default: the model's)")  # fmt: skip


def _members(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"{text[:60]!r} is no JSON object")
    return value


def _lengths(text: str) -> Mapping[str, int]:
    match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", text)
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if most < 1 or least > most:
        raise UsageError(f"{text!r} is no length: write 128, or 10-15")
    return {"min_new_tokens": least, "max_new_tokens": most}


def _size(text: str) -> Mapping[str, int]:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if match is None:
        raise UsageError(f"{text!r} is no size: write 512x512")
    return {"width": int(match[1]), "height": int(match[2])}


def target_of(given: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the configuration that these flags fill.

    Raises:
        UsageError: flags that contradict each other, or a file that cannot be used.
    """
    dialect = _dialect(given)
    _check_task(given, dialect)
    token = None if given.token_file is None else read_token("--token-file", given.token_file)
    return {
        "tasks": given.task, "target": _base(given.target, dialect), "model": given.model, "inputs": given.inputs,
        "timeout": given.timeout, "seed": given.seed, "dialect": dialect, "stream": given.stream, "token": token,
        "extra": given.extra_body, "parameters": _parameters(given), "input_tokens": given.input_tokens,
        "dataset": given.dataset, "dataset_from": given.dataset_from,
    }  # fmt: skip


def _dialect(given: argparse.Namespace) -> Dialect:
    if given.template is None:
        return DIALECTS[given.api or Ours().name]
    if given.api is not None:
        raise UsageError("--api and --template each say what the server speaks: give one of them")
    return read_template(given.template)


def _base(url: str, dialect: Dialect) -> str:
    """Return the target without the ``/v1`` that other clients' base URLs of OpenAI's routes end in."""
    return url.removesuffix("/v1") if dialect.name.startswith("openai-") else url


def _check_task(given: argparse.Namespace, dialect: Dialect) -> None:
    """Refuse what the dialect cannot say."""
    if given.task is None:
        raise UsageError("nothing to measure: give --task (loadgen tasks lists them), or --task all")
    _check_inputs(given)
    tasks = given.task or (tuple(WORKLOADS) if isinstance(dialect, Ours) else ())
    for task in tasks:
        if task not in dialect.tasks:
            raise UsageError(f"--api {dialect.name} has no {task}; it has {', '.join(sorted(dialect.tasks))}")
        if given.stream and task not in dialect.streams:
            those = ", ".join(sorted(dialect.streams)) or "nothing"
            raise UsageError(f"--stream: {task} does not come as it is written; with {dialect.name} {those} does")
    _check_work(given, tasks)


def _check_inputs(given: argparse.Namespace) -> None:
    """Refuse inputs of two sources, and those of one task for several."""
    sources = [flag for flag in ("inputs", "dataset", "input_tokens") if getattr(given, flag) is not None]
    names = [f"--{flag.replace('_', '-')}" for flag in sources]
    if len(sources) > 1:
        raise UsageError(f"{' and '.join(names)} each say what is sent: give one of them")
    if given.dataset_from is not None and given.dataset is None:
        raise UsageError("--dataset-from needs --dataset")
    if sources and sources != ["input_tokens"] and len(given.task) != 1:
        raise UsageError(f"{names[0]} is of one task: name it with --task")
    if given.dataset is not None:
        study_set(given.task[0], given.dataset)


def _check_work(given: argparse.Namespace, tasks: tuple[str, ...]) -> None:
    asked = {"input_tokens": _READ, "output_tokens": _WRITE, "image_size": _DRAW, "steps": _DRAW}
    for flag, can in asked.items():
        cannot = [task for task in tasks if task not in can]
        if getattr(given, flag) is not None and (cannot or not tasks):
            name = f"--{flag.replace('_', '-')}"
            raise UsageError(
                f"{name} means nothing for {', '.join(cannot) or 'all'}: it is for {', '.join(sorted(can))}"
            )


def _parameters(given: argparse.Namespace) -> dict[str, int]:
    steps = {} if given.steps is None else {"num_inference_steps": given.steps}
    return {**(given.output_tokens or {}), **(given.image_size or {}), **steps}

"""Any JSON route, as a TOML file describes it: where to ask, the body with placeholders, and paths into the answer.

::

    path = "/generate"                        # after --target
    model = "my-model"                        # its name in the results; --model wins over it
    [headers]
    x-priority = "low"
    [body]                                    # becomes JSON; a text that is one placeholder keeps the value's type
    prompt = "Q: {inputs}"
    options = { length = "{max_new_tokens}" }
    [answer]
    result = "outputs.0.text"                 # must be there, or the answer is of the wrong shape
    output_tokens = "usage.completion_tokens" # these two may be left out
    input_tokens = "usage.prompt_tokens"

Placeholders: ``inputs`` (media as base64), ``question`` and ``context`` of a question, ``task``, ``model``,
``media_type``, and every parameter of the task or of the input. ``body = "raw"`` sends media as they are.
"""

import base64
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perjoule.errors import UsageError
from perjoule.workloads import WORKLOADS
from perjoule_loadgen.dialect import Answer, Ask, Piece, Prepared, asked_of, told_count
from perjoule_loadgen.inputs import Item
from perjoule_loadgen.media import image_size
from perjoule_loadgen.openai import body_of

_KEYS = frozenset({"path", "model", "headers", "body", "answer"})
_ANSWER_KEYS = frozenset({"result", "output_tokens", "input_tokens"})
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z_0-9]*)\}")
_RAW = "raw"


@dataclass(frozen=True, slots=True)
class Template:
    """A route of somebody's.

    Attributes:
        route: after the target's URL.
        model: its name in the results, None where the file says none.
        headers: sent along with each request.
        body: with placeholders; None for the input as it is.
        paths: of ``result``, ``output_tokens`` and ``input_tokens`` in the answer; no result: any 200 is an answer.
    """

    route: str
    model: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    body: Mapping[str, Any] | None = field(default=None, hash=False)
    paths: Mapping[str, str] = field(default_factory=dict, hash=False)
    name: str = "template"
    tasks: frozenset[str] = frozenset(WORKLOADS)
    streams: frozenset[str] = frozenset()

    def path(self, task: str) -> str:
        """See ``Dialect.path``."""
        return self.route.replace("{task}", task)

    def prepare(self, item: Item, ask: Ask) -> Prepared:
        """See ``Dialect.prepare``."""
        if self.body is None:
            return asked_of(item, ask, item.payload, item.media_type or "application/json")
        filled = _filled(self.body, _words(item, ask))
        unnamed = Ask(ask.task, ask.parameters, None, extra=ask.extra)
        return asked_of(item, ask, body_of(filled, unnamed), "application/json")

    def read(self, task: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """See ``Dialect.read``."""
        del task, headers
        if "result" not in self.paths:
            return Answer(size=image_size(body))
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return None
        if _at(value, self.paths["result"]) is None:
            return None
        written, read = (_at(value, self.paths.get(name, "")) for name in ("output_tokens", "input_tokens"))
        return Answer(told_count(written), told_count(read))

    def event(self, data: bytes) -> Piece:
        """See ``Dialect.event``: there are no streams."""
        return Piece(error=f"a stream that nobody asked for: {data[:40]!r}")


def _words(item: Item, ask: Ask) -> dict[str, Any]:
    inputs = json.loads(item.payload) if item.media_type is None else base64.b64encode(item.payload).decode()
    parts = inputs if isinstance(inputs, dict) else {}
    common = {"inputs": inputs, "task": ask.task, "model": ask.model, "media_type": item.media_type}
    return {**common, **parts, **ask.parameters, **item.parameters}


def _filled(value: Any, words: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(one, words) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, words) for one in value]
    if not isinstance(value, str):
        return value
    alone = _PLACEHOLDER.fullmatch(value)
    if alone is not None:
        return _word(alone[1], words)
    return _PLACEHOLDER.sub(lambda found: _as_text(_word(found[1], words)), value)


def _word(name: str, words: Mapping[str, Any]) -> Any:
    if name not in words:
        raise UsageError(f"--template: there is no {{{name}}} for this input; there are {', '.join(sorted(words))}")
    return words[name]


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _at(value: Any, path: str) -> Any:
    """Return what is at ``outputs.0.text``, None where nothing is."""
    if not path:
        return None
    for key in path.split("."):
        if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return None
    return value


# --- The file


def read_template(path: Path) -> Template:
    """Return the route that a file describes.

    Raises:
        UsageError: it cannot be read, or says what means nothing here.
    """
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--template {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return _template(value)
    except UsageError as error:
        raise UsageError(f"--template {path}: {error}") from None


def _template(value: Mapping[str, Any]) -> Template:
    _only(value, _KEYS, "")
    route, model, body = value.get("path"), value.get("model"), value.get("body", {"inputs": "{inputs}"})
    if not (isinstance(route, str) and route.startswith("/")):
        raise UsageError('path must be a text that begins with "/", such as path = "/generate"')
    if not (model is None or isinstance(model, str)):
        raise UsageError("model must be a text")
    if not (body == _RAW or isinstance(body, Mapping)):
        raise UsageError('body must be a table, or "raw"')
    headers, paths = _texts(value, "headers"), _texts(value, "answer")
    _only(paths, _ANSWER_KEYS, "answer.")
    return Template(route, model, headers, None if body == _RAW else body, paths)


def _only(value: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for name in value.keys() - known:
        raise UsageError(f"unknown key {where}{name}; there are {', '.join(sorted(known))}")


def _texts(value: Mapping[str, Any], name: str) -> Mapping[str, str]:
    table = value.get(name, {})
    if not isinstance(table, Mapping) or not all(isinstance(one, str) for one in table.values()):
        raise UsageError(f"{name} must be a table of texts")
    return dict(table)

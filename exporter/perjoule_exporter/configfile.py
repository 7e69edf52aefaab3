"""The configuration file: TOML whose keys are the flags' names, turned into the flags that they stand for.

``carbon.zone = "FRA"`` and a table ``[carbon]`` with ``zone = "FRA"`` are the same. Lists repeat a flag, true is a flag
without a value, false leaves it out. It does not know what the flags mean: they are parsed like any others.
"""

import argparse
import difflib
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from perjoule.errors import UsageError

_NOT_IN_FILE = frozenset({"carbon.zones", "config.file", "help", "version"})
SEE_HELP = " (see --help)"
"""What a parser adds to what is wrong with a flag."""

_MOST_BYTES = 1 << 16
_MOST_TABLES = 8  # one within another; no setting has more than two


def settings(make_parser: Callable[[], argparse.ArgumentParser], argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the settings of defaults, file and flags, the latter ones winning.

    Raises:
        UsageError: a flag or a key that does not exist, or a value of the wrong kind.
    """
    make_parser().parse_args(argv)  # --help must show the defaults
    defaults = vars(make_parser().parse_args([]))
    parser = make_parser()
    for action in parser._actions:  # noqa: SLF001 (argparse cannot tell otherwise what was given and what is a default)
        action.default = argparse.SUPPRESS
    given = vars(parser.parse_args(argv))
    path = given.get("config_file")
    from_file = {} if path is None else _of_file(parser, path)
    return argparse.Namespace(**{**defaults, **from_file, **given})


def _of_file(parser: argparse.ArgumentParser, path: Path) -> dict[str, Any]:
    known = frozenset(_names(parser)) - _NOT_IN_FILE
    try:
        return vars(parser.parse_args(list(_flags(_read(path), known))))
    except UsageError as error:
        said = str(error).removesuffix(SEE_HELP).replace("argument --", "")  # in a file it is a key, and no flag
        raise UsageError(f"{path}: {said}") from error


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UsageError("cannot be read: it is a pipe or a device, and no file")  # those would be waited for
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise UsageError(f"is over {_MOST_BYTES} bytes")
        return tomllib.loads(text.decode())
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # tomllib's and the decoder's, and what is nested too deep for it
        raise UsageError(f"is no TOML: {error}") from error


def _names(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:  # noqa: SLF001 (argparse has no public list of its flags)
        yield from (flag.removeprefix("--") for flag in action.option_strings if flag.startswith("--"))


def _flags(table: Mapping[str, Any], known: frozenset[str], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, Mapping) and name.count(".") < _MOST_TABLES:
            yield from _flags(value, known, f"{name}.")
            continue
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(f"{name} is no setting" + (f"; did you mean {near[0]}?" if near else ""))
        for one in value if isinstance(value, list) else [value]:
            yield from _flag(name, one)


def _flag(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        if value:
            yield f"--{name}"
    elif isinstance(value, str) and "\0" in value:
        raise UsageError(f"{name} holds a character that no setting has: {value!r}")
    elif isinstance(value, str | int | float):
        yield f"--{name}={value}"
    else:
        raise UsageError(f"{name} must be a text, a number, true or false, or a list of them")

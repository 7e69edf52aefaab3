"""What the documentation says of settings, held against argparse and the real configuration code."""

import argparse
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from perjoule_exporter.config import NEEDS_RESTART, Config, parse
from perjoule_exporter.flags import parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "exporter/README.md").read_text(encoding="utf-8")
SHIPPED = ROOT / "deploy/systemd/exporter.toml"

FLAGS = {
    flag: action
    for action in parser()._actions  # argparse has no public list of its flags
    for flag in action.option_strings
    if flag not in {"-h", "--help"}
}


def section(title: str) -> str:
    """Return the text below one of the README's titles, up to the next."""
    return re.split(rf"^##+ {title}$", README, flags=re.MULTILINE)[1].split("\n##")[0]


def rows() -> Mapping[str, tuple[str, str, str]]:
    """Return the three cells of the flag table's row, by each flag that the first one names."""
    found: dict[str, tuple[str, str, str]] = {}
    for line in section("Flags").splitlines():
        if line.startswith("| `--"):
            flags, default, text = (cell.strip() for cell in line.strip("|").split("|"))
            for flag in re.findall(r"`(--[a-z.-]+)", flags):
                assert flag not in found, f"{flag} is there twice"
                found[flag] = flags, default, text
    return found


def test_the_flag_table_names_each_flag() -> None:
    """Each once, and no other."""
    assert sorted(rows()) == sorted(FLAGS)


@pytest.mark.parametrize("flag", sorted(FLAGS))
def test_the_flag_table_says_what_argparse_does(flag: str) -> None:
    """The value's name, the default and every choice."""
    action = FLAGS[flag]
    flags, default, text = rows()[flag]
    name = action.metavar or ("" if action.nargs == 0 else flag.rpartition(".")[2].removeprefix("--").upper())
    if action.choices is None:
        assert f"`{flag} {name}`".replace(" `", "`") in flags
    for choice in action.choices or ():
        assert f"`{choice}`" in text + default
    if isinstance(action.default, float):
        assert f"{action.default:g}" in default
    elif action.default not in {None, False, argparse.SUPPRESS}:
        assert str(action.default) in default


def test_the_readme_says_what_waits_for_a_restart() -> None:
    """What the program says needs one; all other settings are in force at once."""
    now, later = section("The configuration file").split("SIGHUP reads the file again")[1].split("restart", maxsplit=1)
    at_once, restart = [[f"--{name}" for name in re.findall(r"`([a-z.*-]+)`", text)] for text in (now, later)]
    for flag in set(FLAGS) - {"--config.file", "--version"}:
        assert matches(flag, restart) == matches(flag, NEEDS_RESTART.values()), flag
        assert matches(flag, at_once) != matches(flag, restart), flag


def matches(flag: str, patterns: Iterable[str]) -> bool:
    """Return whether a flag is one of these, such as --carbon.*."""
    return any(fnmatch(flag, pattern) for pattern in patterns)


def configured(folder: Path, text: str) -> Config:
    """Return the settings that a file of this text makes."""
    path = folder / "exporter.toml"
    path.write_text(text, encoding="utf-8")
    return parse(["--config.file", str(path)])


def test_the_example_of_the_readme_is_taken(tmp_path: Path) -> None:
    """All of it."""
    block = re.findall(r"(?:^    .*\n|^\n)+", section("The configuration file"), re.MULTILINE)
    (text,) = ["\n".join(line[4:] for line in one.splitlines()) for one in block if "# exporter.toml" in one]
    config = configured(tmp_path, text)
    assert (config.meters, config.carbon.zone, config.carbon.pue) == (("nvml", "rapl"), "FRA", 1.2)
    assert config.collectors >= {"dcgm"}
    assert not config.collectors & {"clocks", "mig"}


def examples() -> Iterator[tuple[str, bool]]:
    """Return the settings of the shipped file, commented out or not, and whether a restart is said to be needed."""
    for line in SHIPPED.read_text(encoding="utf-8").splitlines():
        found = re.match(r"#?([a-z][a-z.-]* = [^#]+)(?:# (\[restart\])?.*)?$", line)
        if found is not None:
            yield found[1].strip(), found[2] is not None


def test_the_shipped_file_changes_nothing_unasked() -> None:
    """As it comes, the service runs with the exporter's defaults."""
    assert parse(["--config.file", str(SHIPPED)]) == parse([])


def test_what_the_shipped_file_comments_out_is_taken(tmp_path: Path) -> None:
    """All of it at once."""
    lines = [line for line, _ in examples()]
    assert len(lines) >= 10
    config = configured(tmp_path, "\n".join(lines))
    assert (config.carbon.zone, config.meters) == ("FRA", ("nvml", "rapl"))
    assert config.embodied is not None
    assert "process" in config.collectors


def test_the_shipped_file_marks_what_waits_for_a_restart() -> None:
    """As the program has it."""
    for line, restart in examples():
        for name in leaves(tomllib.loads(line)):
            assert matches(f"--{name}", NEEDS_RESTART.values()) == restart, line


def leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Return the dotted names of a table's settings."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_the_service_reads_the_file_that_is_shipped_for_it() -> None:
    """Its flags name the path at which the shipped file says that it is installed."""
    (arguments,) = re.findall(
        r'^ARGS="(.*)"$',
        (ROOT / "deploy/systemd/gpu-energy-exporter.default").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert shlex.split(arguments) == ["--config.file", "/etc/perjoule/exporter.toml"]
    assert "# Installed as /etc/perjoule/exporter.toml" in SHIPPED.read_text(encoding="utf-8")

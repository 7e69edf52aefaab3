"""The flags that say where a run's figures go, and what they come to in the configuration."""

import argparse
from pathlib import Path
from typing import Any

from perjoule.errors import UsageError
from perjoule_loadgen import flag_values as values
from perjoule_loadgen.config import Format
from perjoule_loadgen.projection import PER_DAY
from perjoule_loadgen.tokens import GRAFANA, grafana_token


def add_output(made: argparse.ArgumentParser) -> None:
    """Add the group of the output's flags."""
    group = made.add_argument_group("output")
    group.add_argument("--output", type=Path, metavar="DIR",
                       help="new folder for the run's files (default runs/<time>/<task>)")  # fmt: skip
    group.add_argument("--format", choices=[f.value for f in Format], default=Format.TABLE.value,
                       help="of stdout (default %(default)s); progress goes to stderr")  # fmt: skip
    group.add_argument("--per-day", type=values.checked(values.count, "a number"), default=PER_DAY, metavar="N",
                       help="requests a day to project the figures to (default %(default)s)")  # fmt: skip
    group.add_argument("--grafana", type=values.checked(values.base_url, "a URL"), metavar="URL",
                       help="write an annotation for each run to this Grafana")  # fmt: skip
    group.add_argument("--grafana-token-file", type=Path, metavar="FILE",
                       help=f"file of a service account's token; else ${GRAFANA}")  # fmt: skip


def output_of(given: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the configuration that the output's flags fill.

    Raises:
        UsageError: a token without a Grafana, or a file of one that cannot be used.
    """
    if given.grafana_token_file is not None and given.grafana is None:
        raise UsageError("--grafana-token-file needs --grafana")
    return {
        "output": given.output,
        "format": Format(given.format),
        "per_day": given.per_day,
        "grafana": given.grafana,
        "grafana_token": grafana_token(given.grafana_token_file) if given.grafana is not None else None,
    }

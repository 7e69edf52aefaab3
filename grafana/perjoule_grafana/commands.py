"""The commands that talk to a Grafana: ``publish`` and ``annotate``, from their arguments to lines for a person."""

import argparse
import re
from collections.abc import Mapping
from typing import TextIO

from perjoule.errors import UsageError
from perjoule_grafana import annotate, publish
from perjoule_grafana.server import Grafana, address, without_password


def run(given: argparse.Namespace, environment: Mapping[str, str], out: TextIO) -> int:
    """Run the command and return its exit code.

    Raises:
        UsageError, GrafanaError, UnreachableError: it could not be done.
    """
    if given.command == "annotate":
        return _annotate(given, environment, out)
    return _publish(given, environment, out)


def _publish(given: argparse.Namespace, environment: Mapping[str, str], out: TextIO) -> int:
    source = _source(given)
    grafana = _grafana(given, environment, out)
    changes = publish.publish(grafana, given.folder, source, dry_run=given.dry_run)
    for line in publish.told(changes, dry_run=given.dry_run):
        print(line, file=out)
    return 0


def _annotate(given: argparse.Namespace, environment: Mapping[str, str], out: TextIO) -> int:
    regions = list(annotate.regions(given.run))
    grafana = _grafana(given, environment, out)
    for region in regions:
        verb = "annotated" if annotate.annotate(grafana, region) else "unchanged"
        print(f"{verb} {', '.join(region.tags)}", file=out)
    return 0


def _grafana(given: argparse.Namespace, environment: Mapping[str, str], out: TextIO) -> Grafana:
    where = address(given.url, given.token_file, given.ca_file, environment)
    if where.exposed:
        print("warning: the token travels readable for everyone, use https", file=out)
    grafana = Grafana(where)
    print(f"Grafana {grafana.check()} at {where.url}", file=out)
    return grafana


def _source(given: argparse.Namespace) -> publish.Source | None:
    if given.prometheus is None:
        return None
    if not re.fullmatch(r"[1-9]\d*(ms|s|m|h)", given.scrape_interval):
        raise UsageError("--scrape-interval wants a duration such as 15s")
    return publish.Source(without_password(given.prometheus, "--prometheus").rstrip("/"), given.scrape_interval)

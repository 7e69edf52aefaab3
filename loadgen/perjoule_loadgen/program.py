"""Runs a configuration to its exit code: campaign, display, table, files. Imports what the extra ``loadgen`` brings."""

import asyncio
import contextlib
import os
import platform
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import uvloop
from rich.console import Console

from perjoule import __version__
from perjoule.errors import UsageError
from perjoule.workloads import WORKLOADS
from perjoule_loadgen import files, listing, redraw, report
from perjoule_loadgen.annotate import annotate
from perjoule_loadgen.archive import Archive
from perjoule_loadgen.campaign import Campaign
from perjoule_loadgen.campaign import run as run_campaign
from perjoule_loadgen.clock import Clock, system_clock
from perjoule_loadgen.config import Config, Format
from perjoule_loadgen.energy import Exposition
from perjoule_loadgen.figures import Carbon, carbon_factor
from perjoule_loadgen.journal import Journal
from perjoule_loadgen.live import Display
from perjoule_loadgen.measurement import Measurement
from perjoule_loadgen.result import Run, Setting, conclude, document, idle_report, load_of
from perjoule_loadgen.status import Status

INVALID = 3
INTERRUPTED = 130


def run(config: Config, stdout: TextIO, stderr: TextIO) -> int:
    """Measure, print, write; return the exit code.

    Raises:
        PerjouleError: nothing could be measured.
        OutputError: the figures were printed and could not be written.
    """
    clock, campaign = system_clock(), Campaign()
    folder, place = _prepared(config, stderr)
    status = Status(clock.now)
    journal = _journal(config, clock, status, campaign, place, stderr)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run_shown(config, clock, status, campaign, report.console(stderr), journal))
    finally:
        if not campaign.measurements:
            _remove_if_empty(folder)
    if not campaign.measurements:
        stderr.write("loadgen: interrupted before anything was measured\n")
        return INTERRUPTED
    runs = _printed(config, campaign, stdout)
    _write(runs, place, campaign, clock, config)
    for run_, _ in runs:
        journal.remove(run_.task)
    if config.format is Format.HTML:
        redraw.print_to(stdout, (place(config.tasks[0]) / redraw.PAGE).read_text(encoding="utf-8"))
    stderr.write(f"written to {folder}\n")
    _annotate(config, [content for _, content in runs], stderr)
    return INTERRUPTED if campaign.interrupted else 0 if all(run_.verdict.valid for run_, _ in runs) else INVALID


def _prepared(config: Config, stderr: TextIO) -> tuple[Path, Callable[[str], Path]]:
    """Return the run's folder, and the one of each task; what would fail at the end is said before anything is sent."""
    if config.format is Format.HTML and len(config.tasks) != 1:
        raise UsageError("--format html is a page of one task: each task's report.html lies in its folder")
    folder = config.output or Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    alone = config.output is not None and len(config.tasks) == 1
    files.prepare(folder, config.tasks or WORKLOADS, alone=alone)
    _warn_short(config, stderr)
    return folder, partial(files.folder_of, folder, alone=alone)


def _printed(config: Config, campaign: Campaign, stdout: TextIO) -> list[tuple[Run, dict[str, Any]]]:
    """Return every task's run with its document, after printing them; a page is printed once it is written."""
    setting = Setting(config.target, load_of(config), _host(campaign))
    found = [(run, document(run, setting)) for run in _conclude(campaign, config)]
    if config.format is not Format.HTML:
        documents = [content for _, content in found]
        redraw.print_to(stdout, _rendered(report.console(stdout), config, documents, campaign.faults))
    return found


def _annotate(config: Config, documents: Sequence[dict[str, Any]], stderr: TextIO) -> None:
    if config.grafana is not None:
        failed = asyncio.run(annotate(config.grafana, config.grafana_token, documents))
        stderr.writelines(f"loadgen: {sentence}\n" for sentence in failed)


def _warn_short(config: Config, stderr: TextIO) -> None:
    """Say at the start what the verdict would say at the end."""
    least = config.rules.min_window_seconds
    if config.duration is not None and config.duration < least:
        stderr.write(
            f"loadgen: --duration {config.duration:g}s: a window shorter than {least:g} s makes the run INVALID\n"
        )


def _journal(
    config: Config, clock: Clock, status: Status, campaign: Campaign, place: Callable[[str], Path], stderr: TextIO
) -> Journal:
    def describe(measurement: Measurement) -> dict[str, Any]:
        said = _said(campaign)
        price = said.price if said is not None else None
        run = conclude(measurement, campaign.baselines(), _carbon(campaign, config), config.rules, price)
        return document(run, Setting(config.target, load_of(config), _host(campaign)))

    def warn(sentence: str) -> None:
        stderr.write(f"loadgen: {sentence}\n")

    return Journal(place, describe, warn, clock, status, campaign)


async def _run_shown(
    config: Config, clock: Clock, status: Status, campaign: Campaign, out: Console, journal: Journal
) -> None:
    """Run the campaign with its display; SIGINT and SIGTERM end it in good order."""
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(run_campaign(config, clock, status, campaign))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.cancel)
    beside = [asyncio.create_task(each.run()) for each in (Display(out, status, campaign), journal)]
    try:
        await work
    except asyncio.CancelledError:
        campaign.interrupted = True
    finally:
        for each in beside:
            each.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await each


def _conclude(campaign: Campaign, config: Config) -> list[Run]:
    carbon = _carbon(campaign, config)
    baselines = campaign.baselines()
    said = _said(campaign)
    price = said.price if said is not None else None
    return [conclude(measurement, baselines, carbon, config.rules, price) for measurement in campaign.measurements]


def _carbon(campaign: Campaign, config: Config) -> Carbon | None:
    return carbon_factor(_said(campaign), config.zone)


def _said(campaign: Campaign) -> Exposition | None:
    """Return what the first exporter said last."""
    return next(iter(campaign.meter.latest.values()), None) if campaign.meter is not None else None


def _host(campaign: Campaign) -> dict[str, Any]:
    return {
        "loadgen": __version__,
        "node": platform.node(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "idle": idle_report(campaign.baselines()),
    }


def _rendered(out: Console, config: Config, documents: Sequence[dict[str, Any]], faults: Sequence[str]) -> str:
    return redraw.rendered(out, config.format, documents, faults, single=len(config.tasks) == 1, per_day=config.per_day)


def _write(
    runs: Sequence[tuple[Run, dict[str, Any]]], place: Callable[[str], Path], campaign: Campaign, clock: Clock,
    config: Config,
) -> None:  # fmt: skip
    tracks = list(campaign.meter.tracks.values()) if campaign.meter is not None else []
    for run_, content in runs:
        folder = place(run_.task)
        files.write(folder, run_, content, tracks, clock)
        redraw.draw(Archive(folder, content, finished=True), content, config.per_day)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def list_tasks(stdout: TextIO, format_: Format) -> int:
    """Print the tasks with their units, parameters and the study's figure.

    Raises:
        UsageError: as HTML, which there is of runs alone.
    """
    if format_ is Format.HTML:
        raise UsageError("loadgen tasks has no html: it is of runs")
    redraw.print_to(stdout, listing.listing(report.console(stdout), format_))
    return 0

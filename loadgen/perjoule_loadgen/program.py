"""Runs a configuration to its exit code: campaign, display, table, files. Imports what the extra ``loadgen`` brings."""

import asyncio
import contextlib
import json
import os
import platform
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import uvloop
from rich.console import Console

from perjoule import __version__
from perjoule.workloads import WORKLOADS
from perjoule_loadgen import files, listing, report
from perjoule_loadgen.campaign import Campaign
from perjoule_loadgen.campaign import run as run_campaign
from perjoule_loadgen.clock import Clock, system_clock
from perjoule_loadgen.config import Config, Format
from perjoule_loadgen.energy import Exposition
from perjoule_loadgen.figures import Carbon, carbon_factor
from perjoule_loadgen.live import Display
from perjoule_loadgen.result import Run, conclude, document, idle_report
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
    folder = config.output or Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    alone = config.output is not None and len(config.tasks) == 1
    files.prepare(folder, config.tasks or WORKLOADS, alone=alone)
    _warn_short(config, stderr)
    status = Status(clock.now)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run_shown(config, clock, status, campaign, report.console(stderr)))
    finally:
        if not campaign.measurements:
            _remove_if_empty(folder)
    if not campaign.measurements:
        stderr.write("loadgen: interrupted before anything was measured\n")
        return INTERRUPTED
    runs = _conclude(campaign, config)
    documents = [document(run, config, _host(campaign)) for run in runs]
    _print(stdout, _rendered(report.console(stdout), config, documents, campaign.faults))
    _write(folder, campaign, runs, documents, clock, alone=alone)
    stderr.write(f"written to {folder}\n")
    if campaign.interrupted:
        return INTERRUPTED
    return 0 if all(run.verdict.valid for run in runs) else INVALID


def _warn_short(config: Config, stderr: TextIO) -> None:
    """Say at the start what the verdict would say at the end."""
    least = config.rules.min_window_seconds
    if config.duration is not None and config.duration < least:
        stderr.write(
            f"loadgen: --duration {config.duration:g}s: a window shorter than {least:g} s makes the run INVALID\n"
        )


async def _run_shown(config: Config, clock: Clock, status: Status, campaign: Campaign, out: Console) -> None:
    """Run the campaign with its display; SIGINT and SIGTERM end it in good order."""
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(run_campaign(config, clock, status, campaign))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.cancel)
    shown = asyncio.create_task(Display(out, status, campaign).run())
    try:
        await work
    except asyncio.CancelledError:
        campaign.interrupted = True
    finally:
        shown.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await shown


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
    if config.format is Format.TABLE:
        with out.capture() as captured:
            report.show(out, documents, faults)
        shown = captured.get()
        return shown if out.is_terminal else "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"
    if config.format is Format.CSV:
        return report.csv_table(documents)
    content = documents[0] if len(config.tasks) == 1 else list(documents)
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _print(stdout: TextIO, text: str) -> None:
    """Write to stdout; a reader that has gone (``| head``) costs no file."""
    try:
        stdout.write(text)
        stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())  # so that the flush at exit is quiet too


def _write(
    folder: Path, campaign: Campaign, runs: Sequence[Run], documents: Sequence[dict[str, Any]], clock: Clock, *,
    alone: bool,
) -> None:  # fmt: skip
    tracks = list(campaign.meter.tracks.values()) if campaign.meter is not None else []
    for run_, content in zip(runs, documents, strict=True):
        files.write(files.folder_of(folder, run_.task, alone=alone), run_, content, tracks, clock)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def list_tasks(stdout: TextIO, format_: Format) -> int:
    """Print the tasks with their units, parameters and the study's figure."""
    _print(stdout, listing.listing(report.console(stdout), format_))
    return 0

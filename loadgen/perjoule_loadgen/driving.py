"""One phase's load as a value that can be handed to another process, and the sending of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp

from perjoule_loadgen.client import Client, Prepared, Route, bearer
from perjoule_loadgen.config import Arrival, Config, Shard
from perjoule_loadgen.load import Driver, Load
from perjoule_loadgen.pacer import order, warm_up_schedule, window_schedule
from perjoule_loadgen.template import Template

STEADY = "steady"


@dataclass(frozen=True, slots=True)
class Job:
    """What one process sends in one phase.

    Attributes:
        config: how the server is loaded.
        route: where the requests go, and what they hold.
        phase: name of the phase; part of the seed, and ``STEADY`` has the schedule of the window.
        seconds: how long.
        requests: how many at least, of all parts together.
        shard: which part of the load.
        start: monotonic time at which it starts, None for now.
    """

    config: Config
    route: Route
    phase: str
    seconds: float
    requests: int
    shard: Shard
    start: float | None = None


def route_to(config: Config, task: str, items: Sequence[Prepared], *, stream: bool) -> Route:
    """Return where the requests of a task go."""
    dialect = config.dialect
    headers = {**(dialect.headers if isinstance(dialect, Template) else {}), **bearer(config.token)}
    return Route(task, config.target + dialect.path(task), items, dialect, stream, headers)


async def drive(
    session: aiohttp.ClientSession, now: Callable[[], float], job: Job, load: Load, enough: Callable[[], bool] | None
) -> None:
    """Send the requests of ``job`` from this process, until it is over or ``enough`` says so."""
    config, shard = job.config, job.shard
    seed = f"{config.seed}/{job.route.task}/{job.phase}"
    inputs = order(len(job.route.items), seed, shard)
    driver = Driver(Client(session, job.route, now), inputs, now, config.rules.dead_server_seconds, job.start)
    if config.arrival is Arrival.CLOSED:
        flying = shard.share(config.concurrency)
        await driver.closed(load, flying, job.seconds, shard.share(job.requests), enough)
    else:
        made = window_schedule if job.phase == STEADY else warm_up_schedule
        await driver.open(load, made(config, f"{seed}/arrivals", job.seconds, shard), enough)

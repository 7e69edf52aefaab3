"""What was measured of the servers, as tables, and judged by its targets.

Figures in, tables and checks out. It starts nothing.
"""

from collections.abc import Iterator, Sequence

from benchmarks.report import Section, Table
from benchmarks.server_cost import BATCHED, CONCURRENCIES, SHARE, Found, Plan
from benchmarks.server_environments import NAIVE
from benchmarks.server_load import Load, middle
from benchmarks.server_models import WORDS
from benchmarks.server_programs import BATCHING, MAX_BATCH, OURS, WAIT_SECONDS
from benchmarks.summary import Check, digits, median, percent, scaled, times

NAIVE_TIMES = 1.5
"""How many of the naive server's requests a second ours must answer."""

ALONE_TIMES = 1.5
"""How many times the best peer's CPU a request may cost when it is alone."""

LAYER_SECONDS = 1e-3


def section(found: Found, plan: Plan) -> Section:
    """Return everything about one task."""
    tables = [_closed_table(found, plan), _layer_table(found), _open_table(found)]
    if found.task != "text-to-image":  # an image has no padding
        tables.append(_padding_table(found))
    return Section(found.task, tables, list(checks(found)), _figures(found))


def checks(found: Found) -> Iterator[Check]:
    """Judge one task; without peers only what needs none."""
    peers = [name for name in found.servers if name != OURS]
    yield from (
        Check(f"{found.task}: answer of {name}", "another", "as ours", passed=False) for name in found.differing
    )
    for concurrency in CONCURRENCIES:
        loads = {name: middle(found.closed[name, concurrency]) for name in found.servers}
        if peers:
            yield _cpu_check(found.task, concurrency, loads)
        if NAIVE in loads and concurrency in BATCHED:
            yield _rate_check(found.task, concurrency, loads)
        if concurrency in BATCHED:
            yield _layer_check(found, concurrency)
        errors = loads[OURS].errors
        yield Check(f"{found.task}, {concurrency} at a time: errors", str(errors), "0", errors == 0)
    batching = [name for name in found.open if name in BATCHING and name in found.servers]
    if batching:
        yield _p99_check(found, batching)


def _cpu(load: Load) -> float:
    if load.cpu_seconds is None:
        raise ValueError("this window has no CPU time")
    return load.cpu_seconds


def _cpu_check(task: str, concurrency: int, loads: dict[str, Load]) -> Check:
    best = min((name for name in loads if name != OURS), key=lambda name: _cpu(loads[name]))
    factor = ALONE_TIMES if concurrency == 1 else 1.0
    most, ours = factor * _cpu(loads[best]), _cpu(loads[OURS])
    said = f"{digits(factor)} × {best}'s" if concurrency == 1 else f"{best}'s"
    return Check(
        f"{task}, {concurrency} at a time: CPU a request",
        scaled(ours, "s"),
        f"≤ {scaled(most, 's')} ({said})",
        ours <= most,
    )


def _rate_check(task: str, concurrency: int, loads: dict[str, Load]) -> Check:
    ours, naive = loads[OURS].rate, loads[NAIVE].rate
    return Check(
        f"{task}, {concurrency} at a time: requests/s", times(ours, naive), f"≥ {NAIVE_TIMES}× the naive server's",
        ours >= NAIVE_TIMES * naive,
    )  # fmt: skip


def _layer_check(found: Found, concurrency: int) -> Check:
    added = median([each.server - each.plain for each in found.layer[concurrency]])
    what = f"{found.task}, {concurrency} at a time: CPU a request over a loop"
    return Check(what, _signed(added), f"< {scaled(LAYER_SECONDS, 's')}", added < LAYER_SECONDS)


def _p99_check(found: Found, batching: Sequence[str]) -> Check:
    loads = {name: middle(found.open[name]) for name in [OURS, *batching]}
    best = min(batching, key=lambda name: loads[name].p99)
    ours, theirs = loads[OURS].p99, loads[best].p99
    what = f"{found.task}, {found.open_rate:.0f} requests/s: p99"
    return Check(what, scaled(ours, "s"), f"≤ {scaled(theirs, 's')} ({best}'s)", ours <= theirs)


def _signed(seconds: float) -> str:
    return f"−{scaled(-seconds, 's')}" if seconds < 0 else scaled(seconds, "s")


def _closed_table(found: Found, plan: Plan) -> Table:
    rows = []
    for concurrency in CONCURRENCIES:
        ours = middle(found.closed[OURS, concurrency])
        for name in found.servers:
            load = middle(found.closed[name, concurrency])
            ratio = "" if name == OURS else times(_cpu(ours), _cpu(load))
            rows.append((str(concurrency), name, *_latency(load), scaled(_cpu(load), "s"), ratio))
    headings = ("at a time", "server", "requests/s", "p50", "p99", "errors", "CPU / request", "ours ÷ its")
    client = scaled(median(found.client_cpu), "s")
    waits = ", ".join(sorted({scaled(wait, "s") for wait in WAIT_SECONDS.values()}))
    notes = [
        f"{WORDS[found.task]}; {MAX_BATCH[found.task]} requests a batch at most, one thread for an operation.",
        f"{plan.rounds} rounds of {plan.seconds:g} s, each server once a round, in turn, the others frozen; medians.",
        f"CPU is of all processes of a server. The client's own, {client} a request, shares its cores.",
        f"Batching peers wait up to {waits} for company; ours never.",
        *(f"{name} is missing: {reason}." for name, reason in found.missing.items()),
    ]
    return Table(f"{found.task}: so many requests at a time", headings, rows, notes)


def _latency(load: Load) -> tuple[str, str, str, str]:
    return digits(load.rate), scaled(load.p50, "s"), scaled(load.p99, "s"), str(load.errors)


def _layer_table(found: Found) -> Table:
    rows = []
    for concurrency in BATCHED:
        rounds = found.layer[concurrency]
        server, tasks, plain, batch = (
            median([getattr(each, name) for each in rounds]) for name in ("server", "tasks", "plain", "batch")
        )
        over = [_signed(median([each.server - getattr(each, name) for each in rounds])) for name in ("plain", "tasks")]
        rows.append((str(concurrency), digits(batch), *(scaled(each, "s") for each in (server, plain, tasks)), *over))
    headings = ("at a time", "batch", "server", "plain loop", "loop of our stages", "over plain", "over stages")
    notes = (
        "CPU a request: of our server, and of loops without one, over the very batches that it made.",
        "The plain loop is what the peers call; the other prepares, runs and finishes as our server does.",
    )
    return Table(f"{found.task}: what our layer adds", headings, rows, notes)


def _open_table(found: Found) -> Table:
    loads = {name: middle(rounds) for name, rounds in found.open.items() if name in found.servers}
    rows = [(name, *_latency(load)) for name, load in loads.items()]
    notes = (
        f"Poisson arrivals at {percent(SHARE)} of the best peer's highest rate above, the same for all; latency counts",
        "from the intended time.",
    )
    title = f"{found.task}: {found.open_rate:.0f} requests a second, whatever was answered"
    return Table(
        title, ("server", "answered/s", "p50", "p99", "errors"), sorted(rows, key=lambda row: row[0] != OURS), notes
    )


def _padding_table(found: Found) -> Table:
    rows = [(str(concurrency), percent(median(found.useful[concurrency]))) for concurrency in CONCURRENCIES]
    notes = ("Of inference_tokens_total: input and output over input, output and padding.",)
    return Table(f"{found.task}: tokens that were not padding", ("at a time", "useful tokens"), rows, notes)


def _figures(found: Found) -> dict[str, object]:
    def load(rounds: Sequence[Load]) -> dict[str, object]:
        each = middle(rounds)
        return {"rate": each.rate, "p50_seconds": each.p50, "p99_seconds": each.p99, "errors": each.errors,
                "cpu_seconds_per_request": each.cpu_seconds}  # fmt: skip

    return {
        "closed": {f"{name}, {c}": load(found.closed[name, c]) for name in found.servers for c in CONCURRENCIES},
        "open": {name: load(rounds) for name, rounds in found.open.items()} | {"rate": found.open_rate},
        "layer_seconds": {c: median([each.server - each.plain for each in found.layer[c]]) for c in BATCHED},
        "useful_tokens": {c: median(found.useful[c]) for c in CONCURRENCIES},
        "missing": found.missing,
    }

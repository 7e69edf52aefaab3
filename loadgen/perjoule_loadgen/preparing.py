"""What a configuration asks of a task, and texts that are made up with the server's help before a measurement."""

import time

import aiohttp

from perjoule.errors import MeasurementError
from perjoule.workloads import WORKLOADS
from perjoule_loadgen.client import Client
from perjoule_loadgen.config import Config
from perjoule_loadgen.dialect import Ask, Prepared
from perjoule_loadgen.driving import route_to
from perjoule_loadgen.inputs import Item, text_item
from perjoule_loadgen.ours import Ours
from perjoule_loadgen.synthetic import texts
from perjoule_loadgen.target import Model


def asking(config: Config, model: Model, task: str) -> Ask:
    """Return what is asked of every request; our own server is named no model unless one was given."""
    asks_by_name = not isinstance(config.dialect, Ours) or config.model is not None
    parameters = {**WORKLOADS[task].parameters, **config.parameters}
    return Ask(task, parameters, model.id if asks_by_name else None, config.stream, config.extra)


async def made_up(session: aiohttp.ClientSession, config: Config, model: Model, task: str) -> tuple[Item, ...]:
    """Return texts of ``config.input_tokens`` tokens.

    Raises:
        MeasurementError: the server does not answer, does not tell its tokens, or no text has so many.
    """
    ask = asking(config, model, task)
    probing = Ask(ask.task, ask.parameters, ask.model, extra=ask.extra)  # no stream: not every one tells its input
    probes: list[Prepared] = []
    client = Client(session, route_to(config, task, probes, stream=False), time.monotonic)

    async def count(text: str) -> int:
        probes[:] = [config.dialect.prepare(text_item("probe", text), probing)]
        result = await client.send(0)
        if result.error:
            raise MeasurementError(f"--input-tokens: the server was asked for its count: {result.detail}")
        if result.input_tokens is None:
            raise MeasurementError("--input-tokens: the server does not tell how many tokens it read; use --inputs")
        return result.input_tokens

    found = await texts(config.input_tokens or 0, f"{config.seed}/{task}/texts", count)
    return tuple(text_item(f"made-up:{n}", text, tokens=tokens) for n, (text, tokens) in enumerate(found, 1))

"""What the server says of itself before it is loaded: whether it is ready, what it serves, and on which device.

It must list its tasks: what does not is no inference server. What its metrics do not tell (device, weights) stays
unknown, which is not an error here. Sends no inference.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from perjoule.errors import MeasurementError, UnreachableError, UsageError
from perjoule.workloads import WORKLOADS
from perjoule_loadgen.energy import samples
from perjoule_loadgen.pages import Page
from perjoule_loadgen.transport import printable

_START = "start one with: inference-server --models tiny"


@dataclass(frozen=True, slots=True)
class Model:
    """A served model: its id, the exporter's names of its devices, and where its weights come from."""

    id: str
    devices: tuple[str, ...] = ()
    weights: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A server.

    Attributes:
        url: its base URL.
        defaults: task → id of the model that serves it unless asked otherwise.
        served: (task, model id) → model, as its metrics say.
    """

    url: str
    defaults: Mapping[str, str] = field(default_factory=dict)
    served: Mapping[tuple[str, str], Model] = field(default_factory=dict)

    def tasks(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Return the tasks to run: those wanted, or all that are served if none is.

        Raises:
            UsageError: a wanted task is not served; the message lists what is.
        """
        if not wanted:
            return tuple(task for task in WORKLOADS if task in self.defaults)
        missing = [task for task in wanted if task not in self.defaults]
        if missing:
            raise UsageError(f"{self.url} does not serve {', '.join(missing)}; it serves {', '.join(self.defaults)}")
        return tuple(wanted)

    def model(self, task: str, wanted: str | None) -> Model:
        """Return the model that will answer ``task``; its devices are empty when the server does not tell.

        Raises:
            UsageError: the server tells, and does not have the wanted one.
        """
        id_ = wanted or self.defaults[task]
        known = [model for of, model in self.served if of == task]
        if wanted is not None and known and wanted not in known:
            raise UsageError(f"{self.url} does not serve {task} with {wanted}; it has {', '.join(known)}")
        return self.served.get((task, id_), Model(id_))


async def ask(page: Page, url: str, ready_seconds: float) -> Target:
    """Wait until the server is ready and return what it says of itself.

    Raises:
        UnreachableError: nobody answers, or something that is no inference server; the message says how to start one.
        MeasurementError: it is still not ready after ``ready_seconds``.
    """
    await wait_for(page, f"{url}/readyz", ready_seconds)
    return Target(url, await _defaults(page, url), await served(page, url))


async def wait_for(page: Page, url: str, seconds: float) -> tuple[int, str]:
    """Return status and text of a page, once it is not 503 any more.

    Raises:
        UnreachableError: nobody answers; the message says how to start a server.
        MeasurementError: it is still 503 after ``seconds``.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    base = url.rpartition("/")[0].removesuffix("/v1")
    while True:
        try:
            status, text = await page.get(url)
        except UnreachableError as error:
            raise UnreachableError(f"no inference server answers at {base}; {_START}") from error
        if status != HTTPStatus.SERVICE_UNAVAILABLE:
            return status, text
        if loop.time() > deadline:
            raise MeasurementError(f"{base} is not ready after {seconds:.0f} s: {printable(text.encode(), 200)}")
        await asyncio.sleep(0.2)


async def _defaults(page: Page, url: str) -> Mapping[str, str]:
    status, text = await page.get(f"{url}/v1/tasks")
    if status != HTTPStatus.OK:
        raise UnreachableError(f"no inference server at {url}: /v1/tasks answers {status}; {_START}")
    defaults = _entries(text)
    if not defaults:
        raise UnreachableError(f"no inference server at {url}: /v1/tasks lists no tasks; {_START}")
    return defaults


def _entries(text: str) -> Mapping[str, str]:
    """Return task → default model; empty for a page that is no such list."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    data = answer.get("data") if isinstance(answer, dict) else None
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    return {str(entry["task"]): str(entry["default"]) for entry in entries if "default" in entry and "task" in entry}


async def served(page: Page, url: str) -> Mapping[tuple[str, str], Model]:
    """Return the models by task and id that the server's metrics describe; nothing where it publishes none."""
    try:
        found = samples(await page.text(f"{url}/metrics"), ("inference_model_info",))
    except MeasurementError:  # it publishes none
        return {}
    models: dict[tuple[str, str], Model] = {}
    for sample in found.get("inference_model_info", ()):
        key = (sample.labels.get("task", ""), sample.labels.get("model", ""))
        before = models.get(key, Model(key[1]))
        devices = dict.fromkeys((*before.devices, sample.labels.get("device", "")))
        models[key] = Model(key[1], tuple(name for name in devices if name), sample.labels.get("weights"))
    return models

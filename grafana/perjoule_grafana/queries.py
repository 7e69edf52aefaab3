"""Recorded series of energy and emissions per inference: their names, and the windows that they are taken over.

Knows names only; ``recording`` and ``sharing`` hold the PromQL that makes them. A name is ``level:metric:operation``,
and a level is the labels of its series beyond ``cluster`` and ``node``, which every level below ``node:`` carries as
far as the scrape sets them.
"""

from dataclasses import dataclass

PLACE = "cluster, node"
"""Labels of a machine. The scrape sets them; without either, everything is of one machine."""

DEVICE = f"{PLACE}, device"
TASK = f"{PLACE}, task, model"
TASK_DEVICE = f"{PLACE}, device, task, model"


@dataclass(frozen=True, slots=True)
class Rule:
    """One recording rule; ``labels`` are put on what it records."""

    record: str
    expr: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """A range over which increases are taken (a PromQL duration), and how often that is evaluated.

    ``hours`` of a long window: it adds up that many values of the one-hour series instead of reading raw counters.
    """

    range: str
    every: str
    hours: int = 0

    @property
    def device_energy(self) -> str:
        """Joules of each device, by node and device; absent where the counter did not move."""
        return f"device:energy_joules:increase{self.range}"

    @property
    def device_emissions(self) -> str:
        """Grams of CO2e of each device, by node and device; absent without a carbon zone."""
        return f"device:emissions_grams:increase{self.range}"

    @property
    def device_embodied(self) -> str:
        """Grams of CO2e of the device's manufacture that fall into the window; absent if none were stated."""
        return f"device:embodied_emissions_grams:increase{self.range}"

    @property
    def device_cost(self) -> str:
        """What the device's joules cost, without PUE, by ``currency``; absent without a price."""
        return f"device_currency:electricity_cost:increase{self.range}"

    @property
    def device_idle(self) -> str:
        """Joules that the device would have used without work, in time that no span covers (exporter's ledger)."""
        return f"device:idle_energy_joules:increase{self.range}"

    @property
    def device_unattributed(self) -> str:
        """Joules that are nobody's, by ``reason``; absent where there were none."""
        return f"device_reason:unattributed_energy_joules:increase{self.range}"

    @property
    def device_idle_ratio(self) -> str:
        """Idle joules over all joules of the device."""
        return f"device:idle_energy:ratio{self.range}"

    @property
    def instance_energy(self) -> str:
        """Joules of all devices of an exporter, by ``instance``."""
        return f"instance:energy_joules:increase{self.range}"

    @property
    def instance_charged(self) -> str:
        """Joules that the exporter charged to inferences that ended well, by its ``instance``."""
        return f"instance:inference_active_energy_joules:increase{self.range}"

    @property
    def instance_settled(self) -> str:
        """Inferences whose energy the exporter settled, by its ``instance``."""
        return f"instance:inference_requests_settled:increase{self.range}"

    @property
    def instance_ratio(self) -> str:
        """Joules that an inference itself used, by exporter ``instance``."""
        return f"instance:inference_active_energy_joules_per_inference:ratio{self.range}"

    @property
    def busy(self) -> str:
        """Seconds in which batches of the task held the device; of servers that do not tell, seconds of requests."""
        return f"task_model_device:inference_device_busy_seconds:increase{self.range}"

    @property
    def share(self) -> str:
        """The task's share of the device's busy time: sums to 1 over the tasks of a device."""
        return f"task_model_device:inference_device_busy_share:ratio{self.range}"

    @property
    def coverage(self) -> str:
        """Time in which the device's energy was there, over the time in which its work was; tasks need nearly all."""
        return f"device:energy_coverage:ratio{self.range}"

    @property
    def charged(self) -> str:
        """Joules of the device that the exporter charged to the task, however its requests ended but unmeasured."""
        return f"task_model_device:inference_charged_energy_joules:increase{self.range}"

    @property
    def charged_emissions(self) -> str:
        """Grams of CO2e of the charged joules, at the intensity of their time."""
        return f"task_model_device:inference_charged_emissions_grams:increase{self.range}"

    @property
    def by_outcome(self) -> str:
        """Charged joules of each task by ``outcome``: all but ``ok`` is waste; absent where there were none."""
        return f"task_model_outcome:inference_charged_energy_joules:increase{self.range}"

    @property
    def active(self) -> str:
        """Joules charged to inferences that ended well: theirs alone, the device's idle time not among it."""
        return f"task_model:inference_active_energy_joules:increase{self.range}"

    @property
    def active_emissions(self) -> str:
        """Grams of CO2e of the joules charged to inferences that ended well."""
        return f"task_model:inference_active_emissions_grams:increase{self.range}"

    @property
    def settled(self) -> str:
        """Inferences that ended well and whose energy the exporter settled."""
        return f"task_model:inference_requests_settled:increase{self.range}"

    @property
    def requests_ok(self) -> str:
        """Requests that were answered well, as the server counts them."""
        return f"task_model:inference_requests_ok:increase{self.range}"

    @property
    def work_units(self) -> str:
        """Functional units of work, by ``unit``, as the server counts them."""
        return f"task_model_unit:inference_work_units:increase{self.range}"

    @property
    def tokens(self) -> str:
        """Tokens, by ``kind``, as the server counts them."""
        return f"task_model_kind:inference_tokens:increase{self.range}"

    @property
    def timed(self) -> str:
        """Joules of the device shared out by time, of tasks for which no server tells spans."""
        return f"task_model_device:inference_timed_energy_joules:increase{self.range}"

    @property
    def timed_emissions(self) -> str:
        """Grams of CO2e of the device shared out by time, of tasks for which no server tells spans."""
        return f"task_model_device:inference_timed_emissions_grams:increase{self.range}"

    @property
    def timed_requests(self) -> str:
        """Requests that were answered well, of tasks whose energy is shared out by time."""
        return f"task_model:inference_requests_timed:increase{self.range}"

    @property
    def loaded(self) -> str:
        """Joules of the device that the task is to bear: charged ones and a share of idle by use, or shared by time."""
        return f"task_model_device:inference_energy_joules:increase{self.range}"

    @property
    def loaded_emissions(self) -> str:
        """Grams of CO2e of the joules of the device that the task is to bear."""
        return f"task_model_device:inference_emissions_grams:increase{self.range}"

    @property
    def energy(self) -> str:
        """Joules of each task and model, fully loaded: what it used, and its share of the devices' idle energy."""
        return f"task_model:inference_energy_joules:increase{self.range}"

    @property
    def emissions(self) -> str:
        """Grams of CO2e of each task and model, fully loaded."""
        return f"task_model:inference_emissions_grams:increase{self.range}"

    @property
    def embodied(self) -> str:
        """Grams of CO2e of manufacture of each task and model: the devices', by the share of their joules."""
        return f"task_model:inference_embodied_emissions_grams:increase{self.range}"

    @property
    def cost(self) -> str:
        """What the joules of each task and model cost, fully loaded, by ``currency``."""
        return f"task_model_currency:inference_electricity_cost:increase{self.range}"

    @property
    def requests_charged(self) -> str:
        """Requests that were answered well and whose energy is known: what energy is divided by."""
        return f"task_model:inference_requests_charged:increase{self.range}"

    @property
    def units_charged(self) -> str:
        """Functional units of the requests whose energy is known, by ``unit``."""
        return f"task_model_unit:inference_work_units_charged:increase{self.range}"

    @property
    def tokens_charged(self) -> str:
        """Output tokens of the requests whose energy is known."""
        return f"task_model:inference_output_tokens_charged:increase{self.range}"

    @property
    def joules_per_inference(self) -> str:
        """Joules per inference, fully loaded: the window's idle energy included, shared by use."""
        return f"task_model:inference_energy_joules_per_inference:ratio{self.range}"

    @property
    def grams_per_inference(self) -> str:
        """Grams of CO2e per inference, fully loaded."""
        return f"task_model:inference_emissions_grams_per_inference:ratio{self.range}"

    @property
    def active_joules_per_inference(self) -> str:
        """Joules that an inference itself used; absent where no server tells spans."""
        return f"task_model:inference_active_energy_joules_per_inference:ratio{self.range}"

    @property
    def active_grams_per_inference(self) -> str:
        """Grams of CO2e of the joules that an inference itself used."""
        return f"task_model:inference_active_emissions_grams_per_inference:ratio{self.range}"

    @property
    def joules_per_unit(self) -> str:
        """Joules per functional unit (``unit``), fully loaded."""
        return f"task_model_unit:inference_energy_joules_per_unit:ratio{self.range}"

    @property
    def active_joules_per_unit(self) -> str:
        """Joules that a functional unit (``unit``) itself used."""
        return f"task_model_unit:inference_active_energy_joules_per_unit:ratio{self.range}"

    @property
    def grams_per_unit(self) -> str:
        """Grams of CO2e per functional unit (``unit``), fully loaded."""
        return f"task_model_unit:inference_emissions_grams_per_unit:ratio{self.range}"

    @property
    def joules_per_token(self) -> str:
        """Joules per output token, fully loaded: the energy of reading the input is in it."""
        return f"task_model:inference_energy_joules_per_output_token:ratio{self.range}"

    @property
    def sci(self) -> str:
        """SCI (ISO/IEC 21031): grams of operation and manufacture per inference; absent if either is not known."""
        return f"task_model:inference_sci_grams_per_inference:ratio{self.range}"

    @property
    def sci_per_unit(self) -> str:
        """SCI per functional unit (``unit``)."""
        return f"task_model_unit:inference_sci_grams_per_unit:ratio{self.range}"


FIVE_MINUTES = Window("5m", every="15s")
ONE_HOUR = Window("1h", every="1m")
SEVEN_DAYS = Window("7d", every="3m", hours=7 * 24)
WINDOWS = (FIVE_MINUTES, ONE_HOUR, SEVEN_DAYS)
"""For dashboards and alerts, for reports, and for what is usual. A range longer than a test's phases mixes them."""

MIN_COVERAGE = 0.9
"""Share of the time of work for which a device's energy must be known: no figure is too low by more than 10 %."""

POWER_WINDOW = "1m"
"""Range of the power derived from energy: it must hold two scrapes, so scrape every 30 s or faster."""

POWER = f"device:power_watts:rate{POWER_WINDOW}"
"""Watts of each device, from its energy counter, by node and device."""

DEVICE_INFO = "device:energy_info:max"
"""How the energy of each device comes about (label ``method``) and what it is (``name``, GPUs only); always 1."""

RESIDUAL = "device:inference_conservation_joules:residual"
"""What the ledger's parts leave of its counter, in joules: 0 in every scrape, or the exporter has a fault."""

AGREEMENT = {window: f"device:energy_counter_over_integral:ratio{window}" for window in ("5m", "1h")}
"""Increase of a GPU's energy counter over that of the integral of its power: near 1."""

"""Other programs' metrics under our names: exporters of energy, servers of models, and which server runs on which GPU.

An adapter translates counter by counter and adds nothing up over targets, so that ``increase()`` sees each reset. All
that is downstream (recording rules, dashboards, alerts) then works as with our own programs. The names and labels on
the left are those of the versions that each adapter states; it does not know whether a later version changed them.
"""

from dataclasses import dataclass

from perjoule_grafana.queries import FIVE_MINUTES, PLACE, Rule
from perjoule_grafana.recording import CPU_DEVICE, GPU_DEVICE, REQUEST_SECONDS

TARGET = f"{PLACE}, instance"
TARGET_TASK = f"{TARGET}, device, task, model"
SERVER_SECONDS = "task_model:inference_request_seconds:total"
"""Seconds of requests of a server, added up over requests; ``device`` where the server or its scrape tells it."""

MAPPING = "instance_device:inference_server:mapping"
"""Setting: 1 for each device that a server (``instance``) runs on."""

DEVICES = "device:inference_server_candidate:info"
"""Devices of a node on which a server may run that does not tell; always 1."""

UNPLACED = "task_model:inference_unplaced_request_seconds:total"
"""Seconds of requests of servers whose device nothing tells."""

GENERATION = "text-generation"
EMBEDDING = "feature-extraction"
UNKNOWN = "unspecified"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A rule file: what it is for and of which versions, what to know of it, and its rules."""

    file: str
    title: str
    notes: str
    rules: tuple[Rule, ...]

    @property
    def group(self) -> str:
        """Name of its rule group."""
        return f"perjoule-adapter-{self.file.removesuffix('.yml')}"


@dataclass(frozen=True, slots=True)
class Server:
    """How a model server names things: ``model`` is the label with the model's name, "" where it has none."""

    task: str
    model: str
    keep: str = ""

    def counter(self, metric: str, scale: str = "") -> str:
        """Return the server's counter by target, task and model; a target label ``task`` goes before the default."""
        named = self._named(metric)
        by = f"{TARGET_TASK}, {self.keep}" if self.keep else TARGET_TASK
        return f'sum by ({by}) (\n  label_replace({named}, "task", "{self.task}", "task", "")\n){scale}'

    def _named(self, metric: str) -> str:
        if self.model == "model":
            return metric
        if self.model:
            return f'label_replace({metric}, "model", "$1", "{self.model}", "(.+)")'
        job = f'label_replace({metric}{{model=""}}, "model", "$1", "job", "(.+)")'
        return f'{job} or {metric}{{model!=""}}'


def adapters() -> tuple[Adapter, ...]:
    """Return every adapter: energy first, then servers, then the mapping that servers need."""
    return (_dcgm(), _kepler(), _nvidia_gpu(), _vllm(), _sglang(), _tgi(), _tei(), _triton(), _ray(), _servers())


def _dcgm() -> Adapter:
    ours = f'unless on ({TARGET})\n  perjoule_build_info{{program="gpu-energy-exporter"}}'

    def board(metric: str, scale: str = "") -> str:
        named = f'label_replace({metric}, "uuid", "$1", "UUID", "(.+)")'
        return f"max by ({TARGET}, gpu, uuid) ({named}){scale}\n{ours}"

    info = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION * 0 + 1"
    for new, old in (("uuid", "UUID"), ("name", "modelName"), ("driver", "DCGM_FI_DRIVER_VERSION")):
        info = f'label_replace({info}, "{new}", "$1", "{old}", "(.+)")'
    return Adapter("dcgm-exporter.yml", "NVIDIA's dcgm-exporter (names of 3.x and 4.x).", """\
A board's energy is repeated for each MIG slice: `max` takes it once. Its default counters hold all that is read here.
Our own exporter's --compat.dcgm is left out: it has the same under our names already.
""", (
        Rule("gpu_energy_joules_total", board("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", " / 1000")),
        Rule("gpu_power_watts", board("DCGM_FI_DEV_POWER_USAGE")),
        Rule("gpu_power_limit_watts", board("DCGM_FI_DEV_POWER_MGMT_LIMIT")),
        Rule("gpu_utilization_ratio", board("DCGM_FI_DEV_GPU_UTIL", " / 100")),
        Rule("gpu_info", f"max by ({TARGET}, gpu, uuid, name, driver) (\n  {info}\n)\n{ours}",
             (("method", "counter"), ("scope", "gpu"), ("vendor", "NVIDIA"))),
    ))  # fmt: skip


def _kepler() -> Adapter:
    gpu = 'label_replace(kepler_node_gpu_joules_total, "uuid", "$1", "gpu_uuid", "(.+)")'
    cpu = 'label_replace(kepler_node_cpu_joules_total{zone=~"package|dram"}, "package", "0", "", "")'
    cpu = f'label_replace({cpu}, "package", "$1", "path", ".*intel-rapl:([0-9]+).*")'
    name = "kepler_node_gpu_info"
    for new, old in (("uuid", "gpu_uuid"), ("name", "gpu_name")):
        name = f'label_replace({name}, "{new}", "$1", "{old}", "(.+)")'
    return Adapter("kepler.yml", "Kepler (names of 0.11, the rewrite; GPUs by its experimental meter).", """\
CPU packages by RAPL; where Kepler adds sockets up, the sum is package 0. Of what Kepler shares out to pods and
processes nothing is used: inferences get their shares by the time that they held the device.
""", (
        Rule("gpu_energy_joules_total", f"max by ({TARGET}, gpu, uuid) ({gpu})"),
        Rule("gpu_info", f"max by ({TARGET}, gpu, uuid, name, vendor) (\n  {name}\n)",
             (("method", "counter"), ("scope", "gpu"))),
        Rule("cpu_energy_joules_total", f"max by ({TARGET}, package, zone) (\n  {cpu}\n)"),
        Rule("cpu_info", f"max by ({TARGET}, package, zone) (\n  {cpu}\n) * 0 + 1", (("method", "counter"),)),
    ))  # fmt: skip


def _nvidia_gpu() -> Adapter:
    every, by = FIVE_MINUTES.every, f"{TARGET}, uuid"
    seconds = every.removesuffix("s")

    def board(metric: str) -> str:
        return f'max by ({by}) (label_replace({metric}, "uuid", "GPU-$1", "uuid", "(.+)"))'

    counter, watts = board("nvidia_smi_energy_joules_total"), board("nvidia_smi_power_draw_watts")
    so_far = f"(max by ({by}) (gpu_energy_joules_total) or {watts} * 0)"
    energy = f"{counter}\nor\n  {watts} * {seconds} + {so_far}"
    info = 'label_replace(nvidia_smi_gpu_info, "uuid", "GPU-$1", "uuid", "(.+)")'
    info = f'max by ({by}, name, driver) (\n  label_replace({info}, "driver", "$1", "driver_version", "(.+)")\n)'
    known = (("scope", "gpu"), ("vendor", "NVIDIA"))
    return Adapter("nvidia-gpu-exporter.yml", "utkuozdemir/nvidia_gpu_exporter (names of 1.15).", f"""\
Its NVML backend tells the energy counter. Its nvidia-smi backend tells power alone: that is added up here, every
{every} the last reading × {every}, and what happens in between is not seen. After a pause the sum starts at 0, as a
counter may.
""", (
        Rule("gpu_energy_joules_total", energy),
        Rule("gpu_power_watts", watts),
        Rule("gpu_power_limit_watts", board("nvidia_smi_enforced_power_limit_watts")),
        Rule("gpu_utilization_ratio", board("nvidia_smi_utilization_gpu_ratio")),
        Rule("gpu_info", f"{info}\nand on ({by}) {counter}", (("method", "counter"), *known)),
        Rule("gpu_info", f"{info}\nunless on ({by}) {counter}", (("method", "integrated"), *known)),
    ))  # fmt: skip


def _generating(server: Server, seconds: str, read: str, written: str) -> tuple[Rule, ...]:
    return (
        Rule("inference_tokens_total", server.counter(read), (("kind", "input"),)),
        Rule("inference_tokens_total", server.counter(written), (("kind", "output"),)),
        Rule("inference_work_units_total", server.counter(written), (("unit", "output_token"),)),
        Rule(SERVER_SECONDS, server.counter(seconds)),
    )


def _requests(server: Server, metric: str, outcome: str = "ok") -> Rule:
    return Rule("inference_requests_total", server.counter(metric), (("outcome", outcome),))


def _vllm() -> Adapter:
    server, ended = Server(GENERATION, "model_name"), "vllm:request_success_total"
    return Adapter("vllm.yml", "vLLM (names of 0.6 to 0.11, engine V1).", """\
finished_reason abort is a client that left, error is a failure; all others ended well.
""", (
        _requests(server, f'{ended}{{finished_reason!~"abort|error"}}'),
        _requests(server, f'{ended}{{finished_reason="abort"}}', "cancelled"),
        _requests(server, f'{ended}{{finished_reason="error"}}', "error"),
        *_generating(server, "vllm:request_inference_time_seconds_sum", "vllm:prompt_tokens_total",
                     "vllm:generation_tokens_total"),
    ))  # fmt: skip


def _sglang() -> Adapter:
    server = Server(GENERATION, "model_name")
    return Adapter("sglang.yml", "SGLang (names of 0.4 and 0.5, with --enable-metrics).", """\
The time of a request is from its arrival to its end: SGLang has no counter of the running time alone.
""", (
        _requests(server, "sglang:num_requests_total"),
        *_generating(server, "sglang:e2e_request_latency_seconds_sum", "sglang:prompt_tokens_total",
                     "sglang:generation_tokens_total"),
    ))  # fmt: skip


def _tgi() -> Adapter:
    server = Server(GENERATION, "")
    return Adapter("tgi.yml", "Hugging Face's text-generation-inference (names of 2.x and 3.x).", """\
It does not tell its model: give the target a label `model`, else the job's name stands for it.
""", (
        _requests(server, "tgi_request_success"),
        _requests(server, "tgi_request_failure", "error"),
        *_generating(server, "tgi_request_inference_duration_sum", "tgi_request_input_length_sum",
                     "tgi_request_generated_tokens_sum"),
    ))  # fmt: skip


def _tei() -> Adapter:
    server = Server(EMBEDDING, "")
    return Adapter("tei.yml", "Hugging Face's text-embeddings-inference (names of 1.x).", """\
It does not tell its model: give the target a label `model`, else the job's name stands for it. Give rerankers and
classifiers the label `task`. A request may hold many texts: each is a work unit.
""", (
        _requests(server, "te_request_success"),
        Rule("inference_work_units_total", server.counter("te_embed_success"), (("unit", "inference"),)),
        Rule("inference_tokens_total", server.counter("te_batch_next_tokens_sum"), (("kind", "input"),)),
        Rule(SERVER_SECONDS, server.counter("te_request_inference_duration_sum")),
    ))  # fmt: skip


def _triton() -> Adapter:
    server = Server(UNKNOWN, "model")

    def on_gpu(metric: str) -> str:
        return f'label_replace({metric}, "device", "$1", "gpu_uuid", "(.+)")'

    seconds = server.counter(on_gpu("nv_inference_compute_infer_duration_us"), " / 1e6")
    units = server.counter(on_gpu("nv_inference_count"))
    return Adapter("triton.yml", "NVIDIA's Triton Inference Server (names of 2.30 to 2.60).", """\
Where it tells gpu_uuid, that is the device. Give the target a label `task` where all its models are of one. An ensemble
counts a request of its own beside those of its parts, and has no computing time: its energy is with the parts.
""", (
        _requests(server, on_gpu("nv_inference_request_success")),
        _requests(server, on_gpu("nv_inference_request_failure"), "error"),
        Rule("inference_work_units_total", units, (("unit", "inference"),)),
        Rule(SERVER_SECONDS, seconds),
    ))  # fmt: skip


def _ray() -> Adapter:
    server, whole = Server(UNKNOWN, "deployment", keep="replica"), Server(UNKNOWN, "deployment")
    return Adapter("ray-serve.yml", "Ray Serve (names of 2.10 and newer).", """\
A deployment is a model here. Its counter tells no failures apart. With vLLM inside, take vllm.yml for its own endpoint
instead, not both. Replicas come and go behind one endpoint, so their requests stay apart (label `replica`). Their
seconds do not: where deployments share a device, one that loses a replica has too large a share for a window.
""", (
        _requests(server, "ray_serve_deployment_request_counter_total"),
        Rule(SERVER_SECONDS, whole.counter("ray_serve_deployment_processing_latency_ms_sum", " / 1000")),
    ))  # fmt: skip


def _servers() -> Adapter:
    gpus = f"group by ({PLACE}, device) (label_replace(gpu_energy_joules_total, {GPU_DEVICE}))"
    cpus = f'group by ({PLACE}, device) (label_replace(cpu_energy_joules_total{{zone="package"}}, {CPU_DEVICE}))'
    mapped = f"max by ({TARGET}, device) ({MAPPING})"
    unplaced = f'{SERVER_SECONDS}{{device=""}}\nunless on ({TARGET})\n  {mapped}'
    return Adapter("servers.yml", "Which server runs on which device. Every adapter of a server needs this file.", """\
The device is, in this order: the label `device` that the server or its target has; the devices of the setting
instance_device:inference_server:mapping; all GPUs of the node (without any, its CPU packages), where one model is alone
on the node, or the node has one device. Else it is not known, and there is no energy: several models on several
devices need one of the first two.
""", (
        Rule(DEVICES, f"  {gpus}\nor\n  {cpus}\n  unless on ({PLACE}) {gpus}"),
        Rule(UNPLACED, unplaced),
        Rule(REQUEST_SECONDS, "\nor\n".join(_placed(mapped))),
    ))  # fmt: skip


def _placed(mapped: str) -> tuple[str, ...]:
    """Return a server's seconds by device, for each way to know it; PromQL joins one to many, so one side is alone."""
    untold, target = f'{SERVER_SECONDS}{{device=""}}', f"on ({TARGET})"
    place = f"on ({PLACE})"
    only_one = f"({UNPLACED} and {place} count by ({PLACE}) ({SERVER_SECONDS}) == 1)"
    return (
        f'  {SERVER_SECONDS}{{device!=""}}',
        f"  {mapped}\n* {target} group_left (task, model)\n  {_alone(untold, TARGET)}",
        f"  {untold}\n* {target} group_left (device)\n  {_alone(mapped, TARGET)}",
        f"  {DEVICES}\n* {place} group_left (instance, task, model)\n  {only_one}",
        f"  {UNPLACED}\n* {place} group_left (device)\n  {_alone(DEVICES, PLACE)}",
    )


def _alone(series: str, by: str) -> str:
    return f"({series} and on ({by}) count by ({by}) ({series}) == 1)"

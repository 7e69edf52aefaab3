"""Two independent ways to the same number, over the real programs: loadgen's bracket and PromQL."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stack import StartStack

pytestmark = [pytest.mark.slow, pytest.mark.prometheus]

SCRAPE_SECONDS = 1.0
TASK = "text-classification"


def run_json(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return loaded


def promql_joules_per_inference(energy: str, start: float, end: float) -> str:
    """Return the exact-delta expression: energy between the edges over ok requests between the edges."""
    ok = f'inference_requests_total{{task="{TASK}",outcome="ok"}}'
    return (
        f"(sum({energy} @ {end:.3f}) - sum({energy} @ {start:.3f})) / (sum({ok} @ {end:.3f}) - sum({ok} @ {start:.3f}))"
    )


def assert_agreement(run: dict[str, Any], promql: float) -> None:
    """Hold PromQL's figure, and the one that loadgen took, against the bound I × P_idle ÷ E + 1 %."""
    (device,) = run["devices"]
    bound = SCRAPE_SECONDS * device["idle_watts"] / device["joules"] + 0.01
    gross = run["joules_per_inference"]["gross"]["value"]
    assert gross == pytest.approx(promql, rel=bound)
    assert abs(run["crosscheck"]["difference_ratio"]) <= run["crosscheck"]["bound_ratio"]
    assert run["crosscheck"]["bound_ratio"] == pytest.approx(bound, rel=0.05)


def test_simulated_gpu_agrees_with_its_truth_and_with_promql(start_stack: StartStack, tmp_path: Path) -> None:
    """Gross joules of a 30 s window are within 1 % of the simulated GPU's truth, and PromQL gives the same."""
    truth = tmp_path / "truth.jsonl"
    stack = start_stack(["--meter", "simulated", "--simulated.truth", str(truth)], TASK, "GPU-simulated-0")
    ended = stack.loadgen("--task", TASK, "--duration", "30s", "--warmup", "2s", "--idle", "5s", "--output", "out")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "SIMULATED" in ended.stdout
    run = run_json(tmp_path / "out")
    assert run["verdict"] == "valid"

    start, end = run["window"]["start"], run["window"]["end"]
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    ticks = [line for line in lines if "joules" in line]  # the others are of spans
    inside = [t["joules"] for t in ticks if t["start_seconds"] > start - 0.05 and t["end_seconds"] < end + 0.05]
    assert end - start > 30
    gross = run["joules_per_inference"]["gross"]["value"]
    assert run["joules_per_inference"]["attributed"]["value"] < gross
    assert gross * run["requests"]["ok"] == pytest.approx(sum(inside), rel=0.01)

    energy = 'gpu_energy_joules_total{uuid="GPU-simulated-0"}'
    assert_agreement(run, stack.value(promql_joules_per_inference(energy, start, end)))


def test_cpu_estimate_agrees_with_promql(start_stack: StartStack, tmp_path: Path) -> None:
    """On a machine with nothing but a CPU the two ways agree as well, and the figure says that it is an estimate."""
    stack = start_stack(["--meter", "estimate"], TASK, "cpu-0")
    ended = stack.loadgen("--task", TASK, "--duration", "15s", "--warmup", "2s", "--idle", "5s", "--output", "out")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    run = run_json(tmp_path / "out")
    assert [device["method"] for device in run["devices"]] == ["estimated"]
    assert run["attribution"]["requests"] == run["requests"]["ok"]
    energy = 'cpu_energy_joules_total{package="0",zone="package"}'
    assert_agreement(
        run, stack.value(promql_joules_per_inference(energy, run["window"]["start"], run["window"]["end"]))
    )

    recorded = 'task_model:inference_energy_joules_per_inference:ratio5m{task="text-classification"}'
    assert stack.value(recorded) > 0

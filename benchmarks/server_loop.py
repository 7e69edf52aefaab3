"""The model without a server: batches that our server made, computed again in a loop, in this process.

    python -m benchmarks.server_loop TASK FOLDER

Reads a line of JSON, ``{"texts": […], "batches": [[place, …], …]}``, and writes one: CPU seconds of each of two loops
over the same batches, ``plain`` (what a peer calls, one tokenizer call for a batch) and ``tasks`` (our own stages:
prepare, run and finish, and the reply as JSON). What a server adds is measured elsewhere.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.server_peers.work import WORK
from benchmarks.server_programs import PARAMETERS

Batches = Sequence[Sequence[str]]


def plain(task: str, folder: Path) -> Callable[[Sequence[str]], object]:
    """Return a loop's body that calls the model as peers do."""
    work = WORK[task](folder)

    def run(texts: Sequence[str]) -> object:
        return [each if isinstance(each, bytes) else json.dumps(each).encode() for each in work(texts)]

    return run


def tasks(task: str, folder: Path) -> Callable[[Sequence[str]], object]:
    """Return a loop's body that calls our own stages."""
    from perjoule_server.tasks.base import ModelSpec, SilentWork, TaskRequest
    from perjoule_server.tasks.loaders import load_task

    ours = load_task(ModelSpec("bench", task, str(folder), "local", "hub"), "cpu")
    parameters = PARAMETERS[task]

    def run(texts: Sequence[str]) -> object:
        prepared = [ours.prepare(TaskRequest(text, parameters)) for text in texts]
        outputs = [ours.finish(*both).output for both in zip(prepared, ours.run(prepared, SilentWork()), strict=True)]
        return [each if isinstance(each, bytes) else json.dumps(each).encode() for each in outputs]

    return run


def cpu_seconds(run: Callable[[Sequence[str]], object], batches: Batches) -> float:
    """Return the CPU time of a loop over ``batches``."""
    start = time.process_time()
    for batch in batches:
        run(batch)
    return time.process_time() - start


def main() -> None:
    """Answer each line until the input ends."""
    import torch

    torch.set_num_threads(1)
    task, folder = sys.argv[1], Path(sys.argv[2])
    loops = {"plain": plain(task, folder), "tasks": tasks(task, folder)}
    for line in sys.stdin:
        asked = json.loads(line)
        batches = [[asked["texts"][place] for place in batch] for batch in asked["batches"]]
        for run in loops.values():
            run(batches[0])
        print(json.dumps({name: cpu_seconds(run, batches) for name, run in loops.items()}), flush=True)


if __name__ == "__main__":
    main()

"""What parameters change in an answer, task by task."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from perjoule_server.tasks.base import SilentWork, Task, TaskRequest
from tests.server.tasks.material import TEXT, answer, request

Load = Callable[[str], Task]


def output(load: Load, task: str, **parameters: Any) -> Any:
    """Return the reply to a task's first request."""
    return answer(load(task), request(task, 0, **parameters)).output


def test_activations(load: Load) -> None:
    """Softmax scores add up to 1, sigmoid scores lie in (0, 1), and without either they are the logits."""
    by_name = {
        name: {one["label"]: one["score"] for one in output(load, "text-classification", function_to_apply=name)[0]}
        for name in ("softmax", "sigmoid", "none")
    }
    difference = by_name["none"]["POSITIVE"] - by_name["none"]["NEGATIVE"]
    assert sum(by_name["softmax"].values()) == pytest.approx(1)
    assert by_name["softmax"]["POSITIVE"] == pytest.approx(1 / (1 + np.exp(-difference)))
    assert by_name["sigmoid"]["POSITIVE"] == pytest.approx(1 / (1 + np.exp(-by_name["none"]["POSITIVE"])))


def test_top_k(load: Load) -> None:
    """top_k bounds the results, best first; more than there are is all there are."""
    assert [len(output(load, "text-classification", top_k=k)[0]) for k in (1, 2, 900)] == [1, 2, 2]
    assert [len(output(load, "image-classification", top_k=k)) for k in (1, 3, 900)] == [1, 3, 8]
    scores = [one["score"] for one in output(load, "fill-mask", top_k=50)]
    assert (len(scores), scores) == (50, sorted(scores, reverse=True))


def test_masks_of_both_spellings(load: Load) -> None:
    """[MASK] and <mask> are the same mask."""
    replies = [
        answer(load("fill-mask"), TaskRequest(f"The film was {mask}.", {})).output for mask in ("[MASK]", "<mask>")
    ]
    assert replies[0] == replies[1]
    assert replies[0][0]["sequence"] == f"The film was{replies[0][0]['token_str']}."


def test_targets(load: Load) -> None:
    """With targets only those are scored, as of the whole vocabulary."""
    found = output(load, "fill-mask", targets=["river", "dog", "river"])
    everything = {one["token"]: one["score"] for one in output(load, "fill-mask", top_k=1000)}
    assert len(found) == 2
    assert all(everything.get(one["token"], one["score"]) == one["score"] for one in found)


def test_entities_of_each_strategy(load: Load) -> None:
    """Tokens with strategy none, groups with the others; each stands where it says it does."""
    for strategy in ("none", "simple", "first", "average", "max"):
        found = output(load, "token-classification", aggregation_strategy=strategy)
        name = "entity" if strategy == "none" else "entity_group"
        assert [one["word"] for one in found] == [TEXT[one["start"] : one["end"]] for one in found]
        assert all(name in one and 0 < one["score"] <= 1 for one in found)


def test_ignored_labels(load: Load) -> None:
    """Ignored labels are left out, with or without their B-."""
    found = output(load, "token-classification", ignore_labels=[])
    kinds = {one["entity_group"] for one in found}
    some = min(kinds)
    rest = output(load, "token-classification", ignore_labels=[some])
    assert {one["entity_group"] for one in rest} == kinds - {some}


def test_answers_stand_in_the_context(load: Load) -> None:
    """Extractive answers are stretches of the context, best first, no two the same, no longer than asked."""
    found = output(load, "question-answering", top_k=5, max_answer_len=3)
    assert [one["answer"] for one in found] == [TEXT[one["start"] : one["end"]] for one in found]
    assert len({(one["start"], one["end"]) for one in found}) == len(found) == 5
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    words = [one["answer"].split() for one in found]
    assert all(1 <= len(several) <= 3 for several in words)
    assert isinstance(output(load, "question-answering"), dict)


def test_impossible_answers(load: Load) -> None:
    """The empty answer competes only where it is asked for."""
    several = output(load, "question-answering", top_k=100, max_answer_len=1, handle_impossible_answer=True)
    empty = [one for one in several if not one["answer"]]
    without = output(load, "question-answering", top_k=100, max_answer_len=1)
    assert ([(one["start"], one["end"]) for one in empty], [one for one in without if not one["answer"]]) == (
        [(0, 0)],
        [],
    )


def test_embeddings(load: Load) -> None:
    """One vector a text; normalised on request; truncated on request, from either side."""
    (vector,) = output(load, "feature-extraction")
    (unit,) = output(load, "feature-extraction", normalize=True)
    assert len(vector) == 128
    assert float(np.linalg.norm(unit)) == pytest.approx(1)
    long = TaskRequest("river " * 600 + "dog", {"truncate": True})
    right, left = (
        load("feature-extraction").prepare(TaskRequest(long.inputs, {"truncate": True, "truncation_direction": side}))
        for side in ("right", "left")
    )
    assert (right.length, left.length) == (512, 512)
    ends = {tuple(one.payload.row["input_ids"])[::511] for one in (right, left)}
    assert ends == {(0, 2)}
    assert right.payload.row != left.payload.row


@pytest.mark.parametrize(("task", "cut"), [("feature-extraction", {"truncate": True}),
                                           ("feature-extraction", {"truncate": True, "truncation_direction": "left"}),
                                           ("text-generation", {"truncate": 50, "max_new_tokens": 2}),
                                           ("summarization", {"truncation": "longest_first"})])  # fmt: skip
def test_truncation_reads_no_more_than_it_keeps(load: Load, task: str, cut: dict[str, Any]) -> None:
    """Of a text of megabytes the same tokens are kept as of the stretch that they come from."""
    words = " ".join(f"river {n}" for n in range(40_000))
    near = words[-100_000:] if "truncate" in cut and cut != {"truncate": True} else words[:100_000]
    long, short = (load(task).prepare(TaskRequest(text, cut)) for text in (words, near))
    assert (long.length, long.payload.row) == (short.length, short.payload.row)


def test_threshold(load: Load) -> None:
    """A higher threshold leaves the surer boxes of a lower one."""
    low, high = (output(load, "object-detection", threshold=value) for value in (0.3, 0.7))
    assert [one for one in low if one["score"] > 0.7] == high


def test_pictures_have_the_size_and_seed(load: Load) -> None:
    """Equal seeds give equal pictures, others give others; requests of other sizes never share a batch."""
    task = load("text-to-image")
    first, again, other = (output(load, "text-to-image", seed=seed) for seed in (1, 1, 2))
    assert (first == again, first == other) == (True, False)
    sizes = [task.prepare(request("text-to-image", 0, width=width)).key for width in (64, 64, 72)]
    assert (sizes[0] == sizes[1], sizes[0] == sizes[2]) == (True, False)


def test_labels_that_begin_alike_share(load: Load) -> None:
    """All labels are scored, the scores add up to 1, and labels with one first token share its probability."""
    labels = ["river", "river bank", "music"]
    (found,) = output(load, "zero-shot-text-classification", candidate_labels=labels)
    scores = {one["label"]: one["score"] for one in found}
    assert (set(scores), sum(scores.values())) == (set(labels), pytest.approx(1))
    assert scores["river"] == pytest.approx(scores["river bank"])


def test_written_answers_are_located(load: Load) -> None:
    """An answer that stands in the context says where; another has the empty span."""
    task = load("zero-shot-question-answering")
    reply = answer(task, request("zero-shot-question-answering")).output
    context = f"It is said: {reply['answer'].upper()}. Nobody knows why."
    prepared = task.prepare(TaskRequest({"question": "What is said?", "context": context}, {}))
    written = task.run([task.prepare(request("zero-shot-question-answering"))], SilentWork())[0]
    located = task.finish(prepared, written).output
    assert (located["start"], located["end"]) == (12, 12 + len(reply["answer"]))
    assert (reply["start"], reply["end"]) == (0, 0)
    assert 0 < reply["score"] <= 1


def test_several_written_answers_are_a_list_of_the_likeliest(load: Load) -> None:
    """With top_k an answer is the same greedy one, in a list where more than one was asked for."""
    task = "zero-shot-question-answering"
    alone = output(load, task)
    assert [output(load, task, top_k=k) for k in (1, 3)] == [alone, [alone]]

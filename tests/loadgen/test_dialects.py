"""Bodies as each kind of server reads them, and what its answers tell."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from perjoule.errors import UsageError
from perjoule.workloads import WORKLOADS
from perjoule_loadgen.dialect import Answer, Ask, Dialect, Prepared
from perjoule_loadgen.dialects import DIALECTS
from perjoule_loadgen.inputs import load_inputs
from perjoule_loadgen.media import image_size
from perjoule_loadgen.ours import Ours
from perjoule_loadgen.records import Result
from perjoule_loadgen.servertokens import Written, between, written
from perjoule_loadgen.template import Template, read_template
from perjoule_loadgen.work import asked_for, name, told, unknown, wrong_work

NO_HEADERS: dict[str, str] = {}


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\0\0\0"


def prepared(api: str, task: str, *, stream: bool = False, extra: Any = None, **parameters: int) -> dict[str, Any]:
    """The body that an API gets for the first built-in input of a task."""
    asked = {**WORKLOADS[task].parameters, **parameters}
    item = DIALECTS[api].prepare(load_inputs(task, None)[0], Ask(task, asked, "m", stream, extra))
    body: dict[str, Any] = json.loads(item.body)
    return body


def test_every_dialect_prepares_what_it_has() -> None:
    """No task of a dialect that its built-in inputs do not fit; what streams is a task of it."""
    for dialect in DIALECTS.values():
        assert dialect.streams <= dialect.tasks <= set(WORKLOADS)
        for task in dialect.tasks:
            ask = Ask(task, WORKLOADS[task].parameters, "m", stream=task in dialect.streams)
            for item in load_inputs(task, None):
                assert dialect.prepare(item, ask).body


def test_a_completion() -> None:
    """Lengths by the names that vLLM has; sampling off."""
    body = prepared("openai-completions", "text-generation")
    assert len(body.pop("prompt").split()) == 20
    assert body == {"model": "m", "temperature": 0, "max_tokens": 10, "min_tokens": 10, "ignore_eos": True}
    ranged = prepared("openai-completions", "summarization", stream=True)
    assert ranged["prompt"].startswith("summarize the following text: ")
    assert (ranged["min_tokens"], ranged["max_tokens"], "ignore_eos" in ranged) == (10, 15, False)
    assert (ranged["stream"], ranged["stream_options"]) == (True, {"include_usage": True})


def test_a_chat() -> None:
    """A message of one user; an image as a data URL, so that the server fetches nothing."""
    (message,) = prepared("openai-chat", "zero-shot-question-answering")["messages"]
    assert message["role"] == "user"
    assert message["content"].endswith('". Answer:')
    assert "?? " not in message["content"]
    (message,) = prepared("openai-chat", "image-to-text", max_new_tokens=5)["messages"]
    kind, _, data = message["content"][1]["image_url"]["url"].partition(";base64,")
    assert kind == "data:image/jpeg"
    assert base64.b64decode(data).startswith(b"\xff\xd8")


def test_labels_are_in_the_prompt() -> None:
    """Zero-shot classification names its labels."""
    body = prepared("openai-completions", "zero-shot-text-classification")
    assert body["prompt"].startswith("which of positive, negative describes the following text best? ")
    assert body["max_tokens"] == 1


def test_members_are_added_and_taken_out() -> None:
    """``--extra-body`` wins over what is sent by default, in every dialect."""
    body = prepared(
        "openai-completions", "text-generation", extra={"ignore_eos": None, "temperature": 0.5, "user": "x"}
    )
    assert (body["temperature"], body["user"], "ignore_eos" in body) == (0.5, "x", False)
    assert "parameters" not in prepared("perjoule", "fill-mask", extra={"parameters": None})
    assert prepared("tei", "feature-extraction", extra={"truncate": True})["truncate"] is True


def test_images_and_embeddings() -> None:
    """Size and steps are asked for, and the answer comes as base64."""
    body = prepared("openai-images", "text-to-image", width=64, height=32, num_inference_steps=4)
    del body["prompt"]
    assert body == {"model": "m", "n": 1, "response_format": "b64_json", "size": "64x32", "num_inference_steps": 4}
    assert set(prepared("openai-embeddings", "feature-extraction")) == {"model", "input"}
    assert set(prepared("tei", "feature-extraction")) == {"inputs"}


def test_a_parameter_that_openai_does_not_have(tmp_path: Path) -> None:
    """It is named rather than left out."""
    path = tmp_path / "in.jsonl"
    path.write_text('{"inputs": "x", "parameters": {"num_beams": 4}}')
    with pytest.raises(UsageError, match="no parameter num_beams; give it with --extra-body"):
        DIALECTS["openai-chat"].prepare(load_inputs("text-generation", path)[0], Ask("text-generation", {}))


def image(data: bytes) -> dict[str, Any]:
    return {"data": [{"b64_json": base64.b64encode(data).decode()}]}


USAGE = {"prompt_tokens": 7, "completion_tokens": 3}
ANSWERS: list[tuple[str, str, Any, Answer]] = [
    ("openai-completions", "text-generation", {"choices": [{"text": "x"}], "usage": USAGE}, Answer(3, 7)),
    ("openai-completions", "text-generation", {"choices": [{"text": ""}]}, Answer()),
    ("openai-chat", "summarization", {"choices": [{"message": {"content": "x"}}], "usage": USAGE}, Answer(3, 7)),
    ("openai-chat", "summarization", {"choices": [{"message": {"reasoning_content": "x"}}], "usage": None}, Answer()),
    ("openai-embeddings", "feature-extraction", {"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 4}},
     Answer(None, 4)),
    ("openai-embeddings", "feature-extraction", {"data": [{"embedding": "AAAA"}]}, Answer()),
    ("openai-images", "text-to-image", image(png(640, 480)), Answer(size=(640, 480))),
    ("tei", "feature-extraction", [[0.1, 0.2]], Answer()),
    ("tei", "text-classification", [{"label": "x", "score": 0.5}], Answer()),
]  # fmt: skip


@pytest.mark.parametrize(("api", "task", "value", "answer"), ANSWERS)
def test_answers_tell_what_they_tell(api: str, task: str, value: Any, answer: Answer) -> None:
    """Tokens where there is a usage, the image's own size; what is not told is unknown."""
    assert DIALECTS[api].read(task, NO_HEADERS, json.dumps(value).encode()) == answer


@pytest.mark.parametrize(
    ("api", "task"), [(dialect.name, task) for dialect in DIALECTS.values() for task in sorted(dialect.tasks)]
)
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"{}", b'"text"', b'{"error": "x"}', b'{"choices": []}', b'{"choices": [{"text": 1}]}',
     b'{"choices": [{"message": null}]}', b'{"data": [{"embedding": []}]}', b'{"data": [{"b64_json": "?"}]}',
     b'{"data": [{"b64_json": "AAAA"}]}', b"\xff", b"[" * 100_000],
)  # fmt: skip
def test_anything_else_is_no_answer(api: str, task: str, body: bytes) -> None:
    """Empty, broken, foreign and hostile bodies are of the wrong shape, and no crash."""
    assert DIALECTS[api].read(task, NO_HEADERS, body) is None


def test_tokens_in_headers() -> None:
    """Ours and TEI tell tokens there; what is no number is unknown."""
    ours, tei = Ours(), DIALECTS["tei"]
    headers = {"x-output-tokens": "12", "x-input-tokens": "30"}
    assert ours.read("summarization", headers, b'[{"summary_text": "s"}]') == Answer(12, 30)
    assert tei.read("feature-extraction", {"x-compute-tokens": "8"}, b"[[1.0]]") == Answer(None, 8)
    for odd in ("", "-1", "1e3", "٣", "9" * 30, "x"):
        assert tei.read("feature-extraction", {"x-compute-tokens": odd}, b"[[1.0]]") == Answer()


# --- Templates


def template(tmp_path: Path, text: str) -> Template:
    path = tmp_path / "route.toml"
    path.write_text(text, encoding="utf-8")
    return read_template(path)


GENERATE = """
path = "/v2/models/m/{task}"
model = "theirs"
[headers]
x-priority = "low"
[body]
text_input = "Q: {inputs}"
[body.parameters]
max_tokens = "{max_new_tokens}"
tags = ["{model}", 3]
[answer]
result = "outputs.0.text"
output_tokens = "usage.written"
"""


def test_a_template(tmp_path: Path) -> None:
    """Placeholders keep their type where they stand alone, and are text within a text; paths lead to what is told."""
    made = template(tmp_path, GENERATE)
    item = load_inputs("text-generation", None)[0]
    body = json.loads(made.prepare(item, Ask("text-generation", {"max_new_tokens": 9}, "m")).body)
    assert body["parameters"] == {"max_tokens": 9, "tags": ["m", 3]}
    assert body["text_input"] == f"Q: {json.loads(item.payload)}"
    assert (made.path("text-generation"), made.headers) == ("/v2/models/m/text-generation", {"x-priority": "low"})
    answer = {"outputs": [{"text": "x"}], "usage": {"written": 9}}
    assert made.read("text-generation", NO_HEADERS, json.dumps(answer).encode()) == Answer(9)
    others: list[Any] = [{"outputs": []}, {"outputs": [{"text": None}]}, {"outputs": {"0": 1}}, [], 3]
    for other in others:
        assert made.read("text-generation", NO_HEADERS, json.dumps(other).encode()) is None


def test_a_template_of_media(tmp_path: Path) -> None:
    """An image goes as it is, or as base64 where a placeholder stands."""
    item = load_inputs("image-classification", None)[0]
    raw = template(tmp_path, 'path = "/x"\nbody = "raw"')
    sent = raw.prepare(item, Ask("image-classification", {}))
    assert (sent.body, sent.content_type) == (item.payload, "image/jpeg")
    encoded = template(tmp_path, 'path = "/x"\n[body]\nimage = "data:{media_type};base64,{inputs}"')
    value = json.loads(encoded.prepare(item, Ask("image-classification", {})).body)["image"]
    assert value == f"data:image/jpeg;base64,{base64.b64encode(item.payload).decode()}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", 'path must be a text that begins with "/"'),
        ('path = "x"', "begins with"),
        ("path = ", "route.toml: "),
        ('path = "/x"\nbodi = 1', "unknown key bodi; there are answer, body"),
        ('path = "/x"\nbody = 1', 'body must be a table, or "raw"'),
        ('path = "/x"\n[answer]\ntext = "a"', "unknown key answer.text"),
        ('path = "/x"\n[headers]\na = 1', "headers must be a table of texts"),
        ('path = "/x"\nmodel = 1', "model must be a text"),
    ],
)
def test_templates_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    """The message names the file and says what to write."""
    with pytest.raises(UsageError, match=says):
        template(tmp_path, text)
    with pytest.raises(UsageError, match="No such file"):
        read_template(tmp_path / "none.toml")


def test_a_placeholder_that_means_nothing(tmp_path: Path) -> None:
    """It is refused with those that there are, before anything is sent."""
    made = template(tmp_path, 'path = "/x"\n[body]\na = "{prompt}"')
    with pytest.raises(UsageError, match=r"there is no \{prompt\} for this input; there are inputs, "):
        made.prepare(load_inputs("fill-mask", None)[0], Ask("fill-mask", {}))


# --- Images by their header


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(512, 384), (512, 384)),
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x11\x08\0\x20\0\x40\3", (64, 32)),
        (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x3f\0\0" + b"\x1f\0\0", (64, 32)),
        (b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + struct.pack("<I", 63 | 31 << 14), (64, 32)),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", 64, 32), (64, 32)),
        (png(0, 5), None),
        (png(1, 2**31), None),
        (png(1, 1)[:20], None),
        (b"\xff\xd8\xff\xda\0\x04abcd", None),
        (b"\xff\xd8\xff", None),
        (b"GIF89a\x01\0\x01\0", None),
        (b"", None),
    ],
)
def test_the_size_of_an_image(data: bytes, size: tuple[int, int] | None) -> None:
    """PNG, JPEG and the three kinds of WebP by their headers; anything else is unknown, and no crash."""
    assert image_size(data) == size


def test_sizes_of_the_built_in_photographs() -> None:
    """All are of the study's 640×480."""
    assert {image_size(item.payload) for item in load_inputs("image-to-text", None)} == {(640, 480)}


# --- The work asked for, and the work told


def item(**asked: Any) -> Prepared:
    return Prepared("x", b"", "", **asked)


def answered(tokens: int | None = None, read: int | None = None, size: tuple[int, int] | None = None) -> Result:
    return Result(0, 0, 1, 200, "", "", tokens, 0, read, None, size)


@pytest.mark.parametrize(
    ("asked", "result", "wrong"),
    [
        (item(min_tokens=10, max_tokens=15), answered(12), None),
        (item(min_tokens=10, max_tokens=15), answered(9), "9 output tokens instead of 10 to 15"),
        (item(min_tokens=10), answered(9), "9 output tokens instead of 10+"),
        (item(max_tokens=5), answered(6), "6 output tokens instead of 0 to 5"),
        (item(max_tokens=5), answered(), None),
        (item(size=(64, 64)), answered(size=(64, 64)), None),
        (item(size=(64, 64)), answered(size=(32, 64)), "an image of 32x64 instead of 64x64"),
        (item(input_tokens=100), answered(read=102), None),
        (item(input_tokens=100), answered(read=103), "103 input tokens instead of 100"),
    ],
)
def test_work_that_was_not_asked_for(asked: Prepared, result: Result, wrong: str | None) -> None:
    """An answer of another length, or an image of another size, is other work; one that does not tell is none."""
    assert wrong_work(asked, result) == wrong


def test_what_no_answer_tells_is_unknown() -> None:
    """Steps never are told; tokens and sizes are unknown as soon as one answer does not tell them."""
    items = [item(max_tokens=5, size=(64, 64), steps=4)]
    full = told(items, [answered(5, size=(64, 64))])
    assert unknown(items, full) == ("steps",)
    assert unknown(items, told(items, [answered(5), answered(None, size=(64, 64))])) == (
        "output_tokens",
        "image_size",
        "steps",
    )
    failed = Result(0, 0, 1, 500, "5xx", "", None, 0)
    assert told(items, [failed]).answers == 0


@pytest.mark.parametrize(
    ("items", "title"),
    [
        ([item(min_tokens=10, max_tokens=15)], "t, 10-15 tokens"),
        ([item(min_tokens=128, max_tokens=128, input_tokens=64)], "t, 64 input tokens, 128 tokens"),
        ([item(max_tokens=65)], "t, up to 65 tokens"),
        ([item(size=(512, 512), steps=50)], "t, 512x512, 50 steps"),
        ([item(audio_seconds=4.0), item(audio_seconds=5.0)], "t, 4.5 s of audio"),
        ([item()], "t"),
    ],
)
def test_work_is_part_of_the_name(items: list[Prepared], title: str) -> None:
    """Results with the same name are of like work."""
    assert name("t", items) == title
    assert set(asked_for(items)) == {"output_tokens", "input_tokens", "image_size", "steps", "audio_seconds"}


# --- Tokens by the server's own counters

VLLM = """\
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{model_name="m"} 120.0
# TYPE vllm:request_success_total counter
vllm:request_success_total{finished_reason="stop",model_name="m"} 3.0
vllm:request_success_total{finished_reason="length",model_name="m"} 9.0
"""


def test_vllm_s_counters() -> None:
    """Tokens written and requests that ended, over all reasons; other expositions have none."""
    assert written(VLLM) == Written(120.0, 12.0)
    assert written("up 1\n") is None


@pytest.mark.parametrize(
    ("after", "answered_", "tokens"),
    [(Written(220, 22), 10, 100), (Written(220, 23), 10, None), (Written(20, 22), 10, None), (None, 10, None),
     (Written(120, 12), 0, None)],
)  # fmt: skip
def test_the_server_s_tokens_are_this_run_s_or_nobody_s(
    after: Written | None, answered_: int, tokens: int | None
) -> None:
    """Only where exactly this run's requests were counted."""
    assert between(Written(120, 12), after, answered_) == tokens


def test_dialects_can_be_told_apart() -> None:
    """Each name is one kind of server, and a dialect is a value: equal to another of its kind."""
    kinds: list[Dialect] = list(DIALECTS.values())
    assert len({type(kind) for kind in kinds}) == len(kinds) == len(DIALECTS)
    assert Ours() == DIALECTS["perjoule"]

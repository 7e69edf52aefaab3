"""OpenAI's own client against the real program."""

import asyncio
import base64
import io
import struct
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image

from tests.server.fakes import Running, eventually

WRITER = "tiny/text-generation"
MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is the heat pump?"}]


@pytest.fixture(scope="module")
def client(served: Running) -> openai.OpenAI:
    """The client; it does not try again, so that every refusal is seen."""
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=60)


def test_completions(client: openai.OpenAI) -> None:
    """The text that the task's own route gives, why it ended, and the tokens."""
    made = client.completions.create(model=WRITER, prompt="Once upon a time", max_tokens=7, temperature=0)
    assert made.object == "text_completion"
    assert (made.model, made.choices[0].finish_reason) == (WRITER, "length")
    assert made.usage is not None
    assert made.usage.completion_tokens == 7
    assert made.usage.total_tokens == made.usage.prompt_tokens + 7
    assert made.usage.model_extra == {"energy_quality": "unknown"}


def test_completions_are_the_tasks_own(client: openai.OpenAI, served: Running) -> None:
    """Greedy text is the same by both routes; ``echo`` puts the prompt before it."""
    made = client.completions.create(model=WRITER, prompt="Once upon", max_tokens=9, temperature=0, echo=True)
    own = served.infer("text-generation", "Once upon", {"max_new_tokens": 9}).json[0]["generated_text"]
    assert made.choices[0].text == "Once upon" + own


def test_several_prompts_and_choices(client: openai.OpenAI) -> None:
    """Choices of each prompt in its order; a seed gives each its own, and the same ones again."""

    def texts() -> list[str]:
        made = client.completions.create(model=WRITER, prompt=["One", "Two"], n=3, max_tokens=8, seed=5)
        assert [choice.index for choice in made.choices] == list(range(6))
        return [choice.text for choice in made.choices]

    first = texts()
    assert first == texts()
    assert len(set(first)) == 6


def test_stop_strings_are_left_out(client: openai.OpenAI) -> None:
    """The text ends before its stop string, which was its reason to end."""
    whole = client.completions.create(model=WRITER, prompt="Once", max_tokens=30, temperature=0).choices[0].text
    stop = whole[5:8]
    made = client.completions.create(model=WRITER, prompt="Once", max_tokens=30, temperature=0, stop=["\n\n", stop])
    assert made.choices[0].text == whole[: whole.index(stop)]
    assert made.choices[0].finish_reason == "stop"


def test_lengths_that_vllm_knows(client: openai.OpenAI) -> None:
    """``ignore_eos`` and ``min_tokens`` are honoured, for those who measure."""
    made = client.completions.create(
        model=WRITER, prompt="Once", max_tokens=33, extra_body={"ignore_eos": True, "min_tokens": 2, "top_k": 3}
    )
    assert made.usage is not None
    assert made.usage.completion_tokens == 33


def test_chat(client: openai.OpenAI) -> None:
    """One message of the assistant's."""
    made = client.chat.completions.create(model=WRITER, messages=MESSAGES, max_completion_tokens=6, seed=1)
    assert made.object == "chat.completion"
    assert (made.choices[0].message.role, made.choices[0].finish_reason) == ("assistant", "length")
    assert made.usage is not None
    assert made.usage.completion_tokens == 6
    parts: Any = [{**MESSAGES[0]}, {"role": "user", "content": [{"type": "text", "text": MESSAGES[1]["content"]}]}]
    again = client.chat.completions.create(model=WRITER, messages=parts, max_tokens=6, seed=1)
    assert again.choices[0].message.content == made.choices[0].message.content


@pytest.mark.parametrize("stop", [None, ["e"], ["zzz", "th", "a"]])
def test_a_streamed_chat_is_the_same_text(client: openai.OpenAI, stop: Any) -> None:
    """Role first, then the text in pieces, then the reason, then the usage where it is asked for."""
    asked: Any = {"model": WRITER, "messages": MESSAGES, "max_tokens": 40, "seed": 2, "stop": stop}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 4
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    assert {chunk.usage for chunk in chunks[:-1]} == {None}


@pytest.mark.parametrize("wanted", [None, False])
def test_the_last_chunk_tells_the_usage(client: openai.OpenAI, wanted: bool | None) -> None:  # noqa: FBT001 (a case)
    """Unless the client says that it wants none."""
    more: Any = {} if wanted is None else {"stream_options": {"include_usage": wanted}}
    made = client.completions.create(model=WRITER, prompt="Once", max_tokens=5, stream=True, **more)
    last = list(made)[-1]
    assert last.choices[0].finish_reason == "length"
    assert (last.usage is not None) == (wanted is None)


def test_a_client_that_leaves_a_stream_frees_its_place(client: openai.OpenAI, served: Running) -> None:
    """The device stops writing for it: it is counted as cancelled long before it would have ended."""
    labels = {"task": "text-generation", "model": WRITER}
    before = served.metric("inference_requests_total", **labels, outcome="cancelled")
    written = served.metric("inference_time_to_first_token_seconds_count", **labels)
    stream = client.completions.create(
        model=WRITER, prompt="Once", max_tokens=1000, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    eventually(lambda: served.metric("inference_requests_total", **labels, outcome="cancelled") == before + 1)
    assert served.metric("inference_time_to_first_token_seconds_count", **labels) == written + 1
    assert served.metric("inference_in_flight", **labels) == 0


def test_embeddings(client: openai.OpenAI) -> None:
    """Vectors of length 1, the same as numbers and as the base64 that the client asks for by itself."""
    texts = ["The heat pump is quiet.", "It is loud."]
    by_default = client.embeddings.create(model="tiny/feature-extraction", input=texts)
    numbers = client.embeddings.create(model="tiny/feature-extraction", input=texts, encoding_format="float")
    assert [one.index for one in numbers.data] == [0, 1]
    for one, other in zip(by_default.data, numbers.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert sum(value * value for value in other.embedding) == pytest.approx(1)
    assert numbers.usage.total_tokens == numbers.usage.prompt_tokens > 0
    raw = client.embeddings.create(model="tiny/feature-extraction", input="It is loud.", encoding_format="base64")
    packed: Any = raw.data[0].embedding
    size = len(numbers.data[1].embedding)
    assert struct.unpack(f"<{size}f", base64.b64decode(packed)) == pytest.approx(numbers.data[1].embedding, abs=1e-6)


def test_many_embeddings_fit_into_the_queue(client: openai.OpenAI) -> None:
    """A list longer than the queue is worked off bit by bit, in its order."""
    texts = [f"text {number}" for number in range(300)]
    made = client.embeddings.create(model="tiny/feature-extraction", input=texts, encoding_format="float")
    alone = client.embeddings.create(model="tiny/feature-extraction", input=texts[299], encoding_format="float")
    assert [one.index for one in made.data] == list(range(300))
    assert made.data[299].embedding == pytest.approx(alone.data[0].embedding, abs=1e-5)


def test_images(client: openai.OpenAI) -> None:
    """PNGs of the size asked for, different ones, and the same again for the same seed."""
    more = {"seed": 1}

    def drawn() -> list[Any]:
        made = client.images.generate(model="tiny/text-to-image", prompt="a house", n=2, size="64x64", extra_body=more)
        assert made.data is not None
        files = [base64.b64decode(one.b64_json or "") for one in made.data]
        return [np.asarray(Image.open(io.BytesIO(file)), dtype=int) for file in files]

    first, second = drawn(), drawn()
    assert [image.shape for image in first] == [(64, 64, 3)] * 2
    # Whether the two shared a batch may round a pixel differently.
    assert all(abs(one - other).max() <= 1 for one, other in zip(first, second, strict=True))
    assert abs(first[0] - first[1]).max() > 1


def test_models_are_listed(client: openai.OpenAI) -> None:
    """Under their ids."""
    assert WRITER in {model.id for model in client.models.list()}


def test_the_asynchronous_client(served: Running) -> None:
    """Several streams at once, each its own text, as alone."""

    async def streamed(client: openai.AsyncOpenAI, prompt: str) -> str:
        chunks = await client.completions.create(model=WRITER, prompt=prompt, max_tokens=12, temperature=0, stream=True)
        return "".join([chunk.choices[0].text async for chunk in chunks])

    async def session() -> tuple[list[str], list[str]]:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
            prompts = ["One", "Two or three", "Four more words here"]
            together = await asyncio.gather(*(streamed(client, prompt) for prompt in prompts))
            return list(together), [await streamed(client, prompt) for prompt in prompts]

    together, alone = asyncio.run(session())
    assert together == alone


@pytest.mark.parametrize(
    ("more", "parameter", "word"),
    [
        ({"max_tokens": 5000}, "max_tokens", "1024"),
        ({"max_tokens": 0}, "max_tokens", "1 to"),
        ({"n": 17}, "n", "16"),
        ({"n": 2, "stream": True}, "n", "stream"),
        ({"logprobs": 1}, "logprobs", "not supported"),
        ({"best_of": 3}, "best_of", "not supported"),
        ({"suffix": "x"}, "suffix", "not supported"),
        ({"presence_penalty": 0.5}, "presence_penalty", "not supported"),
        ({"logit_bias": {"1": 2}}, "logit_bias", "not supported"),
        ({"temperature": 3}, "temperature", "2"),
        ({"top_p": "0.5"}, "top_p", "number"),
        ({"seed": -1}, "seed", "0 to"),
        ({"stop": [1]}, "stop", "string"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "stream: true"),
        ({"echo": True, "stream": True}, "echo", "stream"),
        ({"prompt": [1, 2]}, "prompt", "token ids"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"extra_body": {"guided_json": {}}}, "guided_json", "unknown"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(
    client: openai.OpenAI, more: dict[str, Any], parameter: str, word: str
) -> None:
    """422 with the client's own name of the parameter, as an error that the client raises."""
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.completions.create(**{"model": WRITER, "prompt": "Once", "max_tokens": 5, **more})
    error = refused.value
    assert (error.code, error.param, error.type) == ("invalid_input", parameter, "invalid_request_error")
    assert word in error.message
    assert isinstance(error.body, dict)
    assert error.body["request_id"] == error.request_id


@pytest.mark.parametrize(
    ("more", "parameter"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x", "name": "Ann"}]}, "messages"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"max_completion_tokens": 5000}, "max_tokens"),
        ({"extra_body": {"ignore_eos": True}}, "ignore_eos"),
    ],
)  # fmt: skip
def test_chats_that_cannot_be_honoured_are_refused(client: openai.OpenAI, more: dict[str, Any], parameter: str) -> None:
    """As for completions."""
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(**{"model": WRITER, "messages": MESSAGES, **more})
    assert refused.value.param == parameter


def test_other_refusals_name_their_parameter(client: openai.OpenAI) -> None:
    """Dimensions, sizes, URLs, and texts that are too long."""
    calls: list[tuple[Any, dict[str, Any], str | None]] = [
        (client.embeddings.create, {"input": "x", "dimensions": 8}, "dimensions"),
        (client.embeddings.create, {"input": [[1, 2]]}, "input"),
        (client.embeddings.create, {"input": []}, "input"),
        (client.embeddings.create, {"input": ["fine", "heat pump " * 3000]}, None),
        (client.images.generate, {"prompt": "x", "response_format": "url"}, "response_format"),
        (client.images.generate, {"prompt": "x", "size": "8x8"}, "size"),
        (client.images.generate, {"prompt": "x", "size": "wide"}, "size"),
        (client.images.generate, {"prompt": "x", "quality": "hd"}, "quality"),
    ]
    for call, arguments, parameter in calls:
        model = "tiny/feature-extraction" if "input" in arguments else "tiny/text-to-image"
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            call(model=model, **arguments)
        assert refused.value.param == parameter, arguments


def test_unknown_models_are_not_found(client: openai.OpenAI) -> None:
    """404, with the models that there are; also a model of another task."""
    for model in ("gpt-4", "tiny/summarization"):
        with pytest.raises(openai.NotFoundError, match=WRITER):
            client.chat.completions.create(model=model, messages=MESSAGES)

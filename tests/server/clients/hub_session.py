"""What a program does that uses Hugging Face's client; prints what it got as one JSON object.

A program of its own, since the client refuses to work in a process that is offline, as the server's tests are.
Arguments: the server's URL, an image file, a recording.
"""

import asyncio
import json
import sys
from typing import Any

from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError

URL, PNG, WAV = sys.argv[1:]
CONTEXT = "The council met on Tuesday. It agreed to build the tram line."
MESSAGES = [{"role": "user", "content": "Where is the heat pump?"}]


def client(task: str) -> Any:
    return InferenceClient(model=f"{URL}/v1/tasks/{task}", timeout=60)


def tasks() -> dict[str, Any]:
    """Return something of the answer of each method that the client has for one of the tasks."""
    return {
        "text-classification": client("text-classification").text_classification("I like it")[0].label,
        "token-classification": client("token-classification").token_classification("Anna lives in Berlin")[0].word,
        "question-answering": client("question-answering").question_answering("When did it meet?", CONTEXT).answer,
        "fill-mask": client("fill-mask").fill_mask("Paris is the [MASK] of France.")[0].sequence,
        "text-generation": client("text-generation").text_generation("Once upon", max_new_tokens=5),
        "summarization": client("summarization").summarization(CONTEXT * 3).summary_text,
        "image-classification": client("image-classification").image_classification(PNG)[0].label,
        "object-detection": client("object-detection").object_detection(PNG, threshold=0.0)[0].box.xmin,
        "image-to-text": client("image-to-text").image_to_text(PNG).generated_text,
        "text-to-image": client("text-to-image").text_to_image("a house by a lake").size,
        "feature-extraction": client("feature-extraction").feature_extraction("a text", normalize=True).shape,
        "automatic-speech-recognition": client("automatic-speech-recognition").automatic_speech_recognition(WAV).text,
        "zero-shot-classification": [
            one.label for one in client("zero-shot-classification").zero_shot_classification("good", ["a", "b"])
        ],
    }


def stream() -> dict[str, Any]:
    """Return a streamed text beside the same text in one piece."""
    asked: dict[str, Any] = {"max_new_tokens": 20, "stop": ["e"], "temperature": 0.9, "seed": 4}
    writer = client("text-generation")
    events = list(writer.text_generation("Once upon", stream=True, details=True, **asked))
    return {
        "whole": writer.text_generation("Once upon", details=True, **asked).generated_text,
        "pieces": [event.token.text for event in events],
        "plain": list(writer.text_generation("Once upon", stream=True, **asked)),
        "last": events[-1].generated_text,
        "reason": events[-1].details.finish_reason,
        "tokens": events[-1].details.generated_tokens,
        "indices": [event.index for event in events],
        "energy": events[-1].details.energy_quality,
    }


def chat() -> dict[str, Any]:
    """Return a chat in one piece and streamed, by the server's address and by the task's route."""
    talker = InferenceClient(base_url=URL, timeout=60)
    whole = talker.chat_completion(MESSAGES, max_tokens=12, seed=1)
    chunks = talker.chat_completion(MESSAGES, max_tokens=12, seed=1, stream=True)
    named = talker.chat.completions.create(model="tiny/text-generation", messages=MESSAGES, max_tokens=12, seed=1)
    return {
        "whole": whole.choices[0].message.content,
        "tokens": whole.usage.completion_tokens,
        "named": named.choices[0].message.content,
        "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
    }


async def asynchronous() -> dict[str, Any]:
    """Return what the asynchronous client gets: several things at once."""
    writer = AsyncInferenceClient(model=f"{URL}/v1/tasks/text-generation", timeout=60)
    encoder = AsyncInferenceClient(model=f"{URL}/v1/tasks/text-classification", timeout=60)

    async def streamed(prompt: str) -> str:
        return "".join([piece async for piece in await writer.text_generation(prompt, max_new_tokens=9, stream=True)])

    first, second, label = await asyncio.gather(
        streamed("One"), streamed("Two words"), encoder.text_classification("I like it")
    )
    alone = [await writer.text_generation(prompt, max_new_tokens=9) for prompt in ("One", "Two words")]
    return {"together": [first, second], "alone": alone, "label": label[0].label}


def refusals() -> list[str]:
    """Return what the client raises."""
    calls: list[Any] = [
        lambda: client("text-generation").text_generation("x", max_new_tokens=10**6),
        lambda: client("text-generation").text_generation("x", stream=True, return_full_text=True),
        lambda: client("summarization").summarization(" "),
    ]
    raised = []
    for call in calls:
        try:
            call()
        except HfHubHTTPError as error:
            raised.append(f"{error.response.status_code} {error.response.json()['error']['message']}")
    return raised


told = {"tasks": tasks(), "stream": stream(), "chat": chat(), "async": asyncio.run(asynchronous()),
        "refusals": refusals()}  # fmt: skip
print(json.dumps(told))  # noqa: T201 (its only output)

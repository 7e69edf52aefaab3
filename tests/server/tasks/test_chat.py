"""Conversations as prompts: by the tokenizer's template, or plainly where it has none."""

from collections.abc import Callable, Iterator

import pytest

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.base import Prepared, Task, TaskRequest
from perjoule_server.tasks.chat import Chat
from perjoule_server.tasks.generate import TextGeneration

Load = Callable[[str], Task]

CHAT = Chat(({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is <b>it</b>?"}))
TEMPLATE = """{%- for message in messages -%}
{%- if message.role == 'system' and not loop.first -%}{{ raise_exception('system comes first') }}{%- endif -%}
<s>{{ message.role }}|{{ message.content }}</s>
{%- endfor -%}{%- if add_generation_prompt -%}<s>assistant|{%- endif -%}"""


@pytest.fixture
def writer(load: Load) -> TextGeneration:
    """The tiny model that writes, whose tokenizer has no template."""
    task = load("text-generation")
    assert isinstance(task, TextGeneration)
    return task


@pytest.fixture
def templated(writer: TextGeneration) -> Iterator[TextGeneration]:
    """The same with a template, for the test's time."""
    tokenizer = writer._language.tokens.tokenizer
    tokenizer.chat_template = TEMPLATE
    yield writer
    tokenizer.chat_template = None


def prompt(task: TextGeneration, chat: Chat, **parameters: object) -> tuple[str, Prepared]:
    prepared = task.prepare(TaskRequest(chat, parameters))
    return task._language.tokens.tokenizer.decode(prepared.payload.row["input_ids"]), prepared


def test_without_a_template_the_roles_are_written_out(writer: TextGeneration) -> None:
    """A line a message, and the assistant's to be continued."""
    assert prompt(writer, CHAT)[0] == "system: Be brief.\nuser: Where is <b>it</b>?\nassistant:"


def test_the_tokenizers_template_is_used(templated: TextGeneration) -> None:
    """Its special tokens are encoded as such, and none are put around it a second time."""
    text, prepared = prompt(templated, CHAT)
    assert text == "<s>system|Be brief.</s><s>user|Where is <b>it</b>?</s><s>assistant|"
    assert prepared.payload.row["input_ids"].count(templated._language.tokens.tokenizer.bos_token_id) == 3


def test_what_the_template_refuses_is_invalid(templated: TextGeneration) -> None:
    """Its own complaint is the message, and the parameter is named."""
    with pytest.raises(InvalidInputError, match="system comes first") as refused:
        templated.prepare(TaskRequest(Chat(CHAT.messages[::-1]), {}))
    assert refused.value.parameter == "messages"


def test_a_chat_without_a_limit_has_room(writer: TextGeneration) -> None:
    """Its answer may take the largest power of two that the context has left, so that unlike prompts share a batch."""
    lengths = []
    for words in (1, 100, 300, 900):
        chat = Chat(({"role": "user", "content": "cat " * words},))
        _, prepared = prompt(writer, chat)
        lengths.append(prepared.payload.decoding.max_new_tokens)
        assert prepared.input_tokens + lengths[-1] <= writer._language.tokens.limit
    assert lengths[0] == lengths[1] == 512
    assert lengths == sorted(lengths, reverse=True)
    assert prompt(writer, CHAT, max_new_tokens=7)[1].payload.decoding.max_new_tokens == 7


def test_a_chat_over_the_limit_is_invalid(writer: TextGeneration) -> None:
    """Both numbers are said, and megabytes are not encoded for it."""
    with pytest.raises(InvalidInputError, match="tokens, the model takes at most"):
        writer.prepare(TaskRequest(Chat(({"role": "user", "content": "cat " * 500_000},)), {}))

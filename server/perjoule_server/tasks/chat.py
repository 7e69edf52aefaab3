"""A conversation as the prompt of a model that writes: by its tokenizer's template, or plainly where it has none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from perjoule.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Chat:
    """The messages so far, each with ``role`` and ``content``; the model writes the next.

    As ``inputs`` of a request it cannot come from a body's JSON: only from who has checked the messages.
    """

    messages: tuple[Mapping[str, str], ...]


def render(chat: Chat, tokenizer: Any) -> tuple[str, bool]:
    """Return the prompt, and whether the special tokens around it are in it already.

    Raises:
        InvalidInputError: the template takes no such conversation: an order of roles that it does not know, say.
    """
    if not tokenizer.chat_template:
        lines = [f"{message['role']}: {message['content']}\n" for message in chat.messages]
        return "".join([*lines, "assistant:"]), False
    try:
        # The library runs templates in a sandbox of jinja's that can change nothing.
        text = tokenizer.apply_chat_template(list(chat.messages), tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise InvalidInputError(f"messages do not fit the model's chat template: {error}", "messages") from None
    return str(text), True

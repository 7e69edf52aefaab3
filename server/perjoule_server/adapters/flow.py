"""Tokens as they are written to text that is certain: no half characters, and no text that a stop string may swallow.

Pure: what decodes tokens is an argument.
"""

from collections.abc import Callable, Sequence

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What a decoder puts for bytes that are no character, or not one yet."""

_CONTEXT = 8
"""Tokens that are decoded before new ones: a decoder drops the space before its first token, say."""


class Decoder:
    """Decodes the tokens of one text piece by piece; the pieces add up to the text."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._told = 0

    def feed(self, ids: Sequence[int]) -> str:
        """Return the text that ``ids`` add, without a character at its end that the next token may complete."""
        self._window += ids
        text = self._decode(self._window)
        # An unfinished character is one replacement at the end; more of them are bytes that no token can mend.
        whole = text.removesuffix(REPLACEMENT)
        new = whole[self._told :]
        self._told = max(self._told, len(whole))
        if len(whole) == len(text):
            self._shorten()
        return new

    def _shorten(self) -> None:
        """Forget tokens that new ones no longer depend on, so that long texts are not decoded over and over."""
        if len(self._window) <= 2 * _CONTEXT:
            return
        text = self._decode(self._window)
        kept = self._window[-_CONTEXT:]
        tail = self._decode(kept)
        if text.endswith(tail) and not tail.startswith(REPLACEMENT):
            self._window, self._told = kept, len(tail)


def earliest(text: str, stop: Sequence[str]) -> tuple[int, int] | None:
    """Return where the first stop string in ``text`` begins and ends: the one that ends first, of these the longest."""
    ends = [text.index(one) + len(one) for one in stop if one in text]
    if not ends:
        return None
    end = min(ends)
    return end - max(len(one) for one in stop if text[:end].endswith(one)), end


def held_back(text: str, stop: Sequence[str]) -> int:
    """Return how many characters at the end of ``text`` may be the beginning of a stop string."""
    longest = max((len(one) for one in stop), default=1) - 1
    return next(
        (size for size in range(min(longest, len(text)), 0, -1) if any(one.startswith(text[-size:]) for one in stop)),
        0,
    )


class Flow:
    """The text of one streamed answer: what may be told of it so far."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._decoder = Decoder(decode)
        self._stop = tuple(stop)
        self._held = ""
        self._ended = False
        self._told: list[str] = []

    def feed(self, ids: Sequence[int]) -> str:
        """Return the text that is certain now, perhaps empty; nothing more comes once a stop string has ended it."""
        if self._ended:
            return ""
        text = self._held + self._decoder.feed(ids)
        found = earliest(text, self._stop)
        if found:
            self._ended = True
            return self._tell(text[: found[0]], "")
        size = held_back(text, self._stop)
        return self._tell(text[: len(text) - size], text[len(text) - size :])

    def _tell(self, text: str, held: str) -> str:
        self._held = held
        if text:
            self._told.append(text)
        return text

    def rest(self, final: str) -> str:
        """Return what is still to be told of the whole text ``final``, which is known at the end."""
        told = "".join(self._told)
        return final[len(told) :] if final.startswith(told) else ""

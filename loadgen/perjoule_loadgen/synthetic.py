"""Made-up texts of a chosen number of tokens, as the server itself counts them.

No tokenizer is needed and none is guessed: the server is asked with a text, tells how many tokens it read, and the text
gets more or fewer words until they are right. A server that does not tell them cannot be asked for a length.
"""

from collections.abc import Awaitable, Callable
from random import Random

from perjoule.errors import MeasurementError
from perjoule_loadgen.work import INPUT_TOLERANCE

TEXTS = 16
"""Different texts of a set: enough that no cache of prefixes answers for all of them."""
_PROBES = 12
_FILLER = "a"
_WORDS = (  # noqa: SIM905 (a list of a hundred literals reads worse)
    "time year people way day man thing woman life child world school state family student group country problem hand"
    " part place case week company system program question work government number night point home water room mother"
    " area money story fact month lot right study book eye job word business issue side kind head house service friend"
    " father power hour game line end member law car city community name president team minute idea body back parent"
).split()
"""Common English nouns: most are one token in every vocabulary."""

Count = Callable[[str], Awaitable[int]]
"""Tells how many tokens the server reads of a text."""


async def texts(tokens: int, seed: str, count: Count) -> list[tuple[str, int]]:
    """Return ``TEXTS`` texts with the tokens that each has: ``tokens``, or as near as words allow.

    Raises:
        MeasurementError: words do not get within 2 % of it, as where a prompt around the text is longer already.
    """
    return [await _text(tokens, Random(f"{seed}/{number}"), count) for number in range(TEXTS)]  # noqa: S311 (words)


async def _text(tokens: int, random: Random, count: Count) -> tuple[str, int]:
    words = random.choices(_WORDS, k=2 * tokens + 16)
    size, tried = max(tokens - 2, 1), dict[int, int]()
    while size not in tried and len(tried) < _PROBES:
        tried[size] = await count(" ".join(words[:size]))
        size = size if tried[size] == tokens else _better(tried, tokens, len(words))
    size = max((one for one in tried if tried[one] <= tokens), key=lambda one: tried[one], default=min(tried))
    text, found = " ".join(words[:size]), tried[size]
    for _ in range(_PROBES):  # where a word is several tokens, letters come nearer
        if found >= tokens:
            break
        longer = f"{text} {_FILLER}"
        if abs((more := await count(longer)) - tokens) >= abs(found - tokens):
            break
        text, found = longer, more
    if abs(found - tokens) > max(1, tokens * INPUT_TOLERANCE):
        raise MeasurementError(
            f"--input-tokens {tokens}: the nearest text has {found} tokens as the server counts them"
            f" ({len(text.split())} words); ask for another length"
        )
    return text, found


def _better(tried: dict[int, int], tokens: int, most: int) -> int:
    """Return a number of words that is nearer, from the two best so far: tokens grow with words, nearly in a line."""
    near = sorted(tried, key=lambda one: abs(tried[one] - tokens))[:2]
    slope = 1.0
    if len(near) > 1 and tried[near[0]] != tried[near[1]]:
        slope = max((tried[near[0]] - tried[near[1]]) / (near[0] - near[1]), 0.25)
    step = round((tokens - tried[near[0]]) / slope)
    step = step or (1 if tokens > tried[near[0]] else -1)
    return min(max(near[0] + step, 1), most)

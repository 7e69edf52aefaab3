"""The work that was asked for and the work that the answers tell: output tokens, image sizes, steps, seconds of audio.

Energy per inference compares only where the work is the same, so it is part of a result's name. Pure; folds over the
results once, whatever their number.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from perjoule_loadgen.dialect import Prepared
from perjoule_loadgen.records import Result

INPUT_TOLERANCE = 0.02
"""A made-up text may have so many tokens more or less than were asked for (at least one): what a model adds of its own
differs between a probe and a request."""


@dataclass(slots=True)
class Told:
    """What the answers that succeeded tell, added up.

    Attributes:
        answers: how many there were.
        output_tokens: written, as far as told.
        with_output: answers that tell them.
        input_tokens: read, as far as told.
        with_input: answers that tell them.
        with_size: answers that are images of a known size.
        audio_seconds: of the clips that were sent.
        with_audio: answers to clips of a known length.
        wrong: answers that are not what was asked for.
        first_wrong: what the first of them was, and what was asked; None without one.
    """

    answers: int = 0
    output_tokens: int = 0
    with_output: int = 0
    input_tokens: int = 0
    with_input: int = 0
    with_size: int = 0
    audio_seconds: float = 0.0
    with_audio: int = 0
    wrong: int = 0
    first_wrong: str | None = None


def told(items: Sequence[Prepared], results: Iterable[Result]) -> Told:
    """Add up what the answers to ``items`` tell."""
    found = Told()
    for result in results:
        if not result.ok:
            continue
        item = items[result.item]
        found.answers += 1
        _count(found, item, result)
        if (wrong := wrong_work(item, result)) is not None:
            found.wrong += 1
            found.first_wrong = found.first_wrong or wrong
    return found


def _count(found: Told, item: Prepared, result: Result) -> None:
    if result.output_tokens is not None:
        found.output_tokens += result.output_tokens
        found.with_output += 1
    if result.input_tokens is not None:
        found.input_tokens += result.input_tokens
        found.with_input += 1
    if item.audio_seconds is not None:
        found.audio_seconds += item.audio_seconds
        found.with_audio += 1
    found.with_size += result.size is not None


def wrong_work(item: Prepared, result: Result) -> str | None:
    """Return what an answer was instead of what was asked for; None where it fits or does not tell."""
    tokens, read, size = result.output_tokens, result.input_tokens, result.size
    if tokens is not None and not (item.min_tokens or 0) <= tokens <= (
        tokens if item.max_tokens is None else item.max_tokens
    ):
        asked = f"{item.min_tokens or 0} to {item.max_tokens}" if item.max_tokens is not None else f"{item.min_tokens}+"
        return f"{tokens} output tokens instead of {asked}"
    if size is not None and item.size is not None and size != item.size:
        return f"an image of {size[0]}x{size[1]} instead of {item.size[0]}x{item.size[1]}"
    if item.input_tokens is not None and read is not None:
        allowed = max(1, math.floor(item.input_tokens * INPUT_TOLERANCE))
        if abs(read - item.input_tokens) > allowed:
            return f"{read} input tokens instead of {item.input_tokens}"
    return None


def unknown(items: Sequence[Prepared], found: Told) -> tuple[str, ...]:
    """Return what was asked for and is not told by every answer."""
    lacking = {
        "output_tokens": _any(items, "min_tokens", "max_tokens") and found.with_output < found.answers,
        "input_tokens": _any(items, "input_tokens") and found.with_input < found.answers,
        "image_size": _any(items, "size") and found.with_size < found.answers,
        "steps": _any(items, "steps"),
    }
    return tuple(name for name, missing in lacking.items() if missing)


def _any(items: Sequence[Prepared], *names: str) -> bool:
    return any(getattr(item, name) is not None for item in items for name in names)


def name(task: str, items: Sequence[Prepared]) -> str:
    """Return the name under which a result compares: ``summarization, 10-15 tokens``."""
    asked = asked_for(items)
    parts = [task]
    if asked["input_tokens"] is not None:
        parts.append(f"{_range(asked['input_tokens'])} input tokens")
    if asked["output_tokens"] is not None:
        parts.append(f"{_range(asked['output_tokens'])} tokens")
    if asked["image_size"] is not None:
        parts.append("/".join(asked["image_size"]))
    if asked["steps"] is not None:
        parts.append(f"{_range(asked['steps'])} steps")
    if asked["audio_seconds"] is not None:
        parts.append(f"{asked['audio_seconds']:.3g} s of audio")
    return ", ".join(parts)


def _range(bounds: Sequence[int | None]) -> str:
    low, high = bounds
    if low == high:
        return f"{low}"
    return f"up to {high}" if not low else f"{low}-{high}" if high is not None else f"{low}+"


def asked_for(items: Sequence[Prepared]) -> dict[str, Any]:
    """Return what is asked of a set of inputs: fewest and most of each, mean seconds of audio; None for nothing."""
    clips = [item.audio_seconds for item in items if item.audio_seconds is not None]
    least = [item.min_tokens or 0 for item in items]
    most = [item.max_tokens for item in items if item.max_tokens is not None]
    return {
        "output_tokens": [min(least), max(most, default=None)] if _any(items, "min_tokens", "max_tokens") else None,
        "input_tokens": _bounds(item.input_tokens for item in items),
        "image_size": sorted({f"{w}x{h}" for w, h in (item.size for item in items if item.size)}) or None,
        "steps": _bounds(item.steps for item in items),
        "audio_seconds": math.fsum(clips) / len(clips) if clips else None,
    }


def _bounds(values: Iterable[int | None]) -> list[int] | None:
    known = [value for value in values if value is not None]
    return [min(known), max(known)] if known else None

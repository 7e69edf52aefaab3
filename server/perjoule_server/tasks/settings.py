"""How to write: what a client may say about length, sampling and stop strings, checked. Knows no model."""

import secrets
from dataclasses import dataclass

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.inputs import Parameters

LENGTHS = frozenset({"max_new_tokens", "min_new_tokens"})
SAMPLING = frozenset({"do_sample", "temperature", "top_k", "top_p", "seed"})

_GREEDY = 0.01  # temperatures up to here: the division would leave the range of floats


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to write one request.

    Attributes:
        max_new_tokens: most tokens to write.
        min_new_tokens: fewest tokens to write.
        sample: draw instead of taking the likeliest.
        temperature: scores are divided by it.
        top_k: draw from the k likeliest only; 0 from all.
        top_p: draw from the likeliest whose probabilities add up to p.
        stop: texts that end the writing.
    """

    max_new_tokens: int
    min_new_tokens: int = 0
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()


def read_decoding(parameters: Parameters, default: Decoding, most: int, stop: tuple[str, ...] = ()) -> Decoding:
    """Read the generation parameters; ``most`` is the longest output of the model.

    Temperature 0, or one next to it, means greedy. A temperature, top_k or top_p without ``do_sample`` means sampling,
    as it does in text-generation-inference.

    Raises:
        InvalidInputError: a value of the wrong type or out of its range.
    """
    longest = parameters.integer("max_new_tokens", default.max_new_tokens, 1, max(most, 1))
    shortest = parameters.integer("min_new_tokens", min(default.min_new_tokens, longest), 0, max(most, 1))
    if shortest > longest:
        raise InvalidInputError(f"min_new_tokens ({shortest}) is over max_new_tokens ({longest})")
    temperature = parameters.number("temperature", 1.0, 0.0, 100.0)
    top_k = parameters.integer("top_k", 0, 0, 1_000_000)
    top_p = parameters.number("top_p", 1.0, 0.0, 1.0)
    implied = any(name in parameters for name in ("temperature", "top_k", "top_p"))
    sample = parameters.flag("do_sample", default=implied) and temperature > _GREEDY and top_p > 0
    if not sample:
        return Decoding(longest, shortest, stop=stop)
    return Decoding(longest, shortest, sample=True, temperature=temperature, top_k=top_k, top_p=top_p, stop=stop)


def read_seed(parameters: Parameters) -> int:
    """Read ``seed``, or draw one."""
    return parameters.integer("seed", secrets.randbits(63), 0, 2**63 - 1)

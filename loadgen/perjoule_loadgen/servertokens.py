"""Tokens by the server's own counters, for servers whose answers do not tell them: vLLM, SGLang and TGI.

Of use only where nobody else asks the same server in the window: its count of finished requests must have grown by
exactly the answers of this run. Tells a sum, so single lengths stay unknown.
"""

from dataclasses import dataclass

from perjoule.errors import MeasurementError
from perjoule_loadgen.energy import samples
from perjoule_loadgen.pages import Page

_FAMILIES = (
    ("vllm:generation_tokens_total", "vllm:request_success_total"),
    ("sglang:generation_tokens_total", "sglang:num_requests_total"),
    ("tgi_request_generated_tokens_sum", "tgi_request_generated_tokens_count"),
)
"""Tokens written, and requests that ended: vLLM's, SGLang's and text-generation-inference's."""


@dataclass(frozen=True, slots=True)
class Written:
    """Counters of a server at one time."""

    tokens: float
    requests: float


def written(text: str) -> Written | None:
    """Return what a server's exposition says, None where it has none of the known counters.

    Raises:
        MeasurementError: it is no exposition.
    """
    for tokens, requests in _FAMILIES:
        found = samples(text, (tokens, requests))
        if tokens in found and requests in found:
            return Written(*(sum(sample.value for sample in found[name]) for name in (tokens, requests)))
    return None


async def ask_written(page: Page, target: str) -> Written | None:
    """Return the server's counters, None where it publishes none."""
    try:
        return written(await page.text(f"{target}/metrics"))
    except MeasurementError:
        return None


def between(before: Written | None, after: Written | None, answered: int) -> int | None:
    """Return the tokens of ``answered`` requests, None where the counters are missing, went back, or count others'."""
    if before is None or after is None or after.requests - before.requests != answered or not answered:
        return None
    tokens = after.tokens - before.tokens
    return int(tokens) if tokens >= 0 else None

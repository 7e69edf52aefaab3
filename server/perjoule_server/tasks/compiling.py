"""``torch.compile`` for models that read a text in one pass, with few lengths that each are compiled once.

Every length of a batch would be compiled anew. So batches are padded to the next of some lengths, at most half as long
again; how many requests there are may vary. All of them are compiled while the model loads, so that no request waits
for that.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import _dynamo as dynamo  # its marks are what torch.compile's guide names

from perjoule_server.tasks.tokens import Tokens

SHORTEST = 16
LONGEST = 4096
"""Longer batches are left as long as they are."""

_PROGRAMS = 64  # of one model: each length for one request and for several


def buckets(limit: int) -> list[int]:
    """Return the lengths that batches of a model are padded to: powers of two, those in between, and its limit."""
    powers = [SHORTEST << place for place in range((LONGEST // SHORTEST).bit_length())]
    steps = sorted({*powers, *(3 * power // 2 for power in powers)})
    most = min(limit, LONGEST)
    return [*takewhile(lambda length: length < most, steps), most]


class Buckets:
    """Shapes that repeat: few lengths, any number of requests. See ``tokens.Shapes``."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = tuple(lengths)

    def length(self, longest: int) -> int:
        """Return the shortest length that holds a batch; its own if none does."""
        return next((each for each in self.lengths if each >= longest), longest)

    def mark(self, inputs: Mapping[str, torch.Tensor]) -> None:
        """Tell the compiler what varies from batch to batch: the requests, of which one is a case of its own."""
        for tensor in inputs.values():
            dynamo.mark_static(tensor, 1)
            if tensor.shape[0] > 1:
                dynamo.maybe_mark_dynamic(tensor, 0)


def compile_reader(model: Any, tokens: Tokens, backend: Any = "inductor") -> None:
    """Compile a model for all lengths of its batches, and have its tokens padded to them.

    ``tokens`` must be the model's alone.
    """
    dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, _PROGRAMS)
    shapes = Buckets(buckets(tokens.limit))
    model.compile(backend=backend)
    tokens.shapes = shapes
    one = tokens.encode("warm").row
    for length in shapes.lengths:
        row = {name: values[:1] * length for name, values in one.items()}
        for count in (1, 2):
            inputs = tokens.batch([row] * count, model.device)  # as for requests: made outside of inference mode
            with torch.inference_mode():
                model(**inputs)

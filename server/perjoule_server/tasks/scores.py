"""From a model's numbers to labels and scores. Pure numpy; every score leaves as a Python float."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

ACTIVATIONS = ("softmax", "sigmoid", "none")


def softmax(logits: Floats) -> Floats:
    """Return probabilities along the last axis, in float64."""
    wide = np.asarray(logits, dtype=np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sigmoid(logits: Floats) -> Floats:
    """Return 1 / (1 + e^-x), in float64, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(np.asarray(logits, dtype=np.float64) / 2)))


def activate(logits: Floats, activation: str) -> Floats:
    """Apply ``softmax``, ``sigmoid`` or ``none``."""
    if activation == "none":
        return np.asarray(logits, dtype=np.float64)
    return softmax(logits) if activation == "softmax" else sigmoid(logits)


def best(scores: Floats, count: int) -> list[int]:
    """Return the indices of the ``count`` highest scores, highest first."""
    count = min(count, scores.size)
    # Sorting a whole vocabulary, or all spans of a long context, would cost more than the model.
    few = np.sort(np.argpartition(-scores, count - 1)[:count]) if count < scores.size else np.arange(scores.size)
    return [int(few[place]) for place in np.argsort(-scores[few], kind="stable")]


def labelled(scores: Floats, names: Mapping[int, str], count: int) -> list[dict[str, str | float]]:
    """Return ``[{label, score}, …]``, best first."""
    return [{"label": names[index], "score": float(scores[index])} for index in best(scores, count)]

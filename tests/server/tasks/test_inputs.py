"""What clients may write: each wrong type, value and name has an answer that says what is wrong."""

from collections.abc import Callable
from typing import Any

import pytest

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.inputs import Parameters, question_and_context, text_of

WRONG_TEXTS: list[tuple[Any, str]] = [
    (None, "inputs must be a string, not null"),
    (5, "inputs must be a string, not a number"),
    (True, "inputs must be a string, not a boolean"),
    ({}, "inputs must be a string, not an object"),
    (["a", "b"], "inputs is a list: send one input per request; the server batches requests itself"),
    ("", "inputs is empty"),
    (" \n\t ", "inputs is empty"),
    ("a\0b", "inputs holds a NUL character"),
    ("a\ud800b", "inputs holds half of a surrogate pair"),
]


@pytest.mark.parametrize(("value", "message"), WRONG_TEXTS)
def test_wrong_texts(value: Any, message: str) -> None:
    """Whatever is no text is refused with the reason."""
    with pytest.raises(InvalidInputError) as caught:
        text_of(value)
    assert str(caught.value) == message


def test_text_is_kept_as_it_is() -> None:
    """Text passes unchanged, whatever its alphabet."""
    assert text_of(" größer 😀 \u202e") == " größer 😀 \u202e"


@pytest.mark.parametrize(
    "value",
    [
        None, "text", [], [{"question": "a", "context": "b"}], {}, {"question": "a"}, {"context": "b"},
        {"question": "a", "context": "b", "more": 1}, {"question": 1, "context": "b"},
        {"question": "", "context": "b"}, {"question": "a", "context": " "}, {"question": ["a"], "context": "b"},
    ],
)  # fmt: skip
def test_wrong_questions(value: Any) -> None:
    """A question needs two texts, and nothing else."""
    with pytest.raises(InvalidInputError, match="inputs"):
        question_and_context(value)


def test_unknown_parameters_are_named() -> None:
    """An unknown parameter is refused by name, with the known ones; a null is unset."""
    with pytest.raises(InvalidInputError) as caught:
        Parameters({"topk": 3, "ok": 1, "void": None}, {"top_k", "ok"})
    assert str(caught.value) == "unknown parameters 'topk'; known are: ok, top_k"


WRONG: dict[str, list[Any]] = {
    "integer": [True, "5", 1.0, 2.5, [], {}, -1, 101, 10**30, float("nan"), 10**5000],
    "number": [True, "0.5", [], -0.1, 1.1, float("nan"), float("inf"), 10**400],
    "flag": [0, 1, "true", []],
    "choice": [1, "maybe", ["yes"], {}],
    "text": [1, [], {}, True, "a\0", "\udfff"],
    "texts": ["a,b", [1], [""], ["a", None], {}, ["a"] * 5, ["a\0"]],
}


Reader = Callable[[Parameters], Any]

READERS: dict[str, Reader] = {
    "integer": lambda parameters: parameters.integer("x", 7, 0, 100),
    "number": lambda parameters: parameters.number("x", 0.5, 0.0, 1.0),
    "flag": lambda parameters: parameters.flag("x", default=True),
    "choice": lambda parameters: parameters.choice("x", "yes", ("yes", "no")),
    "text": lambda parameters: parameters.text("x", "default"),
    "texts": lambda parameters: parameters.texts("x", 4),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_values(kind: str) -> None:
    """A value of another type, out of range or not finite is refused; the message is short and names the parameter."""
    for value in WRONG[kind]:
        with pytest.raises(InvalidInputError, match=r"parameters\.x") as caught:
            READERS[kind](Parameters({"x": value}, {"x"}))
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("kind", "value", "default"),
    [
        ("integer", 100, 7), ("number", 1, 0.5), ("flag", False, True), ("choice", "no", "yes"),
        ("text", "", "default"), ("texts", ["a", "b"], ()),
    ],
)  # fmt: skip
def test_right_values(kind: str, value: Any, default: Any) -> None:
    """A right value is read; one that is unset or null is the default."""
    expected = tuple(value) if isinstance(value, list) else value
    assert (
        READERS[kind](Parameters({"x": value}, {"x"})),
        READERS[kind](Parameters({"x": None}, {"x"})),
        READERS[kind](Parameters({}, {"x"})),
    ) == (expected, default, default)


def test_nested_parameters() -> None:
    """Nested parameters count as if they stood beside; in both places at once they contradict each other."""
    both = {"a", "b", "inner"}
    merged = Parameters({"a": 1, "inner": {"b": 2}}, both).with_nested("inner", {"a", "b"})
    assert (merged.integer("a", 0, 0, 9), merged.integer("b", 0, 0, 9)) == (1, 2)
    wrongs: list[dict[str, Any]] = [{"inner": []}, {"inner": {"c": 1}}, {"a": 1, "inner": {"a": 1}}]
    for wrong in wrongs:
        with pytest.raises(InvalidInputError, match="inner"):
            Parameters(wrong, both).with_nested("inner", {"a", "b"})

"""Made-up texts have the tokens that were asked for, as a server counts them."""

import asyncio

import pytest

from perjoule.errors import MeasurementError
from perjoule_loadgen import synthetic
from perjoule_loadgen.synthetic import texts


def made(tokens: int, count: synthetic.Count, seed: str = "s") -> list[tuple[str, int]]:
    return asyncio.run(texts(tokens, seed, count))


async def words(text: str) -> int:
    return len(text.split())


async def pieces(text: str) -> int:
    """A vocabulary of syllables, a beginning and an end."""
    return 2 + sum(1 + len(word) // 5 for word in text.split())


async def letters(text: str) -> int:
    """A vocabulary of letters."""
    return len(text)


@pytest.mark.parametrize("tokens", [1, 2, 7, 64, 1000])
def test_words_are_counted_out(tokens: int) -> None:
    """Where a word is a token every text has exactly so many, and no two are the same but the shortest."""
    found = made(tokens, words)
    assert [count for _, count in found] == [tokens] * synthetic.TEXTS
    assert [len(text.split()) for text, _ in found] == [tokens] * synthetic.TEXTS
    assert len({text for text, _ in found}) == synthetic.TEXTS or tokens < 3


@pytest.mark.parametrize("tokens", [10, 128, 512])
def test_other_vocabularies_are_met_within_two_percent(tokens: int) -> None:
    """With pieces of words and tokens of the server's own, each text is as near as words allow."""
    for _, count in made(tokens, pieces):
        assert abs(count - tokens) <= max(1, tokens * 0.02)


def test_it_takes_few_questions() -> None:
    """A handful for each text, not one for each word."""
    asked = []

    async def count(text: str) -> int:
        asked.append(text)
        return await pieces(text)

    made(512, count)
    assert len(asked) <= 6 * synthetic.TEXTS


def test_a_seed_makes_the_same_texts() -> None:
    """And another seed makes others."""
    assert made(30, pieces, "a") == made(30, pieces, "a") != made(30, pieces, "b")


def test_a_length_that_cannot_be() -> None:
    """A prompt that is longer by itself, and words that are too coarse, are told with the nearest that there is."""

    async def prompted(text: str) -> int:
        return 40 + len(text.split())

    with pytest.raises(MeasurementError, match=r"--input-tokens 20: the nearest text has 41 tokens .* \(1 words\)"):
        made(20, prompted)
    with pytest.raises(MeasurementError, match="ask for another length"):
        made(2, letters)

import base64
import json
import os
import re
import struct
import tomllib
import wave
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule.errors import UnknownWorkloadError, UsageError
from perjoule.workloads import WORKLOADS, Modality
from perjoule_loadgen import inputs
from perjoule_loadgen.inputs import Item, load_inputs

DATA = Path(str(resources.files("perjoule_loadgen"))) / "data"
ROOT = DATA.parents[2]
JPEG = (DATA / "images" / "rocket.jpg").read_bytes()
FLAC = (DATA / "audio" / "speech-2.flac").read_bytes()
TEXTS = [spec.id for spec in WORKLOADS.values() if spec.input is Modality.TEXT]
PICTURES = [spec.id for spec in WORKLOADS.values() if spec.input is Modality.IMAGE]
PAIR = {"question": "Who?", "context": "Ada."}


def sent(item: Item) -> dict[str, object]:
    """What a JSON body says."""
    body, content_type = item.body({})
    assert content_type == "application/json"
    value = json.loads(body)
    assert isinstance(value, dict)
    return value


def texts(workload: str) -> list[str]:
    """The built-in texts of a workload."""
    return [str(sent(item)["inputs"]) for item in load_inputs(workload, None)]


def rows(family: str) -> list[dict[str, str]]:
    """The lines of one built-in file."""
    return [json.loads(line) for line in (DATA / f"{family}.jsonl").read_text(encoding="utf-8").splitlines()]


def wav(folder: Path, seconds: float, rate: int = 16_000) -> bytes:
    """A silent 16-bit mono clip, written by the standard library."""
    with wave.open(str(folder / "clip.wav"), "wb") as clip:
        clip.setnchannels(1)
        clip.setsampwidth(2)
        clip.setframerate(rate)
        clip.writeframes(bytes(2 * round(seconds * rate)))
    return (folder / "clip.wav").read_bytes()


# --- The built-in set


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_workload_has_enough_inputs(workload: str) -> None:
    """Each workload ships with at least 20 different texts, or 6 different pictures or clips."""
    items = load_inputs(workload, None)
    least = 20 if WORKLOADS[workload].input is Modality.TEXT else 6
    assert len({item.body({})[0] for item in items}) == len(items) >= least
    assert len({item.label for item in items}) == len(items)


@pytest.mark.parametrize(
    ("workload", "low", "high"),
    [
        ("text-classification", 10, 60),
        ("token-classification", 10, 60),
        ("fill-mask", 20, 20),
        ("text-generation", 20, 20),
        ("summarization", 150, 350),
        ("zero-shot-summarization", 150, 350),
        ("text-to-image", 5, 50),
        ("zero-shot-text-classification", 10, 60),
        ("feature-extraction", 5, 60),
    ],
)
def test_texts_are_as_long_as_in_the_study(workload: str, low: int, high: int) -> None:
    """The words of each text lie within the range that the study's datasets and settings give."""
    counts = [len(text.split()) for text in texts(workload)]
    assert low <= min(counts) <= max(counts) <= high


@pytest.mark.parametrize("workload", ["question-answering", "zero-shot-question-answering"])
def test_each_answer_stands_in_its_context(workload: str) -> None:
    """Each built-in question can be answered by a span of its own paragraph of 80 to 200 words."""
    for item, row in zip(load_inputs(workload, None), rows("questions"), strict=True):
        assert sent(item)["inputs"] == {"question": row["question"], "context": row["context"]}
        assert row["answer"] in row["context"]
        assert 80 <= len(row["context"].split()) <= 200


def test_fill_mask_has_one_mask_in_a_known_passage() -> None:
    """Each fill-mask text is the first 20 words of a passage with one word masked; each passage names its source."""
    for text, row in zip(texts("fill-mask"), rows("passages"), strict=True):
        assert text.count("[MASK]") == 1
        assert text.replace("[MASK]", row["masked"]) == " ".join(row["text"].split()[:20])
        assert re.search(r"\b1[5-8]\d\d$", row["source"]), "printed before 1900"


def test_reviews_are_half_positive() -> None:
    """The reviews favour neither label, and zero-shot classification is given both."""
    labels = [row["sentiment"] for row in rows("reviews")]
    assert labels.count("positive") == labels.count("negative")
    for item in load_inputs("zero-shot-text-classification", None):
        assert sent(item)["parameters"] == {"candidate_labels": ["positive", "negative"]}


@pytest.mark.parametrize("workload", PICTURES)
def test_pictures_are_640_by_480_jpegs(workload: str) -> None:
    """Every picture has the size to which the study resized its images, in colour."""
    for item in load_inputs(workload, None):
        body, content_type = item.body({})
        frame = re.search(rb"\xff\xc0\x00\x11\x08(....)(.)", body, re.DOTALL)  # baseline frame header
        assert frame
        assert (content_type, struct.unpack(">HH", frame[1]), frame[2]) == ("image/jpeg", (480, 640), b"\x03")


def test_clips_are_short_speech_with_a_transcript() -> None:
    """Every clip is FLAC, 16 kHz, mono, 16 bit, 3 to 8 seconds, and its sentence stands beside it."""
    for item, row in zip(load_inputs("automatic-speech-recognition", None), rows("speech"), strict=True):
        body, content_type = item.body({})
        bits = struct.unpack_from(">Q", body, 18)[0]
        assert (content_type, bits >> 44, bits >> 41 & 7, bits >> 36 & 31) == ("audio/flac", 16_000, 0, 15)
        assert item.audio_seconds == (bits & 0xF_FFFF_FFFF) / 16_000
        assert 3 <= (item.audio_seconds or 0) <= 8
        assert row["text"].endswith(".")


def test_each_file_has_its_source_written_down() -> None:
    """SOURCES.md has a row for every picture, clip and text file, and names nothing that is not there."""
    listed = set(re.findall(r"^\| `([^`]+)` \|", (DATA / "SOURCES.md").read_text(encoding="utf-8"), re.MULTILINE))
    media = {path.relative_to(DATA).as_posix() for path in DATA.glob("*/*")}
    families = {path.name for path in DATA.glob("*.jsonl")} - {"images.jsonl", "speech.jsonl"}
    assert listed == media | families
    assert media == {row["file"] for family in ("images", "speech") for row in rows(family)}


def test_the_data_is_small_and_goes_into_the_wheel() -> None:
    """All inputs together stay under 1.5 MB, and the package-data patterns reach each of them."""
    files = {path for path in DATA.rglob("*") if path.is_file()}
    assert sum(path.stat().st_size for path in files) < 1_500_000
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert files <= {path for pattern in patterns["perjoule_loadgen"] for path in DATA.parent.glob(pattern)}


# --- Bodies


def test_media_go_as_they_are_or_as_base64() -> None:
    """A picture is sent raw when there is nothing to say about it, else as base64 with parameters and model."""
    item = Item("rocket.jpg", JPEG, "image/jpeg")
    assert item.body({}) == (JPEG, "image/jpeg")
    body, content_type = item.body({"top_k": 3}, model="tiny/image-classification")
    assert content_type == "application/json"
    assert json.loads(body) == {
        "inputs": base64.b64encode(JPEG).decode(),
        "parameters": {"top_k": 3},
        "model": "tiny/image-classification",
    }


def test_the_items_own_parameters_win(tmp_path: Path) -> None:
    """What a line asks for is kept, whatever the run asks for; the rest of the run's parameters are added."""
    path = tmp_path / "own.jsonl"
    path.write_text('{"inputs": "Long ago", "parameters": {"max_new_tokens": 50}}')
    (item,) = load_inputs("text-generation", path)
    body = json.loads(item.body({"max_new_tokens": 10, "min_new_tokens": 10})[0])
    assert body == {"inputs": "Long ago", "parameters": {"max_new_tokens": 50, "min_new_tokens": 10}}


@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip))
def test_any_text_arrives_as_it_was_written(text: str) -> None:
    """Whatever a text holds, quotes, newlines or emoji, the body gives it back."""
    item = inputs.text_item("x", text)
    assert sent(item) == {"inputs": text, "parameters": {}}


# --- The user's file


def test_a_users_texts_are_read(tmp_path: Path) -> None:
    """Objects and bare strings, blank lines, a byte order mark, CRLF and U+2028 within a text are all taken."""
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"inputs": "one"}\r\n\r\n"two\xe2\x80\xa8lines"\n   \n{"inputs": "three"}')
    items = load_inputs("summarization", path)
    assert [sent(item)["inputs"] for item in items] == ["one", "two\u2028lines", "three"]
    assert [item.label for item in items] == ["mine.jsonl:1", "mine.jsonl:3", "mine.jsonl:5"]


def test_a_users_questions_are_read(tmp_path: Path) -> None:
    """A question with its context goes through unchanged."""
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"inputs": PAIR}))
    assert sent(load_inputs("question-answering", path)[0]) == {"inputs": PAIR, "parameters": {}}


def test_a_users_media_are_found_beside_the_file(tmp_path: Path) -> None:
    """Media are named relative to the JSON lines or given as base64, and recognised by their bytes, not their name."""
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.dat").write_bytes(FLAC)
    encoded = base64.b64encode(wav(tmp_path, 1.5)).decode()
    path = tmp_path / "mine.jsonl"
    path.write_text(f'{{"file": "clips/a.dat"}}\n{{"inputs": "{encoded}"}}\n')
    first, second = load_inputs("automatic-speech-recognition", path)
    assert first.body({}) == (FLAC, "audio/flac")
    assert (second.body({})[1], second.audio_seconds) == ("audio/wav", 1.5)


def line(value: object) -> bytes:
    """A line of JSON."""
    return json.dumps(value).encode()


REFUSED: list[tuple[str, str, bytes, str]] = [
    ("empty file", "summarization", b"", "the file is empty; write one input per line"),
    ("blank lines", "summarization", b"\n \r\n", "the file is empty; write one input per line"),
    ("not JSON", "summarization", b"just text", "line 1: it is not JSON"),
    ("cut off", "summarization", b'"fine"\n{"inputs": "a', "line 2: it is not JSON"),
    ("Latin-1", "summarization", b'"ok"\n\n"caf\xe9"', "line 3: it is not UTF-8"),
    ("UTF-16", "summarization", '"text"'.encode("utf-16"), "line 1: it is not UTF-8"),
    ("array", "summarization", b'["a", "b"]', "line 1: it must be an object"),
    ("number", "summarization", b"7", "line 1: it must be an object"),
    ("null", "summarization", b"null", "line 1: it must be an object"),
    ("deep", "summarization", b"[" * 100_000, "line 1: it is nested too deeply"),
    ("half a pair", "summarization", rb'"\ud800"', "line 1: it holds half of a surrogate pair"),
    ("NaN", "summarization", b'{"inputs": "a", "parameters": {"x": NaN}}', "line 1: NaN is not JSON"),
    ("infinite", "summarization", b'{"inputs": "a", "parameters": {"x": 1e999}}', "a number that cannot be sent"),
    ("long integer", "summarization", b'{"inputs": "a", "parameters": {"x": %b}}' % (b"9" * 5000), "a number that"),
    ("key twice", "summarization", b'{"inputs": "a", "inputs": "b"}', "line 1: a key occurs twice"),
    ("unknown key", "summarization", line({"inputs": "a", "paramters": {}}), "unknown key 'paramters'"),
    ("no inputs", "summarization", line({"parameters": {}}), 'write one input, such as {"inputs"'),
    ("both", "image-to-text", line({"inputs": "a", "file": "b"}), 'write one input, such as {"file"'),
    ("parameters", "summarization", line({"inputs": "a", "parameters": [1]}), '"parameters" must be an object'),
    ("blank text", "summarization", line({"inputs": "  "}), "line 1: it does not fit summarization"),
    ("file for text", "summarization", line({"file": "a.jpg"}), "line 1: it does not fit summarization"),
    ("text for QA", "question-answering", b'"Who?"', 'write {"inputs": {"question"'),
    ("no context", "question-answering", line({"inputs": {"question": "Who?"}}), "does not fit question-answering"),
    ("null context", "question-answering", line({"inputs": PAIR | {"context": None}}), "does not fit"),
    ("QA for text", "fill-mask", line({"inputs": PAIR}), "does not fit fill-mask"),
    ("no mask", "fill-mask", b'"No gap here."', "Paris is the [MASK] of France."),
    ("no labels", "zero-shot-text-classification", b'"Fine."', '{"candidate_labels": ["positive", "negative"]}'),
    ("text for image", "image-to-text", b'"a cat"', "line 1: it must be an object"),
    ("not base64", "image-to-text", line({"inputs": "a cat!"}), '"inputs" is not base64; write {"file"'),
    ("URL", "image-to-text", line({"inputs": "https://example.org/cat.jpg"}), '"inputs" is not base64'),
    ("blank file name", "image-to-text", line({"file": ""}), '"file" a path; write {"file": "picture.jpg"}'),
    ("number as file", "image-to-text", line({"file": 7}), '"file" a path; write {"file": "picture.jpg"}'),
    ("missing picture", "image-to-text", b'\n{"file": "no.jpg"}', "line 2: there is no file"),
    ("folder as picture", "image-to-text", line({"file": "."}), "is a folder, not a file"),
    ("NUL in the name", "image-to-text", line({"file": "a\0b"}), "cannot be read"),
    ("endless name", "image-to-text", line({"file": "a" * 5000}), "cannot be read: File name too long"),
    ("text as picture", "image-to-text", line({"file": "refused.jsonl"}), "it is none of JPEG, PNG"),
    ("empty picture", "image-to-text", line({"file": "empty"}), "it is none of JPEG, PNG"),
    ("sound as picture", "object-detection", line({"file": "clip.flac"}), "takes image, and this is audio/flac"),
    ("picture as sound", "automatic-speech-recognition", line({"file": "cat.jpg"}), "takes audio, and this is"),
    ("cut-off FLAC", "automatic-speech-recognition", line({"file": "short.flac"}), "no readable audio/flac"),
    ("FLAC without rate", "automatic-speech-recognition", line({"file": "zero.flac"}), "the sample rate is 0"),
    ("WAV without samples", "automatic-speech-recognition", line({"file": "short.wav"}), "it holds no samples"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("workload", "content", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_cannot_be_sent_is_refused_with_its_line(
    tmp_path: Path, workload: str, content: bytes, message: str
) -> None:
    """Every mistake ends in one line that names the file and says what to write instead, and never in a traceback."""
    for name, data in {
        "refused.jsonl": content,
        "empty": b"",
        "clip.flac": FLAC,
        "cat.jpg": JPEG,
        "short.flac": FLAC[:20],
        "zero.flac": FLAC[:18] + bytes(24),
        "short.wav": wav(tmp_path, 0.1)[:36],
    }.items():
        (tmp_path / name).write_bytes(data)
    path = tmp_path / "refused.jsonl"
    with pytest.raises(UsageError) as caught:
        load_inputs(workload, path)
    text = str(caught.value)
    assert (text.startswith(f"--inputs {path}"), "\n" in text, len(text) < 6000) == (True, False, True)
    assert message in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "there is no file"),
        (Path.mkdir, "is a folder, not a file"),
        (os.mkfifo, "is not a regular file"),
        (lambda path: path.symlink_to(path), "cannot be read"),
    ],
    ids=["missing", "folder", "pipe", "loop"],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    """A missing file, a folder, a pipe that nobody writes to and a link to itself are named, at once."""
    path = tmp_path / "mine.jsonl"
    make(path)
    with pytest.raises(UsageError, match=message) as caught:
        load_inputs("summarization", path)
    assert str(path) in str(caught.value)


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    """A picture of more than 20 MB and a set of more than 200 MB are refused before they fill the memory."""
    with (tmp_path / "huge.jpg").open("wb") as huge:
        huge.truncate(inputs.MAX_MEDIA_BYTES + 1)
    with (tmp_path / "large.jpg").open("wb") as large:
        large.write(JPEG)
        large.truncate(inputs.MAX_MEDIA_BYTES)
    path = tmp_path / "mine.jsonl"
    path.write_text('{"file": "huge.jpg"}')
    with pytest.raises(UsageError, match=r"line 1: .*huge.jpg is over 20000000 bytes"):
        load_inputs("image-to-text", path)
    path.write_text('{"file": "large.jpg"}\n' * 11)
    with pytest.raises(UsageError, match=r"line 11: the set is over 200000000 bytes"):
        load_inputs("image-to-text", path)


def test_an_unknown_workload_is_refused() -> None:
    """A misspelt task is answered with the one that was meant."""
    with pytest.raises(UnknownWorkloadError, match="did you mean summarization"):
        load_inputs("sumarization", None)


# --- Lengths of clips


def test_a_wav_of_a_stream_lasts_to_its_end(tmp_path: Path) -> None:
    """A WAV whose sizes were never filled in, as a pipe writes it, plays as long as the file has samples."""
    data = bytearray(wav(tmp_path, 2.0, rate=8000))
    data[40:44] = b"\xff" * 4
    assert inputs.media_item("x", bytes(data)).audio_seconds == 2.0


def test_chunks_before_the_samples_are_stepped_over(tmp_path: Path) -> None:
    """A comment of odd length in front of the samples does not change how long a WAV plays."""
    data = wav(tmp_path, 0.5)
    assert inputs.media_item("x", data[:36] + b"LIST\x03\0\0\0abc\0" + data[36:]).audio_seconds == 0.5


def test_a_flac_that_does_not_know_its_length_says_so() -> None:
    """Zero samples in STREAMINFO mean unknown, not a clip of no length."""
    data = bytearray(FLAC)
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert inputs.media_item("x", bytes(data)).audio_seconds is None


@given(
    st.sampled_from([FLAC[:60], b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + bytes(24)]),
    st.binary(max_size=40),
    st.integers(4, 50),
)
def test_hostile_headers_are_read_or_refused(head: bytes, tail: bytes, cut: int) -> None:
    """Whatever follows the first bytes of a clip, the answer is a length or a refusal."""
    try:
        item = inputs.media_item("x", head[:cut] + tail)
    except UsageError:
        return
    assert item.audio_seconds is None or item.audio_seconds >= 0

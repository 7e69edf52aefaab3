"""The outer shape of a request: what is taken, and that everything else is invalid and nothing an error of ours."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perjoule.errors import InvalidInputError
from perjoule_server import samples, schemas
from perjoule_server.media import from_base64, sniff

PNG = samples.png()
TEXT, IMAGE = "text-classification", "image-classification"


@pytest.mark.parametrize(
    ("body", "inputs", "parameters", "model"),
    [
        (b'{"inputs": "a"}', "a", {}, None),
        (b'{"inputs": "a", "parameters": null, "model": null}', "a", {}, None),
        (
            b'{"inputs": {"question": "q"}, "parameters": {"top_k": 2}, "model": "m"}',
            {"question": "q"},
            {"top_k": 2},
            "m",
        ),
        (b'{"inputs": null}', None, {}, None),  # the task says what it thinks of null
        (b'{"inputs": "a", "options": {"use_cache": false}, "stream": false}', "a", {}, None),
        (b'{"inputs": "a", "normalize": true}', "a", {"normalize": True}, None),
        ('{"inputs": "é \\ud83d\\ude00"}'.encode(), "é 😀", {}, None),
    ],
)
def test_what_is_taken(body: bytes, inputs: object, parameters: object, model: str | None) -> None:
    """Hugging Face's outer shapes, parameters beside the inputs included."""
    assert schemas.read(TEXT, "application/json", body) == schemas.Envelope(inputs, parameters, model)  # type: ignore[arg-type]  # a table of literals


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b'"inputs"',
        b"{}",
        b'{"parameters": {}}',
        b'{"inputs": "a", "parameters": []}',
        b'{"inputs": "a", "parameters": "top_k"}',
        b'{"inputs": "a", "model": 1}',
        b'{"inputs": "a", "model": ["m"]}',
        b'{"inputs": "a", "inputs": "b"}',
        b'{"inputs": {"context": 1, "context": 2}}',
        b'{"inputs": "a", "parameters": {"top_k": 1}, "top_k": 2}',
        b'{"inputs": "a", "stream": true}',
        b'{"inputs": NaN}',
        b'{"inputs": [Infinity]}',
        b'{"inputs": -Infinity}',
        b'{"inputs": 1e999}',
        b'{"inputs": ' + b"9" * 5000 + b"}",
        b'{"inputs": "\\ud800"}',
        b'{"\\udfff": 1, "inputs": "a"}',
        b'{"inputs": "\xff"}',
        b'{"inputs": "a"}\x00',
        '{"inputs": "a"}'.encode("utf-16"),
        b"\xef\xbb\xbf" + b'{"inputs": "a"}',
        b"[" * 100_000,
        b'{"inputs": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
    ],
)
def test_what_is_not(body: bytes) -> None:
    """Malformed, ambiguous or unencodable bodies are the client's error, with a message."""
    with pytest.raises(InvalidInputError) as error:
        schemas.read(TEXT, "application/json", body)
    assert str(error.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """No body makes the reader raise anything else than its refusal."""
    for content_type in ("", "application/json", "image/png"):
        for task in (TEXT, IMAGE):
            with suppress(InvalidInputError):
                schemas.task_request(task, schemas.read(task, content_type, body))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (PNG, "image/png"),
        (samples.wav(), "audio/wav"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"BM\0\0", "image/bmp"),
        (b"fLaC\0", "audio/flac"),
        (b"RIFF\0\0\0\0AVI ", None),
        (b"RIFF", None),
        (b"{", None),
        (b"", None),
    ],
)
def test_a_body_without_a_type_is_sniffed(head: bytes, expected: str | None) -> None:
    """The first bytes tell the formats that clients send."""
    assert sniff(head) == expected


@pytest.mark.parametrize(
    "content_type",
    ["", "image/png", "IMAGE/PNG; q=1", "application/octet-stream", "application/x-www-form-urlencoded", "audio/wav"],
)
def test_raw_media_is_taken_under_any_fitting_type(content_type: str) -> None:
    """A raw image needs no content type, and curl's default one does not hide it."""
    assert schemas.read(IMAGE, content_type, PNG).raw == PNG


def test_json_for_a_media_task_is_base64() -> None:
    """Base64 arrives as the bytes it stands for, with parameters beside it, and also without a content type."""
    body = b'{"inputs": "' + base64.b64encode(PNG) + b'", "parameters": {"top_k": 2}}'
    for content_type in ("", "application/json; charset=utf-8", "application/vnd.x+json"):
        request = schemas.task_request(IMAGE, schemas.read(IMAGE, content_type, body))
        assert (request.inputs, request.media, request.parameters) == (None, PNG, {"top_k": 2})


@pytest.mark.parametrize(
    ("task", "content_type", "body"),
    [
        (TEXT, "image/png", PNG),
        (TEXT, "", PNG),
        (IMAGE, "text/xml", b"<a/>"),
        (IMAGE, "application/json", PNG),
        (IMAGE, "application/json", b'{"inputs": {"image": "x"}}'),
        (IMAGE, "application/json", b'{"inputs": "http://127.0.0.1/cat.png"}'),
        (IMAGE, "application/json", b'{"inputs": "file:///etc/passwd"}'),
        (IMAGE, "application/json", b'{"inputs": "/etc/hostname.png"}'),
        (IMAGE, "application/json", b'{"inputs": ""}'),
        (IMAGE, "application/json", b'{"inputs": "data:image/png,abc"}'),
    ],
)
def test_the_wrong_body_for_the_task_is_refused(task: str, content_type: str, body: bytes) -> None:
    """Media to a text task, other types, and anything that would have to be fetched."""
    with pytest.raises(InvalidInputError):
        schemas.task_request(task, schemas.read(task, content_type, body))


def test_base64_comes_bare_wrapped_or_as_a_data_url() -> None:
    """Line breaks and a data: head are no part of the bytes."""
    text = base64.b64encode(PNG).decode()
    wrapped = "\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    assert {from_base64(text), from_base64(wrapped), from_base64(f"data:image/png;base64,{text}")} == {PNG}

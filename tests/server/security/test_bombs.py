"""Small bodies that would cost much, and slow ones: refused within bounds, over real HTTP where the bound is there."""

import io
import socket
import struct
import time
import zlib

import numpy as np
import pytest
import soundfile
from PIL import Image

from perjoule.errors import InvalidInputError, TooLargeError
from perjoule_server import bodies
from perjoule_server.schemas import MOST_COMMAS, parse_json
from perjoule_server.tasks.audio import decode_audio
from perjoule_server.tasks.images import MAX_SCANS, decode_image
from tests.server.fakes import PATIENCE, Running

TASK = "text-classification"
HEAD = f"POST /v1/tasks/{TASK} HTTP/1.1\r\nhost: x\r\nx-timeout-ms: 60000\r\ncontent-length: 100000\r\n\r\n".encode()


@pytest.mark.parametrize("value", [b"[],", b"{},", b"1,", b'"a",', b"1.5,"])
def test_a_body_of_countless_values_is_refused(value: bytes) -> None:
    """Before it is parsed: megabytes of text would become hundreds of megabytes of values."""
    with pytest.raises(TooLargeError, match="commas"):
        parse_json(b'{"inputs": [' + value * (MOST_COMMAS + 1) + b"0]}")


def test_a_long_text_is_no_bomb() -> None:
    """A book's commas pass."""
    text = b"word, " * (MOST_COMMAS - 1)
    assert len(parse_json(b'{"inputs": "' + text + b'"}')["inputs"]) == len(text)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_compressed_texts_and_profiles_of_a_picture_are_bounded() -> None:
    """What a PNG carries beside its pixels may not unpack to hundreds of megabytes, at once or in pieces."""
    bomb, piece = zlib.compress(bytes(100 * 2**20), 9), zlib.compress(bytes(900_000), 9)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    tail = chunk(b"IDAT", zlib.compress(bytes(8 * 25))) + chunk(b"IEND", b"")
    assert decode_image(head + tail).size == (8, 8)
    for beside in (chunk(b"zTXt", b"a\0\0" + bomb), chunk(b"zTXt", b"a\0\0" + piece) * 200):
        with pytest.raises(InvalidInputError, match="cannot be decoded"):
            decode_image(head + beside + tail)


def progressive(passes: int) -> bytes:
    """Return a JPEG whose last scan is there ``passes`` times more."""
    file = io.BytesIO()
    Image.new("L", (64, 64)).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    scan = whole[whole.rfind(b"\xff\xda") : -2]
    return whole[:-2] + scan * passes + whole[-2:]


def test_a_picture_of_countless_scans_is_refused() -> None:
    """Each pass costs the whole picture again; a usual progressive one is read."""
    assert decode_image(progressive(10)).size == (64, 64)
    with pytest.raises(InvalidInputError, match="scans"):
        decode_image(progressive(MAX_SCANS))


def flac(seconds: int, claimed: int) -> bytes:
    """Return a recording whose header claims another number of samples; 0 is "unknown"."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(8_000 * seconds, np.float32), 8_000, format="FLAC")
    whole = bytearray(file.getvalue())
    fields = int.from_bytes(whole[18:26], "big")
    whole[18:26] = ((fields >> 36 << 36) | claimed).to_bytes(8, "big")
    return bytes(whole)


@pytest.mark.parametrize("claimed", [0, 8_000 * 3_600, 2**36 - 1])
def test_a_recording_that_claims_hours_is_refused(claimed: int) -> None:
    """From its header, whatever it holds; one that does not say how long it is, too."""
    with pytest.raises(TooLargeError):
        decode_audio(flac(1, claimed), 16_000, 30.0)


def test_a_recording_that_hides_hours_is_cut() -> None:
    """One that claims a second and holds ten minutes gives a second."""
    samples, seconds = decode_audio(flac(600, 8_000), 16_000, 30.0)
    assert (samples.size, seconds) == (16_000, 1.0)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow bodies are given up soon."""
    monkeypatch.setattr(bodies, "SLOW_SECONDS", 0.3)


@pytest.mark.usefixtures("hasty")
def test_a_trickle_is_given_up(server: Running) -> None:
    """A byte now and then does not keep a request open, however long its own deadline is."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.05) as client:
        client.sendall(HEAD)
        answer = b""
        while not answer and time.monotonic() - began < PATIENCE:
            client.sendall(b" ")
            try:
                answer = client.recv(4096)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"too slowly" in answer
    assert time.monotonic() - began < PATIENCE


@pytest.mark.usefixtures("hasty")
def test_a_slow_line_is_waited_for(server: Running) -> None:
    """A body that keeps a pace of its own may take longer than that."""
    body = b'{"inputs": "' + b"a" * (100_000 - 14) + b'"}'
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(HEAD)
        client.settimeout(0.1)
        for start in range(0, len(body), 10_000):
            client.sendall(body[start : start + 10_000])
            if start < 90_000:
                with pytest.raises(TimeoutError):
                    client.recv(1)
        client.settimeout(PATIENCE)
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")

"""Recordings to samples: WAV and FLAC bytes, mixed down to one channel, at the rate that the model hears.

The header is read and checked first, so that no file can ask for more memory than the limits allow.
"""

import io

import numpy as np
import numpy.typing as npt
import soundfile

from perjoule.errors import InvalidInputError, TooLargeError

FORMATS = ("WAV", "WAVEX", "FLAC")
MAX_CHANNELS = 8
RATES = (1_000, 192_000)

_BLOCK = 65_536  # frames that are read and mixed at a time

Samples = npt.NDArray[np.float32]


def decode_audio(media: bytes, rate: int, max_seconds: float) -> tuple[Samples, float]:
    """Return the samples at ``rate`` and the recording's length in seconds.

    Raises:
        InvalidInputError: no WAV or FLAC, damaged, empty, or with samples that are no numbers.
        TooLargeError: longer than ``max_seconds``.
    """
    if not (media.startswith(b"fLaC") or (media.startswith(b"RIFF") and media[8:12] == b"WAVE")):
        # libsndfile would try its other decoders, and some of those talk to stderr.
        raise InvalidInputError("the bytes are no WAV or FLAC recording")
    try:
        with soundfile.SoundFile(io.BytesIO(media)) as file:
            _check_header(file, max_seconds)
            blocks = [block.mean(axis=1) for block in file.blocks(_BLOCK, dtype="float32", always_2d=True)]
            own_rate = int(file.samplerate)
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        raise InvalidInputError(f"the bytes are no WAV or FLAC recording: {str(error)[:100]}") from None
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if not samples.size:
        raise InvalidInputError("the recording is empty")
    if not np.isfinite(samples).all():
        raise InvalidInputError("the recording holds samples that are no finite numbers")
    return resample(samples, own_rate, rate), samples.size / own_rate


def _check_header(file: soundfile.SoundFile, max_seconds: float) -> None:
    if file.format not in FORMATS:
        raise InvalidInputError(f"the recording is {file.format}; known formats are WAV and FLAC")
    low, high = RATES
    if not low <= file.samplerate <= high:
        raise InvalidInputError(f"the recording has {file.samplerate} samples a second; {low} to {high} are taken")
    if not 1 <= file.channels <= MAX_CHANNELS:
        raise InvalidInputError(f"the recording has {file.channels} channels; at most {MAX_CHANNELS} are taken")
    seconds = file.frames / file.samplerate
    if seconds > max_seconds:
        raise TooLargeError(f"the recording lasts {seconds:.1f} s; at most {max_seconds:g} s are taken")


def resample(samples: Samples, own: int, wanted: int) -> Samples:
    """Change the sampling rate, band-limited: the spectrum is cut off, or filled up with zeros, at the lower rate.

    A tenth of a second of silence on either side keeps the ends from ringing into each other. O(n log n).
    """
    if own == wanted:
        return samples
    margin = own // 10
    padded = np.pad(samples.astype(np.float64), margin)
    count = round(padded.size * wanted / own)
    spectrum = np.fft.rfft(padded)[: count // 2 + 1]
    changed = np.fft.irfft(spectrum, count) * (count / padded.size)
    start = round(margin * wanted / own)
    length = max(1, round(samples.size * wanted / own))
    return np.asarray(changed[start : start + length], dtype=np.float32)

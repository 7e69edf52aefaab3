"""Speech recognition with Whisper and its kin: one window of audio (30 s) to text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from perjoule.errors import InvalidInputError
from perjoule_server.tasks.audio import decode_audio
from perjoule_server.tasks.base import Answer, Prepared, RawOutput, TaskRequest, Work
from perjoule_server.tasks.decoding import Writing, default_decoding, generate
from perjoule_server.tasks.inputs import Parameters, media_of
from perjoule_server.tasks.settings import LENGTHS, Decoding, read_decoding
from perjoule_server.tasks.tokens import Tokens, paddings

MAX_BATCH = 16
"""Largest batch of recordings: every one is padded to the model's full window."""


@dataclass(frozen=True, slots=True)
class _Heard:
    features: torch.Tensor
    seconds: float
    decoding: Decoding


class SpeechRecognition:
    """Bytes of a WAV or FLAC recording. Reply: ``{text}``."""

    max_batch = MAX_BATCH

    def __init__(self, model: Any, extractor: Any, tokens: Tokens) -> None:
        self._model, self._extractor, self._tokens = model, extractor, tokens
        self._default = default_decoding(model)
        # The decoder's places, less what Whisper writes there itself (start, language, task, timestamps).
        self._most = int(model.config.max_target_positions) - 4

    def prepare(self, request: TaskRequest) -> Prepared:
        """See ``Task.prepare``."""
        parameters = Parameters(request.parameters, LENGTHS | {"generation_parameters", "return_timestamps"})
        parameters.only("return_timestamps", False)
        parameters = parameters.with_nested("generation_parameters", LENGTHS | {"do_sample"})
        parameters.only("do_sample", False)
        decoding = read_decoding(parameters, self._default, self._most)
        rate = int(self._extractor.sampling_rate)
        samples, seconds = decode_audio(media_of(request), rate, float(self._extractor.chunk_length))
        features = self._extractor(samples, sampling_rate=rate, return_tensors="pt")["input_features"][0]
        if not torch.isfinite(features).all():
            raise InvalidInputError("the recording's samples are too large")
        return Prepared(_Heard(features, seconds, decoding), features.shape[-1] // 2, decoding)

    def run(self, batch: Sequence[Prepared], work: Work) -> list[RawOutput]:
        """See ``Task.run``."""
        writing = Writing(work, [item.payload.seconds for item in batch])
        features = torch.stack([item.payload.features for item in batch]).to(self._model.device, self._model.dtype)
        # Whisper's own generate returns what it wrote, without the tokens it starts from.
        inputs = {"input_features": features}
        written = generate(self._model, inputs, self._tokens, batch[0].payload.decoding, writing, start=0)
        padding = paddings([len(ids) for ids in written])
        return [RawOutput(*one) for one in zip(written, padding, strict=True)]

    def finish(self, prepared: Prepared, raw: RawOutput) -> Answer:
        """See ``Task.finish``."""
        text = self._tokens.text(raw.payload).strip()
        return Answer({"text": text}, output_tokens=len(raw.payload), work_units=prepared.payload.seconds)

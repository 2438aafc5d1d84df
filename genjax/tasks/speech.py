"""Speech to text: a Whisper that writes what is said in a sound (Radford et al., 2022)."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from genjax import decoding
from genjax.config import structure
from genjax.data import describe
from genjax.data.sources.sounds import read_sound
from genjax.data.speech_rows import sound_features, speech_columns
from genjax.errors import ConfigError, DataError, RequestError
from genjax.interop import folders, huggingface
from genjax.models.whisper import STRIDE, Whisper, WhisperConfig, flops_per_sound
from genjax.models.whisper_sizes import WHISPER_SIZES
from genjax.tasks.contract import Batch, Variables
from genjax.tasks.seq2seq import Seq2Seq, Seq2SeqConfig, network_config
from genjax.tasks.seq2seq_sampling import COMPONENT

GENERATION, SUPPRESSED = "generation_config.json", ("suppress_tokens", "begin_suppress_tokens")
PUBLISHED_RATE = 16000  # samples of a second, of the published models


@dataclass(frozen=True)
class SpeechConfig(Seq2SeqConfig):
    """The section `config.task`; `prompts` are paths of WAV files."""

    name: str = "speech"
    # Token ids that an answer never has, and that it does not begin with: signs that are not said, as published models list them.
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()


@dataclass(frozen=True)
class SpeechRequest(decoding.Settings):
    """A sound to write down, with all knobs of decoding."""

    sound: str = field(default="", metadata={"help": "a WAV file; one in a zip is named file.zip/name.wav"})
    language: str = field(default="en", metadata={"help": "published models of many languages: the one that is spoken"})
    wish: Literal["transcribe", "translate"] = field(
        default="transcribe", metadata={"help": "published models of many languages: write it as it is, or in English"}
    )


@dataclass(frozen=True)
class Speech(Seq2Seq):
    """A Whisper under the cross-entropy of its texts. FLOPs follow `models.whisper.flops_per_sound`; padding counts."""

    request_type = SpeechRequest
    network_type = Whisper

    @property
    def batch_spec(self):
        columns = speech_columns(self.info.max_frames, self.info.log_mel.num_mels, self.info.target_length)
        return {name: jax.ShapeDtypeStruct((self.info.batch_size, *shape), dtype) for name, (shape, dtype) in columns.items()}

    def init(self, key):
        features = jnp.zeros((1, STRIDE, self.model_config.num_mels), jnp.float32)
        return {COMPONENT: self.model.init(key, features, jnp.zeros((1, 2), jnp.int32))}

    def example_requests(self):
        knobs = {"max_new_tokens": min(self.config.sample_tokens, self._limits[1]), "temperature": 0.0}
        return [SpeechRequest(sound=path, **knobs) for path in self.config.prompts]

    @property
    def flops_per_step(self) -> float:
        return self.info.batch_size * flops_per_sound(self.model_config, self.info.max_frames, self.info.target_length)

    @property
    def units_per_step(self) -> tuple[str, int]:
        return "sounds", self.info.batch_size

    @property
    def _limits(self) -> tuple[int, int]:
        return STRIDE * self.model_config.source_length, self.model_config.target_length

    def _inputs(self, batch: Batch):
        return batch["features"], batch["feature_mask"], None

    def _encode(self, model, source, mask, positions, deterministic):
        return model.encode(source, feature_mask=mask > 0, deterministic=deterministic)

    def _source(self, request: SpeechRequest) -> np.ndarray:
        if not request.sound:
            raise RequestError("there is no sound; give a WAV file with --sound.")
        log_mel, most = self.info.log_mel, self._limits[0]
        try:
            samples = read_sound(os.path.expandvars(os.path.expanduser(request.sound)), log_mel.sample_rate)
        except DataError as error:
            raise RequestError(str(error)) from error
        if len(samples) > most * log_mel.hop:
            seconds = len(samples) / log_mel.sample_rate
            raise RequestError(f"{request.sound} is {seconds:.1f} s long, but the model hears {most / 100:.1f} s; cut it.")
        return sound_features(samples, log_mel, self.info.max_frames if self.info.silence else most, self.info.silence)

    def _begin(self, request: SpeechRequest) -> list[int]:
        """The first token; of a published model also those that name language, wish and the absence of times."""
        begun, tokenizer = [self.model_config.start_id], self._tokenizer
        if (no_times := tokenizer.token_id("<|notimestamps|>")) is None:
            return begun
        if (wish := tokenizer.token_id(f"<|{request.wish}|>")) is not None:
            language = tokenizer.token_id(f"<|{request.language}|>")
            if language is None:
                raise RequestError(f"language {request.language!r} is not one that this model knows; give a code such as 'en'.")
            begun += [language, wish]
        return [*begun, no_times]

    def _step(self, variables: Variables):
        step, config = super()._step(variables), self.config
        if not (config.suppress_tokens or config.begin_suppress_tokens):
            return step
        never, not_first = (self._named(ids) for ids in (config.suppress_tokens, config.begin_suppress_tokens))

        def allowed(tokens, cache):
            logits, advanced = step(tokens, cache)
            return jnp.where(never | (not_first & (cache.index == 0)), -jnp.inf, logits), advanced

        return allowed

    def _named(self, ids: Sequence[int]) -> Bool[np.ndarray, " vocab"]:
        return np.isin(np.arange(self.model_config.vocab_size), ids)

    def export(self, folder: str | Path, variables: Variables, **settings: Any) -> None:
        """Writes a Hugging Face folder that transformers reads, tokenizer and suppressed tokens included."""
        kept = {name: list(getattr(self.config, name)) or None for name in SUPPRESSED}
        generation = {"decoder_start_token_id": self.model_config.start_id, **kept}
        super().export(folder, variables, files={GENERATION: generation}, **settings)

    def _about(self, request: SpeechRequest) -> dict[str, Any]:
        return {"sound": request.sound}


def from_weights(folder: Path, tokenizer: Any, dtype: str = "float32") -> Speech:
    """The task for a Hugging Face folder of a Whisper, which hears silence after a sound up to 30 seconds."""
    _, network = huggingface.read_config(folder)
    section = {"name": "speech", "sample_rate": PUBLISHED_RATE, "num_mels": network.num_mels, "silence": True}
    shape = {"max_frames": STRIDE * network.source_length, "target_length": network.target_length}
    info = dataclasses.replace(describe(section | shape, tokenizer), vocab_size=network.vocab_size)
    # Newer folders keep in a file of its own how a model generates, older ones in config.json.
    file = folder / GENERATION
    values = folders.read_json(file if file.is_file() else folder / "config.json")
    suppressed = {name: tuple(values.get(name) or ()) for name in SUPPRESSED}
    return Speech(dataclasses.replace(network, dtype=dtype), info, SpeechConfig(model={}, **suppressed))


def build(section: Mapping[str, Any], info: Any) -> Speech:
    """The task from `config.task` and what the data knows of itself. Bands, and lengths that nobody names, are the data's."""
    config = structure(SpeechConfig, section, "config.task")
    if not hasattr(info, "log_mel"):
        raise ConfigError("config.task.name 'speech' reads sounds with texts; set data.name to 'speech'.")
    lengths = (
        {} if "size" in config.model else {"source_length": -(-info.max_frames // STRIDE), "target_length": info.target_length}
    )
    model = {"num_mels": info.log_mel.num_mels, **lengths, **config.model}
    network = network_config(WhisperConfig, WHISPER_SIZES, model, info)
    if info.log_mel.num_mels != network.num_mels:
        raise ConfigError(f"data.num_mels is {info.log_mel.num_mels}, but config.task.model.num_mels {network.num_mels}.")
    if info.max_frames > STRIDE * network.source_length or info.target_length > network.target_length:
        raise ConfigError(
            f"data.max_frames {info.max_frames} and data.target_length {info.target_length} are more than the model's "
            f"{STRIDE * network.source_length} and {network.target_length}; raise source_length or target_length in "
            "config.task.model."
        )
    return Speech(network, info, config)

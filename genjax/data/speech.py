"""Speech with what is said in it, from WAV files to the rows of a batch."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genjax.config import structure
from genjax.data.checks import check_limits
from genjax.data.dataset import Batches, Dataset, Datasets, Reading
from genjax.data.hashing import digest
from genjax.data.log_mel import LogMel
from genjax.data.sources.sounds import Sound, Sounds
from genjax.data.speech_rows import SpeechAugmentation, SpeechRows
from genjax.data.text_config import TokenizerConfig
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.build import given_tokenizer, train_tokenizer
from genjax.errors import ConfigError, DataError

FORMAT = "1"  # of the rows: change it when the same config gives other batches than before
NOT_IN_ROWS = ("path", "num_threads", "num_workers", "prefetch", "cache_dir")  # keys that say where and how, not what


@dataclass(frozen=True)
class SpeechDataConfig:
    """The config section `data` of speech (`data.name = "speech"`). Sounds are held in memory."""

    name: str = "speech"
    path: str = ""  # a folder or a zip of WAV files ($NAME and ~ are expanded)
    # Where the texts are. "" : in metadata.jsonl, with file_name, text and perhaps speaker; else a regular expression over the
    # files' names without ending, with the group `text` and perhaps `speaker`.
    name_pattern: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)  # what stands for a text that was found, such as "7": "seven"
    # What is held out: all of some speakers, or a part of the sounds (chosen by the hash of the name).
    held_out_speakers: tuple[str, ...] = ()
    evaluation_fraction: float = 0.1
    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig("character", add_eos=True))
    batch_size: int = 32  # sounds of a global batch, over all processes
    sample_rate: int = 16000  # to which sounds are brought; the published Whispers': 16,000
    num_mels: int = 80
    max_frames: int = 3000  # of 10 ms; sounds that are longer are left out and counted
    target_length: int = 64  # tokens of a text with its end; longer ones are left out and counted
    silence: bool = False  # the model hears silence up to max_frames, as the published ones do, and no padding
    augmentation: SpeechAugmentation = field(default_factory=SpeechAugmentation)
    shuffle: bool = True
    # How it is read. None of these changes a batch.
    num_threads: int = 2
    num_workers: int = 0
    prefetch: int = 8
    cache_dir: str = ""  # nothing is cached

    def __post_init__(self):
        check_limits(self, positive=("num_mels", "max_frames", "target_length"))
        if self.sample_rate < 1000 or self.sample_rate % 200:
            raise ConfigError(f"data.sample_rate is {self.sample_rate}; it must be 1,000 or more and a multiple of 200.")


@dataclass(frozen=True)
class SpeechInfo:
    """A dataset of speech in figures.

    Attributes:
        tokenizer: of the texts; None in a description without data.
        log_mel: the features of a sound.
        num_rows: sounds of an epoch; `seconds` long in all.
        notes: sentences about the speakers, and about what was left out.
    """

    tokenizer: Tokenizer | None
    vocab_size: int
    batch_size: int
    log_mel: LogMel
    max_frames: int
    target_length: int
    silence: bool = False
    num_rows: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def save(self, run: Path) -> None:
        """Leaves in the run directory what sampling from it needs beside the weights: RUN/tokenizer."""
        if self.tokenizer is not None and not (run / "tokenizer").is_dir():
            self.tokenizer.save(run / "tokenizer")

    def __str__(self) -> str:
        filled = 100 * self.seconds / max(self.num_rows * self.max_frames, 1)
        figures = (
            f"{self.num_rows:,} sounds of {self.seconds / 60:,.1f} minutes (vocabulary {self.vocab_size:,}), {self.max_frames:,} "
            f"frames of {self.log_mel.num_mels} bands each, {filled:.1%} filled"
        )
        return "; ".join([figures, *self.notes])


def build_speech(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`."""
    config = structure(SpeechDataConfig, config, "config.data")
    source = speech_source(config)
    train, held_out = split_sounds(config, list(source))
    texts = [sound.text for sound in train + held_out]
    tokenizer = given_tokenizer(config.tokenizer)
    tokenizer = tokenizer or train_tokenizer(config.tokenizer, lambda: texts, lambda limit: [sound.text for sound in train])
    if tokenizer.eos_id is None:
        raise ConfigError("the tokenizer has no token for the end of a text; set data.tokenizer.add_eos=True.")
    shape = {name: value for name, value in asdict(config).items() if name not in NOT_IN_ROWS}
    fingerprint = digest(FORMAT, source.fingerprint, tokenizer.fingerprint, repr(sorted(shape.items())), str(seed))
    evaluation = _dataset(config, tokenizer, held_out, fingerprint, None) if held_out else None
    return Datasets(_dataset(config, tokenizer, train, fingerprint, seed), evaluation)


def describe_speech(config: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> SpeechInfo:
    """See `genjax.data.describe`."""
    c = structure(SpeechDataConfig, config, "config.data")
    vocab_size = tokenizer.vocab_size if tokenizer else c.tokenizer.vocab_size
    return SpeechInfo(
        tokenizer, vocab_size, c.batch_size, LogMel(c.sample_rate, c.num_mels), c.max_frames, c.target_length, c.silence
    )


def speech_source(config: SpeechDataConfig) -> Sounds:
    return Sounds(config.path, config.name_pattern, config.texts, config.sample_rate)


def split_sounds(config: SpeechDataConfig, sounds: Sequence[Sound]) -> tuple[list[Sound], list[Sound]]:
    """The sounds to train on, and those held out.

    Raises:
        DataError: a speaker who is to be held out and whom nobody knows, or nothing left to train on.
    """
    speakers = {sound.speaker for sound in sounds}
    if unknown := sorted(set(config.held_out_speakers) - speakers):
        known = ", ".join(sorted(speakers - {""})) or "none"
        raise DataError(f"data.held_out_speakers names {', '.join(unknown)}; the speakers of {config.path} are: {known}.")
    if config.held_out_speakers:
        held_out = [sound.speaker in config.held_out_speakers for sound in sounds]
    else:
        limit = config.evaluation_fraction * 2.0**64
        held_out = [_hash(Path(sound.name).name) < limit for sound in sounds]
    if all(held_out):
        raise DataError(f"all {len(held_out):,} sounds of {config.path} are held out; leave some to train on.")
    parts: tuple[list[Sound], list[Sound]] = ([], [])
    for sound, apart in zip(sounds, held_out, strict=True):
        parts[apart].append(sound)
    return parts


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _dataset(config: SpeechDataConfig, tokenizer: Tokenizer, sounds: list[Sound], fingerprint: str, seed: int | None) -> Dataset:
    """A training dataset when there is a seed, otherwise an evaluation dataset: in order, finite, nothing changed."""
    log_mel = LogMel(config.sample_rate, config.num_mels)
    end = [tokenizer.eos_id]
    targets = [np.array([*tokens, *end], np.int32) for tokens in tokenizer.encode_batch([sound.text for sound in sounds])]
    kept = [
        number
        for number, (sound, target) in enumerate(zip(sounds, targets, strict=True))
        if len(sound.samples) <= config.max_frames * log_mel.hop and len(target) <= config.target_length
    ]
    part = "training" if seed is not None else "held-out"
    if not kept:
        raise DataError(
            f"all {len(sounds):,} {part} sounds are longer than data.max_frames {config.max_frames} or their texts than "
            f"data.target_length {config.target_length}."
        )
    notes = tuple(filter(None, (_speakers(sounds), _left_out(len(sounds) - len(kept), len(sounds)))))
    samples = [sounds[number].samples for number in kept]
    shape = {"max_frames": config.max_frames, "target_length": config.target_length, "silence": config.silence}
    augmentation = None if seed is None else config.augmentation
    rows = SpeechRows(samples, [targets[number] for number in kept], log_mel, **shape, augmentation=augmentation, seed=seed or 0)
    info = SpeechInfo(
        tokenizer,
        tokenizer.vocab_size,
        config.batch_size,
        log_mel,
        **shape,
        num_rows=len(kept),
        seconds=sum(map(len, samples)) / config.sample_rate,
        notes=notes,
    )
    batches = Batches(rows, config.batch_size, seed if config.shuffle else None, endless=seed is not None)
    return Dataset(info, fingerprint, batches, Reading(config.num_threads, config.num_workers, config.prefetch))


def _speakers(sounds: Sequence[Sound]) -> str:
    speakers = sorted({sound.speaker for sound in sounds} - {""})
    shown = ", ".join(speakers) if len(speakers) <= 8 else f"{len(speakers):,}"
    return f"speakers: {shown}" if speakers else ""


def _left_out(longer: int, total: int) -> str:
    return f"{longer:,} of {total:,} sounds left out (they or their texts are longer than a row)" if longer else ""

"""WAV files with what is said in them: a folder or a zip, texts from metadata.jsonl or from the files' names."""

import io
import json
import math
import re
import wave
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from genjax.data.hashing import digest
from genjax.data.sources.archives import members
from genjax.data.sources.files import find_files, hash_files
from genjax.errors import DataError

METADATA = "metadata.jsonl"
LARGEST = 1 << 30  # bytes of a sound


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound and what is said in it.

    Attributes:
        name: a path that `read_sound` opens; of a zip's member, that of the zip and then the member's.
        text: what is said.
        speaker: who says it; "" where that is not known.
        samples: in [-1, 1], one channel.
    """

    name: str
    text: str
    speaker: str
    samples: Float[np.ndarray, " samples"]


@dataclass(frozen=True)
class Sounds:
    """The WAV files of a place, sorted by name.

    Attributes:
        path: a folder or a zip file.
        name_pattern: a regular expression over file names without ending, with groups `text` and perhaps `speaker`; "" : every
            file has a line in metadata.jsonl with `file_name`, `text` and perhaps `speaker`.
        texts: what stands for a text ("7": "seven"); a text that is not there stays as it is.
        sample_rate: to which all sounds are brought.
    """

    path: str
    name_pattern: str
    texts: Mapping[str, str]
    sample_rate: int

    @cached_property
    def files(self) -> tuple[Path, ...]:
        return find_files(self.path)

    @cached_property
    def fingerprint(self) -> str:
        settings = (self.name_pattern, json.dumps(dict(self.texts), sort_keys=True), str(self.sample_rate))
        return digest("sounds", *settings, hash_files(self.files), *(file.name for file in self.files))

    def __iter__(self) -> Iterator[Sound]:
        """Raises DataError: no sounds, one that cannot be read, or one whose text is not known."""
        contents = dict(sorted(self._contents()))
        lines = {}
        for name in [name for name in contents if name.endswith(METADATA)]:
            lines |= _metadata(name, contents.pop(name))
        if not contents:
            raise DataError(f"{self.path} holds no .wav files; name a folder or a zip with some.")
        for name, content in contents.items():
            text, speaker = self._said(name, lines)
            yield Sound(name, self.texts.get(text, text), speaker, decode_sound(content, self.sample_rate, name))

    def _contents(self) -> Iterator[tuple[str, bytes]]:
        wanted = lambda name: name.lower().endswith((".wav", METADATA))  # noqa: E731
        for file in self.files:
            if file.suffix.lower() == ".zip":
                yield from ((f"{file}/{name}", content) for name, content in members(file, wanted, LARGEST))
            elif wanted(file.name):
                yield str(file), file.read_bytes()

    def _said(self, name: str, lines: Mapping[str, Mapping[str, str]]) -> tuple[str, str]:
        """Text and speaker."""
        if not self.name_pattern:
            if name not in lines or not isinstance(lines[name].get("text"), str):
                raise DataError(f"{METADATA} has no text for {name}; give it one, or set data.name_pattern.")
            return lines[name]["text"], str(lines[name].get("speaker", ""))
        found = re.fullmatch(self.name_pattern, Path(name).stem)
        if not found or not found.groupdict().get("text"):
            raise DataError(f"data.name_pattern {self.name_pattern!r} finds no group 'text' in the name {Path(name).stem!r}.")
        return found["text"], found.groupdict().get("speaker") or ""


def read_sound(path: str, sample_rate: int) -> Float[np.ndarray, " samples"]:
    """A WAV file, or a zip's member as `Sound.name` names it, at `sample_rate`. Raises DataError: none, or no WAV."""
    archive, zipped, member = path.partition(".zip/")
    try:
        if zipped and Path(archive + ".zip").is_file():
            with zipfile.ZipFile(archive + ".zip") as file:
                content = file.read(member)
        else:
            content = Path(path).read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"the sound {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return decode_sound(content, sample_rate, path)


def decode_sound(content: bytes, sample_rate: int, where: str) -> Float[np.ndarray, " samples"]:
    """The content of a WAV file in [-1, 1], its channels mixed, at `sample_rate`.

    Raises:
        DataError: no WAV file, or one whose samples are not whole numbers of 8, 16, 24 or 32 bits.
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise DataError(f"{where} is not a WAV file of whole numbers ({error}); convert it, for example with ffmpeg.") from error
    data = np.frombuffer(data[: len(data) // (width * channels) * width * channels], np.uint8)
    if width == 1:
        samples = (data.astype(np.float32) - 128) / 128
    else:
        shifted = np.zeros((len(data) // width, 4), np.uint8)  # the bytes of a number of 32 bits, the highest last
        shifted[:, 4 - width :] = data.reshape(-1, width)
        samples = (shifted.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    samples = samples.reshape(-1, channels).mean(axis=1)
    if rate == sample_rate or not len(samples):
        return samples
    from scipy.signal import resample_poly  # a second that sounds of the right rate do not need

    common = math.gcd(rate, sample_rate)
    return resample_poly(samples, sample_rate // common, rate // common).astype(np.float32)


def _metadata(name: str, content: bytes) -> dict[str, Mapping[str, str]]:
    """The lines by the names of their files."""
    lines = {}
    folder = name.removesuffix(METADATA)
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            lines[folder + record["file_name"]] = record
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{name}, line {number} must be an object with a file_name: {error}.") from error
    return lines

"""Sounds to rows: read as they are, split by speaker, changed only by seed, epoch and row."""

import io
import json
import wave
import zipfile

import numpy as np
import pytest

import genjax.data
from genjax.data.log_mel import LogMel
from genjax.data.references import references
from genjax.data.sources.sounds import decode_sound, read_sound
from genjax.errors import ConfigError, DataError

RATE = 8000


def wav(samples, rate=RATE, width=2, channels=1):
    """The bytes of a WAV file with samples of [-1, 1)."""
    if width == 1:
        data = (np.round(samples * 127) + 128).astype(np.uint8).tobytes()
    else:
        whole = np.round(samples * (2 ** (8 * width - 1) - 1)).astype("<i4")
        data = whole.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(channels), file.setsampwidth(width), file.setframerate(rate)
        file.writeframes(data)
    return content.getvalue()


def tone(hertz, seconds=0.3, rate=RATE):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def archive(tmp_path):
    """Four sounds of each of three speakers; the digit is the pitch. One sound is too long."""
    with zipfile.ZipFile(tmp_path / "digits.zip", "w") as file:
        for number, speaker in enumerate(("ann", "bob", "eve")):
            for digit in range(4):
                seconds = 2.0 if (speaker, digit) == ("bob", 3) else 0.3
                file.writestr(f"{digit}_{speaker}_0.wav", wav(tone(200 + 100 * digit + 10 * number, seconds)))
    return tmp_path / "digits.zip"


def section(archive, **changes):
    config = {
        **{"name": "speech", "path": str(archive), "name_pattern": r"(?P<text>\d)_(?P<speaker>\w+)_\d", "sample_rate": RATE},
        **{"texts": {"0": "zero", "1": "one", "2": "two"}, "held_out_speakers": ("eve",)},
        **{"num_mels": 20, "max_frames": 60, "target_length": 6, "batch_size": 4},
    }
    return config | changes


def build(archive, seed=0, **changes):
    return genjax.data.build(section(archive, **changes), seed=seed, cache_dir=None)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_every_width_are_read(width):
    samples = tone(300)
    found = decode_sound(wav(samples, width=width), RATE, "x")
    assert np.abs(found - samples).max() < (0.01 if width == 1 else 1e-4)


def test_channels_are_mixed_and_rates_brought_to_one():
    both = np.stack([tone(300), np.zeros_like(tone(300))], axis=1)
    assert np.abs(decode_sound(wav(both.reshape(-1), channels=2), RATE, "x") - tone(300) / 2).max() < 1e-3
    found = decode_sound(wav(tone(300)), 16000, "x")
    assert np.abs(found[400:-400] - tone(300, rate=16000)[400:-400]).max() < 1e-2
    with pytest.raises(DataError, match="x is not a WAV file"):
        decode_sound(b"RIFF", RATE, "x")


def test_a_tone_is_loudest_in_its_band():
    features = LogMel(RATE, 40)(tone(1000))
    assert features.shape == (30, 40) and -1 <= features.min() and features.max() < 2
    bands = features.mean(axis=0).argmax(), LogMel(RATE, 40)(tone(2000)).mean(axis=0).argmax()
    assert bands[0] + 5 < bands[1]
    assert LogMel(RATE, 40)(tone(1000)[:7]).shape == (2, 40)


def test_a_speaker_is_held_out_and_what_is_too_long_is_counted(archive):
    made = build(archive)
    assert (made.train.info.num_rows, made.evaluation.info.num_rows) == (7, 4)
    assert "speakers: ann, bob; 1 of 8 sounds left out" in str(made.train.info)
    batch = made.evaluation.batch(0)
    tokenizer = made.train.info.tokenizer
    own = batch["target_segment_ids"] == 1
    texts = [tokenizer.decode(row[mask][:-1]) for row, mask in zip(batch["targets"], own, strict=True)]
    assert texts == ["zero", "one", "two", "3"]
    assert all(row[mask][-1] == tokenizer.eos_id for row, mask in zip(batch["targets"], own, strict=True))
    assert (batch["feature_mask"].sum(axis=1) == 30).all()
    for row, reference in enumerate(references(section(archive))):
        assert reference.text == texts[row]
        expected = LogMel(RATE, 20)(read_sound(reference.request["sound"], RATE))
        np.testing.assert_array_equal(batch["features"][row, :30], expected)
    assert (batch["features"][:, 30:] == 0).all()


def test_silence_takes_the_place_of_padding(archive):
    batch = build(archive, silence=True).evaluation.batch(0)
    assert (batch["feature_mask"] == 1).all()
    sound = read_sound(f"{archive}/0_eve_0.wav", RATE)
    np.testing.assert_array_equal(batch["features"][0], LogMel(RATE, 20)(np.pad(sound, (0, 60 * 80 - len(sound)))))


def test_changes_are_drawn_from_seed_epoch_and_row_alone(archive):
    changes = {"speed": 0.3, "shift": 0.1, "gain": 6.0, "noise": 0.1, "band_masks": 1, "time_masks": 1}
    rows = build(archive, augmentation=changes).train.batches.rows
    one = rows.fetch(np.array([5]), np.array([2]))
    among = rows.fetch(np.array([4, 5, 5]), np.array([2, 3, 2]))
    for name, values in one.items():
        np.testing.assert_array_equal(values[0], among[name][2])
    assert (among["features"][0] != one["features"][0]).any()
    other = build(archive, seed=1, augmentation=changes).train.batches.rows.fetch(np.array([5]), np.array([2]))
    assert (other["features"] != one["features"]).any()
    plain = build(archive).train.batches.rows.fetch(np.array([5]), np.array([2]))
    np.testing.assert_array_equal(one["targets"], plain["targets"])
    lengths = rows.fetch(np.arange(40), np.full(40, 2))["feature_mask"].sum(axis=1)
    assert lengths.min() < 30 < lengths.max() <= 60


def test_texts_of_metadata(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(tone(300)))
    (tmp_path / "b.wav").write_bytes(wav(tone(400)))
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.wav", "text": "hello", "speaker": "ann"}) + "\n")
    config = section(tmp_path, name_pattern="", held_out_speakers=(), evaluation_fraction=0.0)
    with pytest.raises(DataError, match="metadata.jsonl has no text for .*b.wav"):
        genjax.data.build(config, seed=0, cache_dir=None)
    (tmp_path / "b.wav").unlink()
    assert genjax.data.build(config, seed=0, cache_dir=None).train.info.num_rows == 1


def test_what_cannot_be_is_a_sentence(archive, tmp_path):
    with pytest.raises(DataError, match="names joe; the speakers of .* are: ann, bob, eve"):
        build(archive, held_out_speakers=("joe",))
    with pytest.raises(DataError, match="finds no group 'text' in the name '0_ann_0'"):
        build(archive, name_pattern="x.*")
    with pytest.raises(ConfigError, match="sample_rate is 8001"):
        build(archive, sample_rate=8001)
    with pytest.raises(DataError, match="the sound .*nothing.wav cannot be read"):
        read_sound(str(tmp_path / "nothing.wav"), RATE)


def test_the_real_digits(data_folder):
    made = build(
        data_folder / "spoken_digits.zip",
        name_pattern=r"(?P<text>\d)_(?P<speaker>[a-z]+)_\d+",
        max_frames=112,
        held_out_speakers=("theo",),
    )
    assert (made.train.info.num_rows, made.evaluation.info.num_rows) == (1990, 498)

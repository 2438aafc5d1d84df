"""Sounds to be made: features that turn back into sound, and rows with labels."""

import wave

import numpy as np
import pytest

from genjax import data
from genjax.data.sounds import SoundsDataConfig
from genjax.data.spectrogram import Spectrogram
from genjax.errors import ConfigError, DataError

RATE = 8000


def chirp(seconds, low=300.0, high=2500.0):
    """A tone that rises, louder in its middle."""
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * (low * time + (high - low) * time**2 / (2 * seconds))
    return (np.sin(phase) * np.sin(np.pi * time / seconds) ** 2).astype(np.float32)


def test_a_sound_comes_back_from_its_bands():
    """Its features again, and the tone's frequency at each time; phases and the finer spectrum are lost."""
    s = Spectrogram(RATE, 64, 64)
    samples = chirp(0.5)
    features = s(samples)
    assert features.shape == (64, 64) and features.max() == 1 and features.min() == -1 and (features[-8:] == -1).all()
    found = s.sound(features)
    assert found.shape == (s.samples,) and np.abs(found).max() == pytest.approx(0.9)
    assert np.abs(s(found) - features).mean() < 0.06
    for start in (800, 1600, 2400):
        peaks = [np.argmax(np.abs(np.fft.rfft(sound[start : start + 512] * np.hanning(512)))) for sound in (samples, found)]
        assert abs(peaks[0] - peaks[1]) <= 3  # of 15.6 Hz; a band is 30 to 70 Hz wide


def test_loudness_is_left_out_and_silence_is_silent():
    s = Spectrogram(RATE, 32, 20)
    np.testing.assert_allclose(s(0.01 * chirp(0.2)), s(chirp(0.2)), atol=1e-4)
    assert np.abs(s.sound(np.full((20, 32), -1, np.float32))).max() < 1e-6


def write(folder, name, samples):
    with wave.open(str(folder / name), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for digit in range(3):
        for number, speaker in enumerate(("ada", "bob", "cyd", "ada")):
            write(folder, f"{digit}_{speaker}_{number}.wav", chirp(0.1 + 0.05 * digit, 300 + 100 * number))
    write(folder, "2_ada_9.wav", chirp(2.0))
    return folder


def config(place, **section):
    pattern = r"(?P<text>\d)_(?P<speaker>[a-z]+)_\d+"
    base = {"name": "sounds", "path": str(place), "name_pattern": pattern, "texts": {"0": "zero"}, "frames": 30, "num_mels": 16}
    return base | {"batch_size": 4, "held_out_speakers": ("cyd",)} | section


def test_rows_have_features_and_labels(place):
    datasets = data.build(config(place, labels=("text", "speaker")), seed=0, cache_dir=None)
    info = datasets.train.info
    assert info.attributes == (("text", ("1", "2", "zero")), ("speaker", ("ada", "bob", "cyd")))
    assert (info.num_rows, info.left_out, datasets.evaluation.info.num_rows) == (9, 1, 3)
    assert "9 sounds of" in str(info) and "30 frames of 16 bands each, 3 of text, 3 of speaker; 1 left out" in str(info)
    batch = datasets.train.batch(0)
    assert batch["features"].shape == (4, 30, 16) and batch["label"].shape == (4, 2) and batch["mask"].tolist() == [1] * 4
    held_out = datasets.evaluation.batch(0)
    assert held_out["mask"].tolist() == [1, 1, 1, 0] and held_out["label"][:3].tolist() == [[2, 2], [0, 2], [1, 2]]
    alone = data.build(config(place), seed=0, cache_dir=None).train
    assert alone.batch(0)["label"].shape == (4,) and alone.spec["label"].shape == (4,)
    none = data.build(config(place, labels=()), seed=0, cache_dir=None).train
    assert "label" not in none.batch(0) and none.info.attributes == ()


def test_training_sounds_begin_anywhere_the_same_way_each_time(place):
    train = data.build(config(place), seed=0, cache_dir=None).train
    first, again = train.batch(0), train.batch(0)
    np.testing.assert_array_equal(first["features"], again["features"])
    starts = {int((row > -1).any(-1).argmax()) for k in range(6) for row in train.batch(k)["features"]}
    assert len(starts) > 5
    still = data.build(config(place, shift=False), seed=0, cache_dir=None).train
    assert {int((row > -1).any(-1).argmax()) for k in range(6) for row in still.batch(k)["features"]} <= {0, 1}


def test_waves_are_of_one_loudness(place):
    batch = data.build(config(place, features="wave"), seed=0, cache_dir=None).train.batch(0)
    assert batch["features"].shape == (4, 2400, 1)
    np.testing.assert_allclose(np.abs(batch["features"]).max((1, 2)), 1, rtol=1e-6)


def test_a_description_knows_the_shapes(place):
    found = data.describe(config(place, values=(("zero", "1", "2"),)))
    assert found.attributes == (("text", ("zero", "1", "2")),) and found.spectrogram == Spectrogram(RATE, 16, 30)
    built = data.build(config(place, values=(("zero", "1", "2"),)), seed=0, cache_dir=None)
    assert built.train.info.attributes == found.attributes


def test_errors_name_what_is_wrong(place):
    with pytest.raises(DataError, match="has the text '2', which data.values does not name: zero, 1"):
        data.build(config(place, values=(("zero", "1"),)), seed=0, cache_dir=None)
    with pytest.raises(DataError, match="longer than data.frames 2"):
        data.build(config(place, frames=2), seed=0, cache_dir=None)
    for wrong, message in (
        ({"frames": 0}, "frames is 0"),
        ({"sample_rate": 999}, "sample_rate is 999"),
        ({"range_db": 0.0}, "range_db is 0.0"),
        ({"values": (("a",), ("b",))}, "2 lists for 1 data.labels"),
    ):
        with pytest.raises(ConfigError, match=message):
            SoundsDataConfig(**wrong)

"""Snapshots on disk: what was written comes back, the same bytes each time, and damage is told."""

import numpy as np
import pytest

from genjax.errors import CheckpointError
from genjax.storage.power_averages import combination
from genjax.storage.snapshots import find_snapshots, reconstruct, remove_later, write_snapshot


def leaves(seed):
    rng = np.random.default_rng(seed)
    return {"net/params/b": rng.standard_normal(3).astype(np.float32), "net/params/a": rng.standard_normal((4, 2)).astype("f4")}


def write_some(folder, dtype="float32"):
    for step in (100, 200, 300):
        for std in (0.1, 0.05):
            write_snapshot(folder, step, std, leaves(step + int(1000 * std)), dtype)
    return find_snapshots(folder)


def test_they_are_found_by_step_and_width(tmp_path):
    assert find_snapshots(tmp_path / "nowhere") == ()
    found = write_some(tmp_path / "ema")
    assert [(s.step, s.std) for s in found] == [(s, std) for s in (100, 200, 300) for std in (0.05, 0.1)]
    (tmp_path / "ema" / "step_00000400_std_0.05.1234.tmp").write_bytes(b"half of one")
    (tmp_path / "ema" / "notes.txt").write_text("mine")
    assert find_snapshots(tmp_path / "ema") == found
    remove_later(tmp_path / "ema", 200)
    assert {s.step for s in find_snapshots(tmp_path / "ema")} == {100, 200} and (tmp_path / "ema" / "notes.txt").exists()
    remove_later(tmp_path / "nowhere", 0)


def test_the_same_averages_are_the_same_bytes(tmp_path):
    one, other = (write_some(tmp_path / name) for name in ("one", "other"))
    assert [s.file.read_bytes() for s in one] == [s.file.read_bytes() for s in other]
    write_snapshot(tmp_path / "one", 100, 0.05, leaves(1))
    assert one[0].file.read_bytes() != other[0].file.read_bytes() and len(find_snapshots(tmp_path / "one")) == 6


def test_a_stored_average_comes_back_and_another_is_the_sum(tmp_path):
    found = write_some(tmp_path)
    kept, error = reconstruct(found, 200, 0.1)
    expected = leaves(300)
    assert error < 1e-6 and kept.keys() == expected.keys()
    for name, leaf in kept.items():
        np.testing.assert_allclose(leaf, expected[name], atol=1e-6)
    made, _ = reconstruct(found, 200, 0.07)  # the snapshots of step 300 have no part in it
    parts = [s for s in found if s.step <= 200]
    factors, _ = combination(np.array([s.step for s in parts]), np.array([s.std for s in parts]), 200, 0.07)
    for name, leaf in made.items():
        total = sum(f * leaves(s.step + int(1000 * s.std))[name].astype(float) for f, s in zip(factors, parts, strict=True))
        assert leaf.dtype == np.float32
        np.testing.assert_allclose(leaf, total, atol=1e-6)


def test_float16_where_it_fits(tmp_path):
    values = {
        "small": np.array([1.0, 1.0001], np.float32),
        "large": np.array([1e5, 1.0001], np.float32),
        "none": np.zeros(0, "f4"),
    }
    write_snapshot(tmp_path, 1, 0.05, values)
    found, _ = reconstruct(find_snapshots(tmp_path), 1, 0.05)
    assert found["small"].tolist() == [1.0, 1.0] and found["large"].tolist() == values["large"].tolist()
    write_snapshot(tmp_path, 1, 0.05, values, "float32")
    assert reconstruct(find_snapshots(tmp_path), 1, 0.05)[0]["small"].tolist() == values["small"].tolist()


def test_damage_is_told(tmp_path):
    found = write_some(tmp_path)
    content = found[-1].file.read_bytes()
    for damaged, message in (
        (content[:-1] + bytes([content[-1] ^ 1]), r"is damaged \(the checksum of net/params/b does not match\); remove it"),
        (content[:-4], r"step_00000300_std_0.1.safetensors is damaged \(.*\); remove it, and the others make the average"),
        (b"", "is damaged"),
    ):
        found[-1].file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=message):
            reconstruct(found, 300, 0.07)
    write_snapshot(tmp_path, 300, 0.1, {"other": np.zeros(1, np.float32)})
    with pytest.raises(CheckpointError, match="does not hold the same leaves as the snapshots before it"):
        reconstruct(found, 300, 0.07)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "ema").write_text("a file")
    with pytest.raises(OSError, match="exists"):
        write_snapshot(tmp_path / "ema", 1, 0.05, leaves(0))

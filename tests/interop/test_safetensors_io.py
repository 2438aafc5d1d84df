"""Safetensors folders: what is written is read back, and what is broken is named."""

import json
import os

import ml_dtypes
import numpy as np
import pytest
import safetensors
from safetensors.numpy import save_file

from genjax.errors import CheckpointError
from genjax.interop import lazy, safetensors_io

RNG = np.random.default_rng(0)
TENSORS = {
    "float32": RNG.normal(size=(5, 7)).astype(np.float32),
    "bfloat16": RNG.normal(size=(5, 7)).astype(ml_dtypes.bfloat16),
    "float16": RNG.normal(size=(3, 2, 4)).astype(np.float16),
    "float64": RNG.normal(size=6),
    "int64": RNG.integers(0, 99, (4, 4)),
    "bool": np.array([True, False]),
    "scalar": np.array(3.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
}


def write(folder, tensors=TENSORS, **arguments):
    safetensors_io.write(folder, {key: lazy.of_array(value) for key, value in tensors.items()}, **arguments)
    return folder


def assert_holds(folder, tensors=TENSORS):
    opened = safetensors_io.open_folder(folder)
    assert opened.keys() == tensors.keys()
    for key, value in tensors.items():
        assert (opened[key].shape, opened[key].dtype) == (value.shape, value.dtype)
        np.testing.assert_array_equal(opened[key].load(), value, err_msg=key)
        index = tuple(slice(n // 3, n) for n in value.shape)
        np.testing.assert_array_equal(opened[key].read(index), value[index], err_msg=key)


def test_a_single_file_holds_every_dtype(tmp_path):
    folder = write(tmp_path / "new" / "folder")
    assert [p.name for p in folder.iterdir()] == ["model.safetensors"]
    assert_holds(folder)
    assert_holds(folder / "model.safetensors")
    with safetensors.safe_open(folder / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_shards_respect_their_size_and_the_index_names_them(tmp_path):
    folder = write(tmp_path / "sharded", max_shard_bytes=200)
    assert_holds(folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in TENSORS.values())
    assert index["weight_map"].keys() == TENSORS.keys()
    shards = sorted(folder.glob("*.safetensors"))
    assert [p.name for p in shards] == [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    assert set(index["weight_map"].values()) == {p.name for p in shards}
    for shard in shards:
        held = safetensors_io.open_folder(shard)
        assert len(held) == 1 or sum(tensor.load().nbytes for tensor in held.values()) <= 200


def test_a_stem_names_the_files_of_another_library(tmp_path):
    folder = write(tmp_path / "unet", stem="diffusion_pytorch_model")
    assert_is = safetensors_io.open_folder(folder, stem="diffusion_pytorch_model")
    assert assert_is.keys() == TENSORS.keys()
    with pytest.raises(CheckpointError, match="holds no model.safetensors and no model.safetensors.index.json"):
        safetensors_io.open_folder(folder)


def test_a_non_contiguous_array_is_written_in_its_own_order(tmp_path):
    value = TENSORS["float32"].T
    assert_holds(write(tmp_path / "t", {"x": value}), {"x": value})


@pytest.mark.parametrize("keep", [0, 5, 40, -1], ids=["empty", "in the length", "in the header", "one byte short"])
def test_a_truncated_file_is_named_with_its_length(tmp_path, keep):
    file = write(tmp_path / "w") / "model.safetensors"
    content = file.read_bytes()[:keep]
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"model.safetensors is not a complete safetensors file.*{len(content)} bytes long"):
        safetensors_io.open_folder(file.parent)


def test_a_corrupt_header_is_named(tmp_path):
    file = write(tmp_path / "w") / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[20:30] = b"\xff" * 10
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a complete safetensors file"):
        safetensors_io.open_folder(file.parent)


def test_every_missing_shard_is_listed(tmp_path):
    folder = write(tmp_path / "w", max_shard_bytes=150)
    shards = sorted(folder.glob("*.safetensors"))
    os.remove(shards[0])
    os.remove(shards[2])
    with pytest.raises(CheckpointError, match=f"lacks 2 of its {len(shards)} shards: {shards[0].name}, {shards[2].name}"):
        safetensors_io.open_folder(folder)


@pytest.mark.parametrize(
    "index, message",
    [
        ("{not json", "is not readable JSON"),
        ("[]", "must hold a JSON object, but holds a list"),
        ('{"metadata": {}}', 'must hold "weight_map"'),
        ('{"weight_map": {"x": 3}}', 'must hold "weight_map"'),
        ('{"weight_map": {"x": "../elsewhere.safetensors"}}', "names files outside its folder: ../elsewhere.safetensors"),
        ('{"weight_map": {"float32": "a.safetensors", "ghost": "a.safetensors"}}', r"lists ghost \(not in a.safetensors\)"),
    ],
)
def test_a_bad_index_is_named(tmp_path, index, message):
    save_file({"float32": TENSORS["float32"]}, tmp_path / "a.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=message):
        safetensors_io.open_folder(tmp_path)


def test_shards_without_an_index_are_named(tmp_path):
    folder = write(tmp_path / "w", max_shard_bytes=300)
    os.remove(folder / "model.safetensors.index.json")
    with pytest.raises(CheckpointError, match="but no model.safetensors.index.json that says what is in them"):
        safetensors_io.open_folder(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_a_pickle_is_never_loaded(tmp_path, name):
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(CheckpointError, match=rf"as a pickle only \({name}\), which is never loaded.*convert it to safetensors"):
        safetensors_io.open_folder(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="there is no folder"):
        safetensors_io.open_folder(tmp_path / "nowhere")


def test_quantized_tensors_are_refused(tmp_path):
    save_file({"w": np.zeros((2, 2), ml_dtypes.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="w has the dtype F8_E4M3; readable are F64, F32"):
        safetensors_io.open_folder(tmp_path)


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="already holds files; name a new folder, or ask for overwrite"):
        write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_overwriting_replaces_the_weights_and_nothing_else(tmp_path):
    folder = write(tmp_path / "w", max_shard_bytes=150)
    (folder / "notes.txt").write_text("mine")
    write(folder, {"float32": TENSORS["float32"]}, overwrite=True)
    assert sorted(p.name for p in folder.iterdir()) == ["model.safetensors", "notes.txt"]
    assert_holds(folder, {"float32": TENSORS["float32"]})


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    written = []

    def full(tensors, path, metadata):
        if written:
            raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")
        written.append(path)
        save_file(tensors, path, metadata)

    monkeypatch.setattr(safetensors_io, "save_file", full)
    with pytest.raises(CheckpointError, match="w could not be written: .*No space left on device"):
        write(tmp_path / "w", max_shard_bytes=150)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "w").write_text("a file")
    with pytest.raises(CheckpointError, match="w is a file; name a new folder"):
        write(tmp_path / "w")

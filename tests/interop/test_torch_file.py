"""Files of torch.save are read without torch; what could run code is refused and not run."""

import collections
import io
import pickle
import zipfile

import numpy as np
import pytest
import torch

from genjax.errors import CheckpointError
from genjax.interop.torch_file import read_tensors

torch.manual_seed(0)
BASE = torch.randn(6, 8)
STATE = {
    "float32": torch.randn(3, 4),
    "float64": torch.randn(5, dtype=torch.float64),
    "float16": torch.randn(2, 2).half(),
    "bfloat16": torch.randn(7).bfloat16(),
    "int64": torch.tensor(12345678901),
    "int32": torch.arange(6, dtype=torch.int32).reshape(2, 3),
    "int16": torch.arange(-3, 3, dtype=torch.int16),
    "int8": torch.arange(-3, 3, dtype=torch.int8),
    "uint8": torch.arange(9, dtype=torch.uint8),
    "bool": torch.tensor([True, False, True]),
    "empty": torch.zeros(0, 3),
    "transposed": BASE.T,
    "piece of the same": BASE[1:4, ::2],
    "expanded": torch.randn(4, 1).expand(4, 5),
}
LAYOUTS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])


def saved(value, zipped):
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


@LAYOUTS
@pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
def test_every_dtype_and_every_view(zipped, kind):
    found = read_tensors(saved(kind(STATE), zipped), "x.pth")
    assert list(found) == list(STATE)
    for key, expected in STATE.items():
        bits = expected.contiguous().view(torch.int16) if expected.dtype == torch.bfloat16 else expected
        array = found[key].view(np.int16) if expected.dtype == torch.bfloat16 else found[key]
        assert (array.shape, array.dtype) == (tuple(bits.shape), bits.numpy().dtype), key
        np.testing.assert_array_equal(array, bits.numpy(), err_msg=key)
        assert not found[key].flags.writeable or not found[key].size


@LAYOUTS
def test_the_state_dict_of_a_module(zipped):
    """It is an OrderedDict that carries `_metadata`."""
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    found = read_tensors(saved(module.state_dict(), zipped), "x.pth")
    for key, expected in module.state_dict().items():
        np.testing.assert_array_equal(found.pop(key), expected.numpy())
    assert not found


class Attack:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@LAYOUTS
def test_code_is_refused_and_not_run(zipped, tmp_path):
    target = tmp_path / "made by the pickle"
    content = saved({"weight": torch.ones(2), "attack": Attack(target)}, zipped)
    with pytest.raises(
        CheckpointError, match=r"x\.pth holds a pickle that asks for '(_?io|__builtin__)\.open'; only names and tens"
    ):
        read_tensors(content, "x.pth")
    assert not target.exists()
    torch.load(io.BytesIO(content), weights_only=False)
    assert target.exists(), "the attack does nothing, so the test shows nothing"


@pytest.mark.parametrize(
    "value, message",
    [
        ({"a": torch.nn.Parameter(torch.ones(2))}, "asks for 'torch._utils._rebuild_parameter'"),
        (torch.nn.Linear(2, 2), "asks for 'torch.nn.modules.linear.Linear'"),
        ({"a": {"b": torch.ones(2)}}, "holds a dict under 'a', where only tensors belong"),
        ({"epoch": 3}, "holds a int under 'epoch', where only tensors belong"),
        ([torch.ones(2)], "holds a list, not a dict of tensors"),
        ({}, "holds a dict, not a dict of tensors"),
        ({(1, 2): torch.ones(2)}, "a tuple where a int belongs"),
        ({"a": torch.ones(2).to_sparse()}, "asks for 'torch._utils._rebuild_sparse_tensor'"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "asks for 'torch.ComplexFloatStorage'"),
    ],
)
def test_anything_but_tensors_is_named(value, message):
    with pytest.raises(CheckpointError, match=message):
        read_tensors(saved(value, False), "x.pth")


def legacy_with(pickled):
    """A file of the older layout whose value is the given pickle."""
    pieces = [pickle.dumps(v, protocol=2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join(pieces) + pickled + pickle.dumps([], protocol=2)


@pytest.mark.parametrize(
    "pickled, message",
    [
        (b"\x80\x02]K\x01\x85R.", "calls a list; only names and tensors"),
        (b"\x80\x02cbuiltins\neval\n.", "asks for 'builtins.eval'"),
        (b"\x80\x02(i__main__\nX\n.", "the opcode INST; only names and tensors"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "the opcode SHORT_BINUNICODE"),
        (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "cut off or damaged"),
        (b"\x80\x02t.", "items without a mark"),
        (b"\x80\x02h\x07.", "cut off or damaged"),
        (b"\x80\x02}X\x01\x00\x00\x00as", "cut off or damaged"),
        (b"\x80\x02}(X\x01\x00\x00\x00au.", "cut off or damaged"),
    ],
)
def test_pickles_made_by_hand(pickled, message):
    with pytest.raises(CheckpointError, match=message):
        read_tensors(legacy_with(pickled), "x.pth")


def test_a_view_beyond_its_storage():
    """Numbers that would read other memory."""
    good = saved({"a": torch.arange(10.0)[2:4]}, False)
    assert good.count(b"K\x02K\x02\x85") == 1  # offset 2, shape (2,)
    for offset, size in ((9, 2), (2, 9), (255, 2)):
        bad = good.replace(b"K\x02K\x02\x85", bytes([75, offset, 75, size, 0x85]))
        with pytest.raises(CheckpointError, match=f"x.pth: a reaches to element {offset + size - 1} of a storage of 10"):
            read_tensors(bad, "x.pth")


@LAYOUTS
def test_cut_off_anywhere(zipped):
    content = saved(STATE, zipped)
    for keep in {0, 1, 5, *np.linspace(9, len(content) - 1, 60).astype(int)}:
        with pytest.raises(CheckpointError, match=r"x\.pth"):
            read_tensors(content[:keep], "x.pth")


@LAYOUTS
def test_damage_never_escapes_as_another_error(zipped):
    content = bytearray(saved({"a": torch.ones(2, 2), "b": torch.zeros(3)}, zipped))
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = content.copy()
        damaged[generator.integers(len(content))] = generator.integers(256)
        try:
            assert isinstance(read_tensors(bytes(damaged), "x.pth"), dict)
        except CheckpointError:
            refused += 1
    assert refused > 30


def test_other_files():
    with pytest.raises(CheckpointError, match="is not a file of torch.save; it begins with b'hello wo'"):
        read_tensors(b"hello world", "x.pth")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme", "x")
    with pytest.raises(CheckpointError, match="with 0 files data.pkl"):
        read_tensors(buffer.getvalue(), "x.pth")
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"0" * 100_000)
    with pytest.raises(CheckpointError, match="compressed, which torch.save never does"):
        read_tensors(buffer.getvalue(), "x.pth")

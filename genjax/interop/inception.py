"""The weights of the Inception network that FID is defined by, from a file that pytorch-fid or torch-fidelity fetched.

The file is `pt_inception-2015-12-05-6726825d.pth` (pytorch-fid's release "fid_weights"; torch-fidelity has the same bytes as
`weights-inception-2015-12-05-6726825d.pth`): TensorFlow's weights of 2015, 95,628,359 bytes. A figure that was measured with
other weights is no FID, so a file with another hash is refused unless its hash is named.
"""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from flax.traverse_util import unflatten_dict
from jax.sharding import Sharding

from genjax.errors import CheckpointError
from genjax.interop import lazy, names, rows, safetensors_io, torch_file
from genjax.interop.names import Row, Table
from genjax.interop.place import place
from genjax.interop.transforms import Transpose
from genjax.models.inception import Inception, InceptionConfig

# The first 8 digits are in the file's name; the whole was published by several projects that pin the file.
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FILE = "pt_inception-2015-12-05-6726825d.pth"


def load(
    path: Path | str, sha256: str = SHA256, sharding: Sharding | None = None, config: InceptionConfig | None = None
) -> dict[str, Any]:
    """The variables of a file: `Inception(config).apply(result, images)`.

    Args:
        path: a `.pth` file of torch.save, whose pickle is read and not run, or `.safetensors` with the same names.
        sha256: the file's SHA-256, all 64 digits; another than the published one accepts another file.
        sharding: where every variable goes; None: the default device.
        config: what the file must fit; None: the published network.

    Raises:
        CheckpointError: no such file, another hash, not a file of tensors, or its tensors do not fit (each is listed).
    """
    path, config = Path(path), config or InceptionConfig()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"the weights of Inception {path} cannot be read: {error.strerror or error}. They are {FILE}, of pytorch-fid's "
            "release fid_weights on GitHub; nothing is fetched from here."
        ) from error
    _check(path, hashlib.sha256(content).hexdigest(), sha256, len(content))
    if path.suffix == ".safetensors":
        tensors = safetensors_io.open_folder(path)
    else:
        tensors = {key: lazy.of_array(array) for key, array in torch_file.read_tensors(content, str(path)).items()}
    arrays = names.to_ours(table(config), tensors, variable_shapes(config), str(path))
    return unflatten_dict({name: place(array, sharding) for name, array in arrays.items()}, sep="/")


def table(config: InceptionConfig) -> Table:
    """Their names and our paths within the variables: blocks and branches bear theirs in lower case."""
    entries = [Row("fc.weight", ("params/fc/kernel",), Transpose()), Row("fc.bias", ("params/fc_bias",))]
    for path in variable_shapes(config):
        if not path.endswith("/conv/kernel"):
            continue
        ours = path.removeprefix("params/").removesuffix("/conv/kernel")
        theirs = (ours[0].upper() + ours[1:]).replace("/", ".")
        entries.append(Row(f"{theirs}.conv.weight", (path,), Transpose((2, 3, 1, 0))))
        entries += rows.batch_norm(f"{theirs}.bn", f"{ours}/bn")
    return Table(tuple(entries), ignored=(r".*\.num_batches_tracked",))


@functools.cache
def variable_shapes(config: InceptionConfig) -> Mapping[str, tuple[int, ...]]:
    """Path -> shape of every variable, from the model itself; nothing is computed."""
    images = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, 3), "float32")
    return rows.variable_shapes(Inception(config), images)


def _check(path: Path, found: str, expected: str, size: int) -> None:
    if len(expected) != 64 or set(expected.lower()) - set("0123456789abcdef"):
        raise CheckpointError(f"sha256 is {expected!r}; give all 64 hexadecimal digits.")
    if found == expected.lower():
        return
    what = "the published weights have" if expected == SHA256 else "expected was"
    raise CheckpointError(
        f"{path} ({size:,} bytes) has the SHA-256 {found}, but {what} {expected}. If it should be {FILE}, copy or download it "
        f"again. To measure with other weights on purpose, give their hash as sha256: such figures are not comparable with "
        "published ones, and their names show it."
    )

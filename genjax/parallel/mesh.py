"""The device mesh: which devices hold which part of a batch, a parameter or a sequence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from genjax.errors import ConfigError

AXES = ("data", "fsdp", "sequence", "tensor")


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis; -1 on one axis takes what remains.

    Attributes:
        data: copies of the model, each with its share of the batch.
        fsdp: parameters and optimizer state split in this many parts, gathered when used; it also splits the batch.
        sequence: one sequence's positions split over this many devices.
        tensor: attention heads, hidden features and vocabulary split over this many devices.
        slices: TPU slices joined by the data-center network. They divide the data axis, so that only gradients travel
            between slices.
    """

    data: int = -1
    fsdp: int = 1
    sequence: int = 1
    tensor: int = 1
    slices: int = 1

    def __post_init__(self):
        for field in fields(self):
            size = getattr(self, field.name)
            if size == 0 or size < -1 or (field.name == "slices" and size < 1):
                least = "1 or more" if field.name == "slices" else "1 or more, or -1 for what remains"
                raise ConfigError(f"mesh.{field.name} is {size}; it must be {least}.")
        if sum(getattr(self, axis) == -1 for axis in AXES) > 1:
            raise ConfigError(f"mesh: only one axis may be -1 (what remains), but {self.describe()} has several.")

    def describe(self) -> str:
        """`data=2 fsdp=4 sequence=1 tensor=1`."""
        return " ".join(f"{axis}={getattr(self, axis)}" for axis in AXES)


def mesh_shape(config: MeshConfig, device_count: int) -> tuple[int, int, int, int]:
    """Devices along each of `AXES`, with -1 filled in.

    Raises:
        ConfigError: the sizes do not multiply to `device_count`, or the slices do not divide the data axis.
    """
    sizes = [getattr(config, axis) for axis in AXES]
    if -1 in sizes:
        known = -math.prod(sizes)
        if device_count % known:
            raise ConfigError(
                f"mesh {config.describe()}: {known} does not divide the {device_count} devices; "
                "choose axis sizes whose product divides the number of devices."
            )
        sizes[sizes.index(-1)] = device_count // known
    if math.prod(sizes) != device_count:
        raise ConfigError(
            f"mesh {config.describe()} needs {math.prod(sizes)} devices, but there are {device_count}; "
            "change one axis, or set it to -1 to take what remains."
        )
    if sizes[0] % config.slices:
        raise ConfigError(f"mesh.slices {config.slices} does not divide the data axis ({sizes[0]}); slices split the data axis.")
    return tuple(sizes)


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with the axes `AXES` over `devices` (all devices by default), laid out along the hardware's links.

    Raises:
        ConfigError: see `mesh_shape`.
    """
    devices = list(jax.devices() if devices is None else devices)
    shape = mesh_shape(config, len(devices))
    if config.slices > 1 and len({getattr(device, "slice_index", None) for device in devices}) == config.slices:
        inner = (shape[0] // config.slices, *shape[1:])
        grid = mesh_utils.create_hybrid_device_mesh(inner, (config.slices, 1, 1, 1), devices, allow_split_physical_axes=True)
    elif devices[0].platform == "tpu":
        grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    else:
        grid = np.array(devices).reshape(shape)
    # Auto, not jax.make_mesh's default Explicit: shardings between the constraints are the compiler's to choose.
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))

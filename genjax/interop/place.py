"""From a lazy array to the devices, one device's slice at a time."""

import jax
from jax.sharding import Sharding

from genjax.interop import lazy
from genjax.interop.lazy import LazyArray


def place(source: LazyArray, sharding: Sharding | None = None, dtype=None) -> jax.Array:
    """Reads an array onto devices.

    Each slice that some device of this process needs is read once, given to every device that needs it and let go before the
    next is read: the host holds one slice, never the array. (`jax.make_array_from_callback` would hold the slices of all local
    devices at once, and read replicated slices once for each device.)

    Args:
        source: the array.
        sharding: where it goes; None is the default device.
        dtype: of the result; None keeps the source's. Only floating-point arrays are cast.
    """
    if dtype is not None:
        source = lazy.cast(source, dtype)
    if sharding is None:
        return jax.device_put(source.load())
    holders: dict[tuple, list] = {}
    for device, index in sharding.addressable_devices_indices_map(source.shape).items():
        bounds = tuple((s.start, s.stop) for s in lazy.concrete(index, source.shape))
        holders.setdefault(bounds, []).append(device)
    pieces = []
    for bounds, devices in holders.items():
        host = source.read(tuple(slice(*b) for b in bounds))
        pieces += jax.block_until_ready([jax.device_put(host, device) for device in devices])
        del host
    return jax.make_array_from_single_device_arrays(source.shape, sharding, pieces)

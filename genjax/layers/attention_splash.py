"""Splash attention: the Pallas flash-attention kernel for TPUs, on a mesh."""

import functools

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from genjax.layers.attention_mask import Masking
from genjax.parallel.rules import Rules, spec_for

LANES = 128  # blocks of queries and keys are multiples of it


def splash_attention(
    query: Float[Array, "batch length heads head_dim"],
    key: Float[Array, "batch keys kv_heads head_dim"],
    value: Float[Array, "batch keys kv_heads head_dim"],
    masking: Masking,
    context: tuple[Mesh, Rules] | None,
    interpret: bool = False,
) -> Float[Array, "batch length heads head_dim"]:
    """Attention of an already scaled query, forward and backward, without the weights ever in memory.

    Lengths are padded to a multiple of 128 times the devices along the sequence. On a mesh, batch and heads are split; a split
    sequence splits the queries, and each device sees all keys. The work of a causal mask is then unequal over the sequence axis.

    Args:
        context: mesh and rules; None for one device.
        interpret: run the kernel in Python, for tests without a TPU.
    """
    length, keys = query.shape[1], key.shape[1]
    heads, kv_heads = query.shape[2], key.shape[2]
    names = ("activation_batch", "activation_heads", "activation_length", None)
    q_spec = kv_spec = PartitionSpec(None, None, None, None)
    if context is not None:
        mesh, rules = context
        # The padded length must divide over the sequence axis, so ask for it as if it did.
        q_spec = spec_for(names, (query.shape[0], heads, LANES * mesh.size, 1), mesh, rules)
        kv_spec = spec_for(
            ("activation_batch", "activation_kv_heads", None, None), (query.shape[0], kv_heads, keys, 1), mesh, rules
        )
        if q_spec[1] != kv_spec[1]:
            # Each device must find the key heads of its query heads: repeat them until they divide like the query's.
            repeats = heads // kv_heads
            key, value = (jnp.repeat(x, repeats, axis=2) for x in (key, value))
            kv_heads, kv_spec = heads, PartitionSpec(q_spec[0], q_spec[1], None, None)
    sequence_parts = _parts(context, q_spec[2])
    query, key, value = (x.transpose(0, 2, 1, 3) for x in (query, key.astype(query.dtype), value.astype(query.dtype)))
    q_ids, kv_ids = masking.query_segment_ids, masking.key_segment_ids
    padded, padded_keys = _round_up(length, LANES * sequence_parts), _round_up(keys, LANES)
    if padded_keys != keys and q_ids is None and not (masking.causal and length == keys):
        q_ids, kv_ids = jnp.zeros(query.shape[:1] + (length,), jnp.int32), jnp.zeros(query.shape[:1] + (keys,), jnp.int32)
    query, (key, value) = _pad(query, padded, 2), (_pad(x, padded_keys, 2) for x in (key, value))
    if q_ids is not None:
        q_ids, kv_ids = _pad(q_ids, padded, 1), _pad(kv_ids, padded_keys, 1, fill=-1)
    local_heads = heads // _parts(context, q_spec[1])
    kernel = _kernel(local_heads, padded, padded_keys, masking.causal, masking.sliding_window, sequence_parts, interpret)
    operands = (query, key, value, q_ids, kv_ids)
    if context is None or context[0].size == 1:
        out = _run(kernel, *operands)
    else:
        mesh = context[0]
        kernel_spec = kernel.manual_sharding_spec(NamedSharding(mesh, PartitionSpec(None, q_spec[2])))
        ids_specs = (None, None) if q_ids is None else (PartitionSpec(q_spec[0], q_spec[2]), PartitionSpec(q_spec[0], None))
        out = jax.shard_map(
            _run, mesh=mesh, in_specs=(kernel_spec, q_spec, kv_spec, kv_spec, *ids_specs), out_specs=q_spec, check_vma=False
        )(kernel, *operands)
    return out[:, :, :length].transpose(0, 2, 1, 3)


def _run(kernel, query, key, value, q_ids, kv_ids):
    if q_ids is None:
        return jax.vmap(kernel)(query, key, value)
    return jax.vmap(kernel)(query, key, value, kernels.SegmentIds(q_ids, kv_ids))


def _kernel(heads: int, length: int, keys: int, causal: bool, window: int, sequence_parts: int, interpret: bool):
    mask: masks.Mask = masks.FullMask((length, keys))
    if causal:
        mask = masks.CausalMask((length, keys))
    if window:
        mask = masks.LocalMask((length, keys), window_size=(window - 1, 0), offset=0)
    query_block, key_block = _block(length // sequence_parts), _block(keys)
    sizes = kernels.BlockSizes(
        block_q=query_block,
        block_kv=key_block,
        block_kv_compute=_block(keys),
        block_q_dkv=query_block,
        block_kv_dkv=key_block,
        block_kv_dkv_compute=key_block,
        block_q_dq=query_block,
        block_kv_dq=key_block,
    )
    return kernels.make_splash_mha(
        mask=masks.MultiHeadMask([mask] * heads),
        block_sizes=sizes,
        head_shards=1,
        q_seq_shards=sequence_parts,
        residual_checkpoint_name="attention_out",
        interpret=interpret,
    )


def _block(length: int) -> int:
    """The largest of 512, 384, 256 and 128 that divides the length: larger blocks reread keys less often and still leave the
    kernel's tiles in vector memory at head_dim 128."""
    return next(size for size in (512, 384, 256, 128) if length % size == 0)


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _pad(x: Array, length: int, axis: int, fill: int = 0) -> Array:
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, length - x.shape[axis])
    return jnp.pad(x, widths, constant_values=fill) if widths[axis][1] else x


def _parts(context: tuple[Mesh, Rules] | None, axes) -> int:
    if context is None or axes is None:
        return 1
    names = (axes,) if isinstance(axes, str) else axes
    return functools.reduce(lambda total, axis: total * context[0].shape[axis], names, 1)

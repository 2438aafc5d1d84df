"""Published sizes of encoder-decoders have the published parameter counts."""

import jax
import jax.numpy as jnp
import pytest

from genjax.models.encoder_decoder import EncoderDecoder
from genjax.models.encoder_decoder_sizes import ENCODER_DECODER_SIZES
from genjax.models.whisper import Whisper
from genjax.models.whisper_sizes import WHISPER_SIZES

PUBLISHED = {
    "t5_small": 60_506_624,
    "t5_base": 222_903_552,
    "t5_large": 737_668_096,
    "t5_3b": 2_851_598_336,
    "t5_11b": 11_307_321_344,
    "t5_1_1_small": 76_961_152,
    "t5_1_1_base": 247_577_856,
    "t5_1_1_large": 783_150_080,
    "t5_1_1_xl": 2_849_757_184,
    "t5_1_1_xxl": 11_135_332_352,
    "whisper_tiny": 37_760_640,
    "whisper_base": 72_593_920,
    "whisper_small": 241_734_912,
    "whisper_medium": 763_857_920,
    "whisper_large": 1_543_304_960,
    "whisper_large_v3": 1_543_490_560,
    "whisper_large_v3_turbo": 808_878_080,
}
ROUNDED = {"transformer_base": 65e6, "transformer_big": 213e6}  # Vaswani et al., 2017, table 3


def boxed(size):
    tokens = jnp.zeros((1, 2), jnp.int32)
    if size in WHISPER_SIZES:
        config = WHISPER_SIZES[size]
        return jax.eval_shape(Whisper(config).init, jax.random.key(0), jnp.zeros((1, 4, config.num_mels)), tokens)
    return jax.eval_shape(EncoderDecoder(ENCODER_DECODER_SIZES[size]).init, jax.random.key(0), tokens, tokens)


@pytest.mark.parametrize("size", [*ENCODER_DECODER_SIZES, *WHISPER_SIZES])
def test_parameters_are_counted_as_published_and_name_their_axes(size):
    tree = boxed(size)
    count = sum(leaf.size for leaf in jax.tree.leaves(tree))
    if size in PUBLISHED:
        assert count == PUBLISHED[size]
    else:
        assert count == pytest.approx(ROUNDED[size], rel=0.03)
    for path, box in jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "names"))[0]:
        assert len(box.names) == box.value.ndim and None not in box.names, path

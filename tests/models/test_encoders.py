"""BERT and ViT: published sizes, logical axes, counts of operations, and what they refuse."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import ConfigError
from genjax.models.bert import Bert, BertConfig, flops_per_token
from genjax.models.encoder_sizes import BERT_SIZES, VIT_SIZES
from genjax.models.vit import ViT, ViTConfig, flops_per_image

PUBLISHED = {
    "bert_base_uncased": 109_482_240,
    "bert_large_uncased": 335_141_888,
    "bert_base_cased": 108_310_272,
    "bert_large_cased": 333_579_264,
    "bert_tiny": 4_385_920,
    "bert_mini": 11_170_560,
    "bert_small": 28_763_648,
    "bert_medium": 41_373_184,
    "minilm_l6": 22_713_216,
    "vit_b16": 86_567_656,
    "vit_b32": 88_224_232,
    "vit_l16": 304_326_632,
    "vit_l32": 306_535_400,
    "vit_h14": 632_045_800,
    "vit_ti16": 5_717_416,
    "vit_s16": 22_050_664,
}
SMALL_BERT = BertConfig(
    vocab_size=30, context_length=16, num_layers=2, num_heads=2, embed_dim=8, mlp_dim=12, pooler=True, next_sentence=True
)
SMALL_VIT = ViTConfig(image_size=8, patch_size=4, channels=1, num_classes=3, num_layers=2, num_heads=2, embed_dim=8, pooler=True)
TOKENS = np.random.default_rng(0).integers(0, 30, (3, 7)).astype(np.int32)


def abstract(config):
    """The boxed variables of a size, as shapes; its layers are compiled as one, which changes no count."""
    config = dataclasses.replace(config, scan_layers=True)
    if isinstance(config, BertConfig):
        return jax.eval_shape(lambda: Bert(config).init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))
    return jax.eval_shape(lambda: ViT(config).init(jax.random.key(0), jnp.zeros((1, 64, 64, config.channels))))


@pytest.mark.parametrize("size", PUBLISHED)
def test_parameters_are_counted_as_published(size):
    shapes = abstract((BERT_SIZES | VIT_SIZES)[size])
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == PUBLISHED[size]


def test_every_size_is_counted():
    assert {*BERT_SIZES, *VIT_SIZES} == PUBLISHED.keys()


@pytest.mark.parametrize("config", [SMALL_BERT, SMALL_VIT], ids=["bert", "vit"])
def test_parameters_name_their_axes(config):
    """All but the pixels of a patch and the two answers of the next-sentence head, which no mesh splits."""
    for path, box in jax.tree_util.tree_flatten_with_path(abstract(config), is_leaf=lambda x: hasattr(x, "names"))[0]:
        unnamed = "patch_embed" in str(path) or "next_sentence" in str(path)
        assert len(box.names) == box.value.ndim and (unnamed or None not in box.names), path


@pytest.mark.parametrize(
    "change, message",
    [
        ({"embed_dim": 9}, "embed_dim 9 does not divide over num_heads 2; use 8"),
        ({"num_layers": 0}, "num_layers is 0; it must be 1 or more"),
        ({"pooler": False}, "next_sentence reads what the pooler writes; set model.pooler too"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and less than 1"),
    ],
)
def test_a_bert_that_cannot_be(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SMALL_BERT, **change)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image_size": 3}, "image_size 3 is smaller than one patch of 4 pixels"),
        ({"image_size": (8, 8, 8)}, r"image_size is \(8, 8, 8\); it must be a number of pixels, or \(height, width\)"),
        ({"embed_dim": 9}, "embed_dim 9 does not divide over num_heads 2; use 8"),
        ({"channels": 0}, "channels is 0; it must be 1 or more"),
        ({"num_classes": -1}, "num_classes is -1; it must be 0 or more"),
    ],
)
def test_a_vit_that_cannot_be(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SMALL_VIT, **change)


def test_inputs_that_do_not_fit():
    with pytest.raises(ConfigError, match="17 tokens are more than the model's context_length 16"):
        Bert(SMALL_BERT).init(jax.random.key(0), np.zeros((1, 17), np.int32))
    with pytest.raises(ConfigError, match="images of 3 channels for a model of 1"):
        ViT(SMALL_VIT).init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    with pytest.raises(ConfigError, match="pooling 'max' is not known"):
        Bert(SMALL_BERT).init(jax.random.key(0), TOKENS, pooling="max", method="embed")


def test_flops():
    """Kaplan et al., 2020: six for each parameter of the matrices, beside attention's own."""
    base = BERT_SIZES["bert_base_uncased"]
    assert flops_per_token(base, 128) == 6 * 12 * 12 * 768**2 + 12 * 12 * 768 * 128
    masked = dataclasses.replace(base, masked_lm=True, pooler=False)
    assert flops_per_token(masked, 128, predicted=0.5) - flops_per_token(base, 128) == 3 * 768 * (768 + 30522)
    vit = VIT_SIZES["vit_b16"]
    assert flops_per_image(vit) == 6 * (197 * 12 * 12 * 768**2 + 196 * 768 * 768 + 768_000) + 12 * 12 * 768 * 197**2

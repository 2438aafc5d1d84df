"""A GPT that sees: at the start the gates are shut, the cache changes nothing, and no row sees another's image."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import ConfigError
from genjax.models.clip import CLIPImage, CLIPImageConfig
from genjax.models.gpt import GPT, GPTConfig
from genjax.models.vision_language import VisionLanguage, VisionLanguageConfig, flops_per_example
from genjax.models.vit import ViT, ViTConfig

GPT_CONFIG = GPTConfig(vocab_size=40, context_length=32, num_layers=3, num_heads=2, embed_dim=16, init_std=0.3)
VISION = ViTConfig(image_size=8, patch_size=4, num_classes=0, num_layers=1, num_heads=2, embed_dim=12, init_std=0.3)
CONFIGS = {
    "prefix": VisionLanguageConfig(GPT_CONFIG, VISION),
    "gated": VisionLanguageConfig(GPT_CONFIG, VISION, fusion="gated"),
    "gated every second": VisionLanguageConfig(GPT_CONFIG, VISION, fusion="gated", cross_every=2),
    "clip, rotary": VisionLanguageConfig(
        dataclasses.replace(GPT_CONFIG, position="rotary", num_kv_heads=1, norm="rmsnorm", use_bias=False),
        clip=CLIPImageConfig(image_size=8, patch_size=4, projection_dim=0, num_layers=1, num_heads=2, embed_dim=12),
    ),
}
IMAGES = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 3)).astype(np.float32)
TOKENS = np.random.default_rng(1).integers(0, 40, (3, 9)).astype(np.int32)


@functools.cache
def made(name, gates=0.7):
    """The model and its variables, gates opened."""
    model = VisionLanguage(CONFIGS[name])
    variables = nn.unbox(jax.jit(model.init)(jax.random.key(0), IMAGES, TOKENS))
    opened = lambda path, x: x + gates if "gate" in path[-1].key else x  # noqa: E731
    return model, jax.tree_util.tree_map_with_path(opened, variables)


def test_with_shut_gates_the_gpt_says_exactly_what_it_says_alone():
    model, variables = made("gated", gates=0.0)
    # Not compiled as a whole: fusion may round one of the two programs otherwise.
    alone = GPT(GPT_CONFIG).apply({"params": variables["params"]["gpt"]}, TOKENS)
    assert (model.apply(variables, IMAGES, TOKENS) == alone).all()
    gradients = jax.jit(jax.grad(lambda v: jnp.sum(model.apply(v, IMAGES, TOKENS)[:, -1, 0])))(variables)["params"]["adapter"]
    gates = [block[name] for block in gradients.values() for name in ("attention_gate", "mlp_gate")]
    assert len(gates) == 6 and all(abs(float(gate)) > 0 for gate in gates)


@pytest.mark.parametrize("name", CONFIGS)
def test_each_row_sees_its_own_image_and_only_it(name):
    model, variables = made(name)
    apply = jax.jit(model.apply)
    together = apply(variables, IMAGES, TOKENS)
    for row in range(3):
        one = slice(row, row + 1)
        np.testing.assert_allclose(apply(variables, IMAGES[one], TOKENS[one]), together[one], rtol=0, atol=1e-5)
    other = apply(variables, IMAGES[::-1].copy(), TOKENS)
    assert np.abs(other[0] - together[0]).max() > 1e-3 and np.abs(other[1] - together[1]).max() < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_a_cache_that_read_the_image_once_gives_the_same_logits(name):
    """Prompts of two lengths side by side, left-padded; then token by token, two rows continuing each image."""
    model, variables = made(name)
    c = CONFIGS[name]
    apply = {name: jax.jit(functools.partial(model.apply, method=name)) for name in ("encode", "hidden", "logits")}
    whole = jax.jit(model.apply)(variables, IMAGES[:2], TOKENS[:2])
    lengths, room = np.array([5, 3]), 5 + c.prefix_length
    prompts = np.zeros((2, room), np.int32)
    for row, length in enumerate(lengths):
        prompts[row, room - length - c.prefix_length :] = [c.image_id] * c.prefix_length + TOKENS[row, :length].tolist()
    image = apply["encode"](variables, IMAGES[:2])
    cache = model.apply(variables, image, room + 4, method="start_cache")
    cache = cache.replace(start=jnp.asarray(5 - lengths, jnp.int32))
    hidden, cache = apply["hidden"](variables, prompts, image, cache=cache)
    for step in range(4):
        logits = apply["logits"](variables, hidden[:, -1:])[:, 0]
        for row, length in enumerate(lengths):
            np.testing.assert_allclose(logits[row], whole[row, length - 1 + step], rtol=0, atol=1e-4)
        following = np.stack([TOKENS[row, length + step : length + step + 1] for row, length in enumerate(lengths)])
        hidden, cache = apply["hidden"](variables, following, None, cache=cache)


def test_the_parts_are_those_of_a_tower_and_a_gpt_alone():
    for name, tower in (("prefix", ViT(VISION)), ("clip, rotary", CLIPImage(CONFIGS["clip, rotary"].clip))):
        _, variables = made(name)
        alone = nn.unbox(jax.eval_shape(tower.init, jax.random.key(0), IMAGES))["params"]
        own = jax.tree.map(lambda x: x.shape, variables["params"])
        assert own["vision"] == jax.tree.map(lambda x: x.shape, alone)
        gpt = nn.unbox(jax.eval_shape(GPT(CONFIGS[name].gpt).init, jax.random.key(0), TOKENS))["params"]
        assert own["gpt"] == jax.tree.map(lambda x: x.shape, gpt)


def test_the_prefix_may_be_of_scanned_layers_and_the_gates_not():
    scanned = dataclasses.replace(GPT_CONFIG, scan_layers=True)
    model = VisionLanguage(VisionLanguageConfig(scanned, VISION))
    out, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), IMAGES, TOKENS)
    assert out.shape == (3, 9, 40)
    with pytest.raises(ConfigError, match="set model.gpt.scan_layers=False"):
        VisionLanguageConfig(scanned, VISION, fusion="gated")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vision": dataclasses.replace(VISION, num_classes=3)}, "set its num_classes=0 and pooler=False"),
        ({"clip": CLIPImageConfig(image_size=8, patch_size=4)}, "set its projection_dim=0"),
        ({"cross_every": 0}, "cross_every is 0; it must be 1 or more"),
        ({"gpt": dataclasses.replace(GPT_CONFIG, context_length=5)}, "the image has 5 tokens, but the GPT's context_length is 5"),
    ],
)
def test_what_does_not_go_together_is_a_sentence(fields, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(CONFIGS["prefix"], **fields)


def test_flops_count_what_each_form_computes():
    """Gated: a short text never pays for the image's tokens in the GPT; each block pays once for its keys and values."""
    length = 9
    prefix, gated = (flops_per_example(CONFIGS[name], length) for name in ("prefix", "gated"))
    fewer = flops_per_example(CONFIGS["gated every second"], length)
    block = 6 * (length * (2 * 16 * 16 + 2 * 16 * 64) + 5 * 2 * 12 * 16) + 12 * 16 * length * 5
    assert gated - fewer == block
    assert prefix > 6 * (length + 5) * (3 * (4 * 16**2 + 8 * 16**2) + 40 * 16)

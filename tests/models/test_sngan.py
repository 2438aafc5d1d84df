"""The players of SNGAN and WGAN-GP against the same written with torch's layers and its own spectral norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict
from torch.nn.utils.parametrizations import spectral_norm

from genjax.errors import ConfigError
from genjax.models import sngan
from genjax.models.sngan import SNGANConfig, SNGANCritic, SNGANGenerator
from genjax.models.sngan_sizes import SNGAN_SIZES

RESNET = SNGANConfig(latent=6, widths=(12, 10, 8), critic_widths=(5, 7, 7), halvings=2, num_classes=3)
PLAIN = SNGANConfig("cnn", latent=6, widths=(12, 10, 8), critic_widths=(4, 6, 8))
CLASSES = np.array([0, 2, 1, 2])


def random_variables(module, *inputs):
    variables = meta.unbox(jax.jit(module.init)(jax.random.key(0), *inputs))
    rng = np.random.default_rng(0)
    flat = flatten_dict(variables)
    params = {
        path: leaf + 0.2 * rng.standard_normal(leaf.shape).astype(np.float32)
        for path, leaf in flat.items()
        if path[0] == "params"
    }
    return unflatten_dict(flat | params)


def tensor(x):
    return torch.from_numpy(np.array(x, np.float64))


class Reference:
    """torch's functions, fed with our variables by name."""

    def __init__(self, variables, classes=None, train=False):
        self.flat = flatten_dict(variables, sep="/")
        self.classes, self.train = classes, train

    def linear(self, x, name):
        return x @ tensor(self.flat[f"params/{name}/kernel"]) + tensor(self.flat[f"params/{name}/bias"])

    def conv(self, x, name, **options):
        weight = tensor(self.flat[f"params/{name}/kernel"]).permute(3, 2, 0, 1)
        if f"spectral/{name}/norm/u" in self.flat:
            weight = self.normed(weight, name)
        bias = self.flat.get(f"params/{name}/bias")
        return F.conv2d(
            x, weight, None if bias is None else tensor(bias), padding=options.pop("padding", weight.shape[-1] // 2), **options
        )

    def normed(self, weight, name):
        """weight / sigma, by torch's module at our u and v."""
        layer = torch.nn.Linear(weight[0].numel(), len(weight), bias=False).double()
        layer.weight.data = weight.reshape(len(weight), -1)
        spectral_norm(layer)
        state = layer.parametrizations.weight[0]
        state._u.data, state._v.data = (tensor(self.flat[f"spectral/{name}/norm/{v}"]) for v in "uv")
        layer.train(self.train)
        return layer.weight.reshape(weight.shape)

    def batch_norm(self, x, name):
        prefix = f"{name}/norm" if self.classes is not None else name
        mean, var = (tensor(self.flat[f"batch_stats/{prefix}/{v}"]) for v in ("mean", "var"))
        x = F.batch_norm(x, mean, var, training=self.train)
        if self.classes is None:
            scale, bias = (tensor(self.flat[f"params/{name}/{v}"])[None] for v in ("scale", "bias"))
        else:
            scale, bias = (tensor(self.flat[f"params/{name}/{v}/embedding"])[self.classes] for v in ("scale", "bias"))
        return x * scale[:, :, None, None] + bias[:, :, None, None]


def reference_generator(c, r, z):
    x = r.linear(tensor(z), "start").reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2)
    up = lambda x: F.interpolate(x, scale_factor=2, mode="nearest")  # noqa: E731
    for level in range(len(c.widths) - 1):
        if c.network == "cnn":
            weight = tensor(r.flat[f"params/deconv_{level}/kernel"]).permute(2, 3, 0, 1)
            x = F.conv_transpose2d(F.relu(r.batch_norm(x, f"norm_{level}")), weight, stride=2, padding=1)
        else:
            y = r.conv(up(F.relu(r.batch_norm(x, f"norm_{level}_1"))), f"conv_{level}_1")
            y = r.conv(F.relu(r.batch_norm(y, f"norm_{level}_2")), f"conv_{level}_2")
            x = y + r.conv(up(x), f"shortcut_{level}")
    return torch.tanh(r.conv(F.relu(r.batch_norm(x, "norm_out")), "out")).permute(0, 2, 3, 1)


def reference_critic(c, r, images):
    x = tensor(images).permute(0, 3, 1, 2)
    layer = lambda x, name: F.group_norm(x, 1, *(tensor(r.flat[f"params/{name}/{v}"]) for v in ("scale", "bias")))  # noqa: E731
    norm = layer if c.critic_norm == "layer" else lambda x, name: x
    if c.network == "cnn":
        for level in range(len(c.critic_widths)):
            if level:
                x = F.leaky_relu(norm(r.conv(x, f"halve_{level}", stride=2, padding=1), f"norm_halve_{level}"), 0.1)
            x = F.leaky_relu(norm(r.conv(x, f"conv_{level}"), f"norm_{level}"), 0.1)
        features = x.permute(0, 2, 3, 1).reshape(len(x), -1)
    else:
        for index in range(len(c.critic_widths)):
            y = F.relu(norm(x, f"norm_{index}_1")) if index else x
            y = r.conv(F.relu(norm(r.conv(y, f"conv_{index}_1"), f"norm_{index}_2")), f"conv_{index}_2")
            if f"params/shortcut_{index}/kernel" in r.flat:
                x = r.conv(x, f"shortcut_{index}")
            if index < c.halvings:
                x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
            x = x + y
        x = F.relu(norm(x, "norm_out"))
        features = x.sum((2, 3)) if c.pooling == "sum" else x.mean((2, 3))
    weight = tensor(r.flat["params/out/kernel"]).T
    weight = r.normed(weight, "out") if c.critic_norm == "spectral" else weight
    logits = (features @ weight.T + tensor(r.flat["params/out/bias"]))[:, 0]
    if c.num_classes:
        table = r.normed(tensor(r.flat["params/classes/embedding"]), "classes")
        logits = logits + (table[r.classes] * features).sum(1)
    return logits


@pytest.mark.parametrize("config", [RESNET, PLAIN], ids=["resnet with classes", "cnn"])
@pytest.mark.parametrize("train", [False, True])
def test_generator(config, train):
    z = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
    told = (jnp.asarray(CLASSES),) if config.num_classes else (None,)
    variables = random_variables(SNGANGenerator(config), z, *told)
    apply = jax.jit(lambda v, z: SNGANGenerator(config).apply(v, z, *told, train=train, mutable=["batch_stats"])[0])
    found = apply(variables, z)
    expected = reference_generator(config, Reference(variables, CLASSES if config.num_classes else None, train), z)
    assert found.shape == (4, 16, 16, 3)
    np.testing.assert_allclose(found, expected.detach(), atol=2e-5)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        RESNET,
        PLAIN,
        SNGANConfig(latent=6, widths=(12, 10, 8), critic_widths=(5, 5), halvings=1, critic_norm="layer", pooling="mean"),
    ],
    ids=["resnet with classes", "cnn", "layer norm"],
)
def test_critic(config, train):
    images = np.random.default_rng(1).standard_normal((4, 16, 16, 3)).astype(np.float32)
    told = (jnp.asarray(CLASSES),) if config.num_classes else (None,)
    variables = random_variables(SNGANCritic(config), images, *told)
    found = jax.jit(lambda v, x: SNGANCritic(config).apply(v, x, *told, train=train, mutable=["spectral"])[0])(variables, images)
    expected = reference_critic(config, Reference(variables, CLASSES, train), images).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def count(module, *inputs):
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(meta.unbox(shapes)))


def test_published_sizes():
    """Numbers of parameters from the tables' shapes, added up by hand."""
    z, images = jnp.zeros((1, 128)), jnp.zeros((1, 32, 32, 3))
    config = SNGANConfig(**SNGAN_SIZES["resnet_32"])
    block = 2 * (9 * 256 * 256 + 256) + (256 * 256 + 256) + 2 * 2 * 256
    assert count(SNGANGenerator(config), z) == 128 * 4096 + 4096 + 3 * block + 2 * 256 + 9 * 256 * 3 + 3
    first = 9 * 3 * 128 + 128 + 9 * 128 * 128 + 128 + 3 * 128 + 128
    second = 2 * (9 * 128 * 128 + 128) + 128 * 128 + 128
    rest = 2 * (9 * 128 * 128 + 128)
    assert count(SNGANCritic(config), images) == first + second + 2 * rest + 128 + 1
    config = SNGANConfig(**SNGAN_SIZES["cnn_32"])
    ups = 16 * (512 * 256 + 256 * 128 + 128 * 64) + 2 * (512 + 256 + 128 + 64) + 9 * 64 * 3 + 3
    assert count(SNGANGenerator(config), z) == 128 * 8192 + 8192 + ups
    threes = 9 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 64 + 128 + 256 + 512
    fours = 16 * (64**2 + 128**2 + 256**2) + 64 + 128 + 256
    assert count(SNGANCritic(config), images) == threes + fours + 16 * 512 + 1


@pytest.mark.parametrize("config", [SNGANConfig(**size) for size in SNGAN_SIZES.values()], ids=SNGAN_SIZES)
def test_flops_are_those_that_xla_counts(config):
    """All but norms and activations; XLA counts these too, and of convolutions only what meets no padding."""
    pairs = ((SNGANGenerator(config), jnp.zeros((1, 128))), (SNGANCritic(config), jnp.zeros((1, 32, 32, 3))))
    for (module, x), stated in zip(pairs, sngan.forward_flops(config), strict=True):
        variables = meta.unbox(jax.eval_shape(module.init, jax.random.key(0), x))
        counted = jax.jit(module.apply).lower(variables, x).cost_analysis()["flops"]
        assert 0.85 < counted / stated < 1.05


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"widths": ()}, "model.widths is .*at least one"),
        ({"halvings": 5}, "model.halvings is 5"),
        ({"network": "cnn", "critic_widths": (8, 8)}, "critic_widths has 2 levels and model.widths 4"),
        ({"latent": 0}, "model.latent is 0"),
    ],
)
def test_bad_configs(values, message):
    with pytest.raises(ConfigError, match=message):
        SNGANConfig(**values)

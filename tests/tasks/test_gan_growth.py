"""GANs that grow: what each stage learns from, on which steps, and what is made and judged wherever a run is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from genjax import data, tasks
from genjax.adversarial import penalties
from genjax.errors import ConfigError, RequestError
from genjax.models.progressive import ProgressiveDiscriminator, ProgressiveGenerator
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import batch_sharding, context, make_rules
from genjax.sampling import Sampler
from genjax.tasks.gan import GANRequest

ROWS = 8
SECTION = {
    "name": "gan",
    "network": "progressive",
    "model": {"latent": 4, "channel_base": 16, "channel_max": 4},
    "growth": {"fade_images": 32, "stay_images": 16},
    "objective": "wasserstein",
    "gradient_penalty": 10.0,
    "drift": 0.001,
}


def build(**section):
    task = SECTION | section
    info = {"name": "images", "classes": ("boot", "bag"), "image_size": 8, "channels": 1, "batch_size": ROWS}
    return tasks.build(task, data.describe(info))


@pytest.fixture(scope="module")
def played():
    """A task of stages 4x4, to step 2, and 8x8, which fade in to step 6; its variables; and a batch."""
    task = build()
    variables = nn.unbox(jax.jit(task.init)(jax.random.key(0)))
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (ROWS, 8, 8, 1)).astype(np.uint8)
    return task, variables, {"image": image, "label": np.zeros(ROWS, np.int32), "mask": np.ones(ROWS, np.int32)}


def after(variables, images):
    return variables | {"growth": {"shown": {"images": jnp.asarray(images, jnp.int32)}}}


def networks(task, variables, stage, alpha):
    c = task.players.config
    make = lambda z: ProgressiveGenerator(c).apply(variables["generator"], z, stage=stage, alpha=alpha)  # noqa: E731
    judge = lambda x: ProgressiveDiscriminator(c).apply(variables["discriminator"], x, stage=stage, alpha=alpha)  # noqa: E731
    return make, judge


def coarse(x):
    """The means of two rows by two columns, each four times."""
    means = x.reshape(len(x), 4, 2, 4, 2, -1).mean((2, 4))
    return means, means.repeat(2, 1).repeat(2, 2)


def test_stages_are_turns_one_after_the_other():
    task = build(critic_steps=2)
    assert [(turn.name, turn.prefix, turn.every, turn.start, turn.stop) for turn in task.turns] == [
        ("discriminator_4", "discriminator", 1, 0, 2),
        ("generator_4", "generator", 2, 0, 2),
        ("discriminator_8", "discriminator", 1, 2, None),
        ("generator_8", "generator", 2, 2, None),
    ]
    assert {turn.optimizer for turn in task.turns} == {"discriminator_optimizer", "generator_optimizer"}
    assert 0 < task.flops_at(0) == task.flops_at(1) < task.flops_at(2) == task.flops_per_step
    assert task.notes[-1] == "resolutions: 4 from step 0, 8 from step 2"
    (lazy,) = [turn for turn in build(r1=1.0, r1_every=4).turns if turn.name == "r1_8"]
    assert (lazy.prefix, lazy.every, lazy.start) == ("r1", 4, 2)


def test_a_stage_learns_from_images_of_its_size_faded_as_its_networks_are(played):
    """Half way, where the images of this step are the 24th to the 32nd."""
    task, variables, batch = played
    judging, making = task.turns[2:]
    variables, key = after(variables, 24), jax.random.key(3)
    make, judge = networks(task, variables, 1, 0.5)

    @jax.jit
    def by_hand(real):
        _, _, latent_key, penalty_key = jax.random.split(key, 4)
        fake = make(jax.random.normal(jax.random.split(latent_key)[0], (ROWS, 4)))
        critic = judge(fake).mean() - judge(real).mean() + 0.001 * jnp.square(judge(real)).mean()
        z = jax.random.normal(jax.random.split(jax.random.split(key)[0])[0], (ROWS, 4))
        return critic + 10 * penalties.gradient_penalty(judge, penalty_key, real, fake).mean(), -judge(make(z)).mean()

    full = batch["image"] / np.float32(127.5) - 1
    critic, generator = by_hand((coarse(full)[1] + full) / 2)
    loss, aux = jax.jit(judging.loss)(variables, batch, key)
    np.testing.assert_allclose(loss, critic, rtol=1e-4)
    assert float(aux.metrics["resolution"][0]) == ROWS * 6
    # The generator's turn of the same step finds the images counted, and so has the same alpha.
    images = aux.collections["growth"]["shown"]["images"]
    assert images.dtype == jnp.int32 and int(images) == 32 and list(aux.collections) == ["growth"]
    loss, aux = jax.jit(making.loss)(after(variables, images), batch, key)
    np.testing.assert_allclose(loss, generator, rtol=1e-4)
    assert not aux.collections


def test_microbatches_of_a_step_fade_alike(played):
    """Half a batch is counted as such, and learned from with the alpha of the step's end."""
    task, variables, _ = played
    players = task.players.stages[1].players
    for images in (24, 28):
        seen, counted, reported = players.count(after(variables, images), 4)
        assert int(seen["growth"]["shown"]["images"]) == 32 and int(counted["growth"]["shown"]["images"]) == images + 4
        assert float(reported["resolution"]) == 6


@pytest.mark.parametrize("shown, stage, alpha", [(0, 0, 1.0), (16, 0, 1.0), (24, 1, 0.25), (48, 1, 1.0), (160, 1, 1.0)])
def test_samples_and_figures_are_of_the_stage_that_a_run_is_at(played, sampler, evaluate, shown, stage, alpha):
    task, variables, batch = played
    variables = after(variables, shown)
    make, judge = networks(task, variables, stage, alpha)
    found = sampler(variables, [GANRequest(num_samples=2)], seed=0)
    z = jax.vmap(lambda row: jax.random.normal(jax.random.fold_in(jax.random.key(0), row), (4,)))(jnp.arange(2))
    expected = np.asarray(task.medium.from_model(make(z)))
    expected = expected if stage else expected.repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose([a.value[..., :1].astype(int) for a in found], expected, atol=1)
    sums = evaluate(variables, batch, jax.random.key(0))
    full = batch["image"] / np.float32(127.5) - 1
    means, repeated = coarse(full)
    real = means if stage == 0 else repeated + alpha * (full - repeated)
    np.testing.assert_allclose(sums["logit_real"][0] / ROWS, judge(jnp.asarray(real)).mean(), rtol=1e-4, atol=1e-5)
    fake = make(jax.random.normal(jax.random.key(0), (ROWS, 4)))
    np.testing.assert_allclose(sums["logit_fake"][0] / ROWS, judge(fake).mean(), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def sampler(played):
    return Sampler(played[0])


@pytest.fixture(scope="module")
def evaluate(played):
    return jax.jit(played[0].evaluate)


def test_eight_devices_compute_what_one_does(played):
    """The loss of a stage that fades in, and figures of whichever stage it is."""
    task, (_, variables, batch) = build(gradient_penalty=0.0), played
    variables, mesh, rules = after(variables, 24), make_mesh(MeshConfig(data=4, fsdp=2)), make_rules(())

    def losses(variables, batch):
        loss, aux = task.turns[2].loss(variables, batch, jax.random.key(7))
        return loss, aux.metrics, aux.collections, task.evaluate(variables, batch, jax.random.key(1))

    alone = jax.jit(losses)(variables, batch)
    with context(mesh, rules):
        placed = {name: jax.device_put(x, batch_sharding(mesh, rules, x.ndim)) for name, x in batch.items()}
        together = jax.jit(losses)(variables, placed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), alone, together)


def test_augmentation_goes_with_a_stage(played):
    task = build(ada={"pipeline": "bgc"})
    variables = nn.unbox(jax.eval_shape(task.init, jax.random.key(0)))
    _, aux = jax.eval_shape(task.turns[0].loss, variables, played[2], jax.random.key(0))
    assert set(aux.collections) == {"growth", "augmentation"}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"conditional": True}, "network 'progressive' knows no classes; set config.task.conditional to False"),
        ({"style_mixing": 0.9}, "style_mixing is for network 'stylegan2'"),
        ({"path_length": 2.0}, "path_length is for network 'stylegan2'"),
        ({"growth": {"first_size": 16}}, "growth.first_size 16 is larger than the images, 8x8"),
        ({"growth": {"stay_images": 4}}, "less than a batch of 8"),
        ({"model": {"image_size": 8}}, "sets image_size, which follow from the data"),
        ({"network": "dcgan", "model": {}}, "growth is for network 'progressive'; 'dcgan' has one resolution"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(section, message):
    with pytest.raises(ConfigError, match=message):
        build(**section)


def test_other_sizes_and_wishes_are_refused(played):
    info = data.describe({"name": "images", "image_size": 28, "channels": 1, "batch_size": ROWS})
    with pytest.raises(ConfigError, match="image_size is 28; it must be a power of 2, and 8 or more: use 32"):
        tasks.build(SECTION, info)
    with pytest.raises(RequestError, match="--truncation: this generator reads no styles"):
        played[0].prepare([GANRequest(truncation=0.5)])

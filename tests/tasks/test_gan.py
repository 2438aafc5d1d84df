"""GANs behind the contract: what each player learns from, what moves beside it, how samples are asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from genjax import data, tasks
from genjax.adversarial import penalties
from genjax.errors import CheckpointError, ConfigError, RequestError
from genjax.models.style_generator import truncate
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import batch_sharding, context, make_rules
from genjax.sampling import Sampler
from genjax.tasks.gan import GANRequest

CLASSES = ("boot", "shirt", "bag")
ROWS = 8
POINTS = {"network": "points", "model": {"widths": (8,)}}
IMAGES = {"network": "dcgan", "model": {"width": 4, "latent": 5}}
STYLES = {
    "network": "stylegan2",
    "model": {"latent": 6, "style_width": 6, "mapping_layers": 1, "channel_base": 32, "channel_max": 8, "mbstd_group_size": 2},
}


def build(task, **section):
    if task["network"] == "points":
        info = data.describe({"name": "mixture", "batch_size": ROWS} | section)
    else:
        info = data.describe({"name": "images", "classes": CLASSES, "image_size": 8, "channels": 1, "batch_size": ROWS} | section)
    return tasks.build({"name": "gan"} | task, info)


def fresh(task, seed=0):
    return nn.unbox(jax.jit(task.init)(jax.random.key(seed)))


def batch_of(task, rows=ROWS):
    rng = np.random.default_rng(1)
    spec = task.batch_spec
    batch = {"label": np.arange(rows, dtype=np.int32) % 3, "mask": np.ones(rows, np.int32)}
    if "point" in spec:
        return batch | {"point": rng.standard_normal((rows, 2)).astype(np.float32)}
    return batch | {"image": rng.integers(0, 256, (rows, *spec["image"].shape[1:])).astype(np.uint8)}


@pytest.fixture(scope="module")
def styles():
    task = build(STYLES | {"conditional": True})
    return task, fresh(task)


def test_turns_come_as_the_config_says():
    plain = build(POINTS | {"critic_steps": 5, "r1": 1.0})
    assert [(turn.name, turn.every, turn.optimizer) for turn in plain.turns] == [
        ("discriminator", 1, "discriminator_optimizer"),
        ("generator", 5, "generator_optimizer"),
    ]
    lazy = build(STYLES | {"r1": 1.0, "r1_every": 16, "path_length": 2.0})
    assert [(turn.name, turn.every, turn.trains) for turn in lazy.turns[2:]] == [
        ("r1", 16, ("discriminator/params/*",)),
        ("path_length", 4, ("generator/params/*",)),
    ]


def test_losses_are_the_objectives_and_penalties_of_what_the_players_say():
    task = build(POINTS | {"objective": "wasserstein", "gradient_penalty": 10.0, "drift": 0.5, "r1": 3.0})
    variables, batch, key = fresh(task), batch_of(task), jax.random.key(3)
    loss, aux = jax.jit(task.discriminator_loss)(variables, batch, key)
    real_key, fake_key, latent_key, penalty_key = jax.random.split(key, 4)
    real = batch["point"]
    z = jax.random.normal(jax.random.split(latent_key)[0], (ROWS, 2))
    fake, _ = task.players.generate(variables, z, None, train=True)
    critic = lambda x: task.players.judge(variables, x, None, train=True)[0]  # noqa: E731
    expected = critic(fake).mean() - critic(real).mean() + 0.5 * jnp.square(critic(real)).mean()
    penalty = penalties.gradient_penalty(critic, penalty_key, real, fake).mean()
    slope = penalties.r1(critic, real).mean()
    np.testing.assert_allclose(loss, expected + 10 * penalty + 3 * slope, rtol=1e-5)
    np.testing.assert_allclose([aux.metrics[name][0] / ROWS for name in ("gradient_penalty", "r1")], [penalty, slope], rtol=1e-5)
    assert "accuracy_real" not in aux.metrics
    loss, aux = jax.jit(task.generator_loss)(variables, batch, jax.random.key(4))
    z = jax.random.normal(jax.random.split(jax.random.split(jax.random.key(4))[0])[0], (ROWS, 2))
    np.testing.assert_allclose(loss, -critic(task.players.generate(variables, z, None, train=True)[0]).mean(), rtol=1e-5)
    lazy = build(POINTS | {"r1": 3.0, "r1_every": 4})
    np.testing.assert_allclose(lazy.r1_loss(variables, batch, key)[0], 4 * 3 * slope, rtol=1e-5)


def test_moving_statistics_are_each_players_own():
    task = build(IMAGES, image_size=16)
    variables, batch = fresh(task), batch_of(task)
    moved = {turn.name: jax.eval_shape(turn.loss, variables, batch, jax.random.key(0))[1].collections for turn in task.turns}
    assert list(moved["discriminator"]) == ["discriminator"] and list(moved["generator"]) == ["generator"]
    # The generated batch goes on from where the real one left the statistics.
    found = jax.jit(task.discriminator_loss)(variables, batch, jax.random.key(0))[1].collections["discriminator"]
    latent_key = jax.random.split(jax.random.key(0), 4)[2]
    z = jax.random.normal(jax.random.split(latent_key)[0], (ROWS, 5))
    fake, _ = task.players.generate(variables, z, None, train=True)
    for x in (batch["image"] / 127.5 - 1, fake):
        _, after = task.players.judge(variables, jnp.asarray(x, jnp.float32), None, train=True)
        variables = variables | {"discriminator": variables["discriminator"] | after}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, after)


def test_the_discriminator_sees_augmented_images_and_their_chance_moves():
    task = build(IMAGES | {"ada": {"pipeline": "bg", "target": 0.5, "kimg": 0.1, "interval": 2, "probability": 0.4}})
    variables, batch = fresh(task), batch_of(task)
    loss = jax.jit(task.discriminator_loss)
    chances = []
    for step in range(4):
        _, aux = loss(variables, batch, jax.random.key(step))
        variables = variables | {"augmentation": aux.collections["augmentation"]}
        chances.append(float(variables["augmentation"]["ada"]["probability"]))
    moves = np.diff([0.4, *chances])
    np.testing.assert_allclose(np.abs(moves), [0, 0.16, 0, 0.16], atol=1e-6)
    still = build(IMAGES | {"ada": {"pipeline": "bg", "target": 0.0, "probability": 0.4}})
    assert "augmentation" not in jax.eval_shape(still.discriminator_loss, variables, batch, jax.random.key(0))[1].collections
    nothing = variables | {"augmentation": {"ada": variables["augmentation"]["ada"] | {"probability": jnp.zeros(())}}}
    plain = build(IMAGES)
    np.testing.assert_allclose(
        loss(nothing, batch, jax.random.key(0))[0], plain.discriminator_loss(variables, batch, jax.random.key(0))[0], rtol=1e-4
    )


@pytest.mark.parametrize("section", [IMAGES, STYLES | {"conditional": True, "style_mixing": 0.9}], ids=["dcgan", "stylegan2"])
def test_eight_devices_compute_what_one_does(section):
    """Losses, and what moves beside them, of both players."""
    task = build(section)
    variables, batch = fresh(task), batch_of(task)
    mesh = make_mesh(MeshConfig(data=4, fsdp=2))

    def losses(variables, batch):
        found = [turn.loss(variables, batch, jax.random.key(7)) for turn in task.turns]
        return [(loss, aux.metrics, aux.collections) for loss, aux in found]

    alone = jax.jit(losses)(variables, batch)
    rules = make_rules(())
    with context(mesh, rules):
        placed = {name: jax.device_put(x, batch_sharding(mesh, rules, x.ndim)) for name, x in batch.items()}
        together = jax.jit(losses)(variables, placed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), alone, together)


def test_paths_of_styles_are_held_to_their_mean(styles):
    task = build(STYLES | {"path_length": 2.0, "path_length_shrink": 4})
    variables = fresh(task)
    loss, aux = jax.jit(task.path_length_loss)(variables, batch_of(task), jax.random.key(0))
    length = aux.metrics["length"][0] / 2  # two of eight examples
    mean = aux.collections["path_length"]["moving"]["mean"]
    np.testing.assert_allclose(mean, 0.01 * length, rtol=1e-5)
    np.testing.assert_allclose(loss, 2 * 4 * aux.metrics["penalty"][0] / 2, rtol=1e-5)
    assert aux.weight == 2 and float(aux.metrics["penalty"][0]) > 0


def test_the_gauge_tells_a_collapse():
    task = build(POINTS)
    variables, batch = fresh(task), batch_of(task, 64)
    evaluate = jax.jit(task.evaluate)
    told = lambda v: task.summarize({n: float(a) / float(b) for n, (a, b) in evaluate(v, batch, jax.random.key(0)).items()})  # noqa: E731
    assert told(variables)["diversity"] > 0.05 and set(told(variables)) >= {"modes", "within", "accuracy_real", "logit_fake"}
    params = variables["generator"]["params"]
    one_place = jax.tree.map(jnp.zeros_like, params) | {"out": {"kernel": jnp.zeros((8, 2)), "bias": jnp.array([2.0, 0.0])}}
    found = told(variables | {"generator": {"params": one_place}})
    assert found["diversity"] < 1e-3 and found["modes"] == 1 and found["within"] == pytest.approx(1.0)
    assert not any(name.startswith("mode_") for name in found)


def test_samples_are_the_same_in_any_batch_and_of_the_class_that_is_asked_for(styles):
    task, variables = styles
    sampler = Sampler(task)
    many = sampler(variables, [GANRequest(num_samples=5)], seed=1)
    assert [a.metadata["label"]["class"] for a in many] == ["boot", "shirt", "bag", "boot", "shirt"]
    assert many[0].metadata["columns"] == 3 and many[0].value.shape == (8, 8, 3)
    few = sampler(variables, [GANRequest(num_samples=2)], seed=1)
    np.testing.assert_allclose([a.value.astype(int) for a in few], [a.value.astype(int) for a in many[:2]], atol=1)
    bags = sampler(variables, [GANRequest(num_samples=2, label=("bag",))], seed=1)
    assert [a.metadata["label"]["class"] for a in bags] == ["bag", "bag"] and "columns" not in bags[0].metadata


def test_truncation_interpolation_and_mixing_act_on_styles(styles):
    task, variables = styles
    variables = variables | {"generator": variables["generator"] | {"w_avg": {"mean": jnp.arange(6.0) / 5}}}
    sampler, players = Sampler(task), task.players
    key = jax.random.key(0)
    z = lambda n: jax.random.normal(jax.random.fold_in(key, n), (1, 6))  # noqa: E731
    of = lambda n: players.styles(variables, z(n), jnp.zeros(1, jnp.int32), train=False)[0]  # noqa: E731
    draw = jax.jit(lambda w: task.medium.from_model(players.synthesize(variables, w, None))[0])
    near = lambda artifact, w: np.testing.assert_allclose(artifact.value[..., :1].astype(int), draw(w), atol=1)  # noqa: E731
    boot = {"label": ("boot",)}
    (sample,) = sampler(variables, [GANRequest(truncation=0.3, truncation_cutoff=2, **boot)], seed=0)
    near(sample, truncate(of(0), jnp.arange(6.0) / 5, 0.3, 2))
    assert sample.metadata["truncation"] == 0.3
    film = sampler(variables, [GANRequest(num_samples=3, interpolate=True, **boot)], seed=0)
    near(film[1], (of(0) + of(1)) / 2)
    table = sampler(variables, [GANRequest(mix="2x1", mix_layers="1-2", **boot)], seed=0)
    assert len(table) == 6 and table[0].metadata["columns"] == 2 and (table[0].value == 255).all()
    for artifact, w in zip(table[1:3], (of(2), of(0)), strict=True):
        near(artifact, w)
    near(table[5], of(1).at[:, 1:3].set(of(2)[:, 1:3]))


def test_points_are_one_picture_a_request():
    task = build(POINTS)
    found = Sampler(task)(fresh(task), [GANRequest(num_samples=100), GANRequest(num_samples=3)], seed=0)
    assert [a.metadata["num_samples"] for a in found] == [100, 3] and found[0].value.shape == (320, 320, 3)
    assert (found[0].value == (200, 30, 40)).all(-1).sum() > (found[1].value == (200, 30, 40)).all(-1).sum() >= 1


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"network": "gan"}, "network is 'gan'; choose one of points, dcgan"),
        ({"objective": "wgan"}, "objective is 'wgan'. Known: 'minimax'"),
        ({"critic_steps": 0}, "critic_steps is 0"),
        ({"r1": -1.0}, "r1 is -1.0"),
        ({"model": {"channels": 3}}, "sets channels, which follow from the data"),
        ({"model": {"widht": 3}}, "did you mean config.task.model.width"),
        ({"network": "sngan", "model": {}}, "makes images of 32x32 pixels, but the data has 8x8"),
        ({"network": "points"}, "'points' is for points; set config.data.name to 'mixture'"),
        ({"style_mixing": 0.9}, "style_mixing is for network 'stylegan2'"),
        ({"path_length": 2.0}, "path_length is for network 'stylegan2'"),
        ({"ada": {"pipeline": "all"}}, "ada.pipeline"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(section, message):
    with pytest.raises(ConfigError, match=message):
        tasks.build(
            {"name": "gan", **IMAGES, **section},
            data.describe({"name": "images", "image_size": 8, "channels": 1, "batch_size": 4}),
        )


def test_data_that_does_not_fit_is_a_sentence():
    with pytest.raises(ConfigError, match="needs data with one label; this has no labels"):
        build(IMAGES | {"conditional": True}, classes=())
    with pytest.raises(ConfigError, match="ada is for images"):
        build(POINTS | {"ada": {"pipeline": "bg"}})
    with pytest.raises(ConfigError, match="'dcgan' is for images; set config.data.name to 'images'"):
        tasks.build({"name": "gan", **IMAGES}, data.describe({"name": "mixture"}))
    with pytest.raises(ConfigError, match="makes images or points, not sounds"):
        tasks.build({"name": "gan", **IMAGES}, data.describe({"name": "sounds", "path": "x"}))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (GANRequest(num_samples=0), "--num_samples=0"),
        (GANRequest(interpolate=True), "ask for --num_samples of 2 or more"),
        (GANRequest(label=("boat",)), "--label class: .*boot"),
        (GANRequest(truncation_cutoff=-1), "--truncation_cutoff=-1"),
        (GANRequest(mix="3"), "--mix=3: write ROWSxCOLUMNS"),
        (GANRequest(mix="2x2", num_samples=3), "leave --num_samples out"),
        (GANRequest(mix="2x2", mix_layers="2-9"), "both from 0 to 3"),
        (GANRequest(mix_layers="0-1"), "give --mix too"),
    ],
)
def test_requests_that_cannot_be_served(styles, request_, message):
    with pytest.raises(RequestError, match=message):
        styles[0].prepare([request_])


def test_a_generator_without_styles_says_so():
    with pytest.raises(RequestError, match="--truncation: this generator reads no styles"):
        build(IMAGES).prepare([GANRequest(truncation=0.5)])


@pytest.mark.parametrize("section", [IMAGES, STYLES], ids=["dcgan", "stylegan2"])
def test_players_go_to_files_of_public_code_and_come_back(section, tmp_path):
    task = build(section)
    variables = fresh(task)
    task.export(tmp_path / "out", variables)
    found = task.pretrained(str(tmp_path / "out"), None)
    expected = {name: variables[name] for name in ("generator", "discriminator")}
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    opened, weights = tasks.open_weights(tmp_path / "out")  # whose config is read off the files
    jax.tree.map(np.testing.assert_array_equal, weights, expected)
    request = [GANRequest(num_samples=2)]
    for one, two in zip(Sampler(opened)(weights, request), Sampler(task)(variables, request), strict=True):
        np.testing.assert_array_equal(one.value, two.value)
    other = build(section | {"model": section["model"] | {"latent": 3}})
    with pytest.raises(CheckpointError, match="generator.* of another shape: config.task.model.latent: 3 -> "):
        other.pretrained(str(tmp_path / "out"), None)
    with pytest.raises(CheckpointError, match="holds no generator and no discriminator"):
        task.pretrained(str(tmp_path), None)
    with pytest.raises(ConfigError, match="there is no public layout of PointGANConfig"):
        build(POINTS).pretrained(str(tmp_path), None)

"""pix2pix and CycleGAN behind the contract: losses by hand, the pool as state, images and folders of images."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from genjax import data, tasks
from genjax.adversarial import pool
from genjax.adversarial.objectives import OBJECTIVES
from genjax.adversarial.pool import ImagePool
from genjax.errors import CheckpointError, ConfigError, RequestError
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import batch_sharding, context, make_rules
from genjax.sampling import Sampler
from genjax.sampling.writers import write
from genjax.tasks.contract import Artifact
from genjax.tasks.image_to_image import ImageToImageRequest
from genjax.tasks.image_to_image_requests import image_files
from genjax.tasks.sample_rows import row_keys

ROWS, SIDE = 8, 8
UNET = {"generator": {"levels": 2, "width": 4}, "discriminator": {"layers": 1, "width": 4}}
CYCLE = {
    "method": "cyclegan",
    "network": "resnet",
    "objective": "least_squares",
    "generator": {"levels": 1, "width": 4, "blocks": 1},
    "discriminator": {"layers": 1, "width": 4},
    "pool_size": 3,
}


def build(section=UNET, **given):
    config = {"name": "image_pairs", "path": "x", "image_size": SIDE, "batch_size": ROWS}
    if section.get("method") == "cyclegan":
        config |= {"layout": "unpaired", "source": "a", "target": "b"}
    return tasks.build({"name": "image_to_image"} | section, data.describe(config | given))


def fresh(task):
    return nn.unbox(jax.jit(task.init)(jax.random.key(0)))


def batch_of(rows=ROWS):
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (rows, SIDE, SIDE, 3)).astype(np.uint8) for name in ("source", "target")}
    return images | {"mask": np.ones(rows, np.int32)}


@pytest.fixture(scope="module")
def cycle():
    task = build(CYCLE)
    return task, fresh(task)


def test_pix2pix_is_its_two_losses():
    """Isola et al., 2017, equations 1, 3 and 4."""
    task = build()
    variables, batch, key = fresh(task), batch_of(), jax.random.key(3)
    source, target = (batch[name] / np.float32(127.5) - 1 for name in ("source", "target"))
    made, _ = task.translator(variables["generator"], source, key)
    judge = lambda x: task.judge(variables["discriminator"], jnp.concatenate([source, x], -1), train=True)[0]  # noqa: E731
    objective = OBJECTIVES["non_saturating"]
    loss, aux = jax.jit(task.discriminator_loss)(variables, batch, key)
    np.testing.assert_allclose(loss, (objective.real(judge(target)).mean() + objective.fake(judge(made)).mean()) / 2, rtol=1e-5)
    assert judge(target).shape[1:] == (2, 2) and set(aux.collections) <= {"discriminator"}
    loss, aux = jax.jit(task.generator_loss)(variables, batch, key)
    fooled, difference = objective.generator(judge(made)).mean(), np.abs(made - target).mean()
    np.testing.assert_allclose(loss, fooled + 100 * difference, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["difference"][0] / ROWS, difference, rtol=1e-5)
    assert list(aux.collections) == ["generator"]  # its batch norms


def test_features_of_the_discriminator_are_matched():
    """Wang et al., 2018, equation 4, of the two layers before the last; each image is judged beside the source."""
    task, plain = build(UNET | {"feature_matching": 10.0}), build()
    variables, batch, key = fresh(task), batch_of(), jax.random.key(3)
    source, target = (batch[name] / np.float32(127.5) - 1 for name in ("source", "target"))
    made, _ = task.translator(variables["generator"], source, key)
    wanted, seen = (
        task.judge.with_features(variables["discriminator"], jnp.concatenate([source, x], -1))[1] for x in (target, made)
    )
    matched = sum(np.abs(np.asarray(one, np.float64) - other).mean() for one, other in zip(wanted, seen, strict=True))
    assert len(seen) == 2 and matched > 0.01
    pulls = lambda t: jax.jit(jax.value_and_grad(t.generator_loss, has_aux=True))  # noqa: E731
    ((loss, aux), gradient), ((without, _), other) = (pulls(t)(variables, batch, key) for t in (task, plain))
    np.testing.assert_allclose(loss - without, 10 * matched, rtol=1e-3)
    np.testing.assert_allclose(aux.metrics["feature_matching"][0] / ROWS, matched, rtol=1e-5)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), *(g["generator"]["params"]["down_0"] for g in (gradient, other)))
    assert moved["kernel"] > 1e-4
    (turn,) = (turn for turn in task.turns if turn.loss == task.generator_loss)
    assert turn.trains == ("generator/params/*",)  # and not the discriminator, though it is the one that sees


def test_cyclegan_is_its_three_losses(cycle):
    """Zhu et al., 2017, equations 1 to 3 with least squares, and the identity loss of section 5.2."""
    (task, variables), batch, key = cycle, batch_of(), jax.random.key(3)
    source, target = (batch[name] / np.float32(127.5) - 1 for name in ("source", "target"))
    there, back = (lambda x, name=name: task.translator(variables[name], x, key)[0] for name in ("generator", "generator_back"))
    judge = lambda name, x: task.judge(variables[f"discriminator_{name}"], x, train=True)[0]  # noqa: E731
    off = lambda a, b: np.abs(a - b).mean()  # noqa: E731
    fooled = sum(0.5 * np.square(judge(name, x) - 1).mean() for name, x in (("target", there(source)), ("source", back(target))))
    cycles = off(back(there(source)), source) + off(there(back(target)), target)
    same = off(there(target), target) + off(back(source), source)
    loss, aux = jax.jit(task.generator_loss)(variables, batch, key)
    np.testing.assert_allclose(loss, fooled + 10 * (cycles + 0.5 * same), rtol=1e-5)
    without = build(CYCLE | {"identity": 0.0})
    np.testing.assert_allclose(without.generator_loss(variables, batch, key)[0], fooled + 10 * cycles, rtol=1e-5)


def test_discriminators_see_some_images_of_before(cycle):
    (task, variables), loss = cycle, jax.jit(cycle[0].discriminator_loss)
    for step in range(2):
        batch, key = batch_of(), jax.random.key(step)
        _, aux = loss(variables, batch, key)
        for number, (maker, judge, given, _) in enumerate(task.ways):
            make_key, pool_key = jax.random.split(jax.random.fold_in(key, number))
            made, _ = task.translator(variables[maker], batch[given] / np.float32(127.5) - 1, make_key)
            shown, kept = pool.exchange(ImagePool(**variables[judge]["pool"]), made, pool_key)
            np.testing.assert_allclose(aux.collections[judge]["pool"]["images"], kept.images, atol=1e-5)
            assert int(aux.collections[judge]["pool"]["count"]) == 3
        variables = variables | {name: variables[name] | moved for name, moved in aux.collections.items()}
    assert (np.abs(shown - made) > 1e-3).any()


@pytest.mark.parametrize("section", [UNET, CYCLE], ids=["pix2pix", "cyclegan"])
def test_eight_devices_compute_what_one_does(section):
    task = build(section)
    variables, batch = fresh(task), batch_of()
    mesh, rules = make_mesh(MeshConfig(data=4, fsdp=2)), make_rules(())

    def losses(variables, batch):
        found = [turn.loss(variables, batch, jax.random.key(7)) for turn in task.turns]
        return [(loss, aux.metrics, aux.collections) for loss, aux in found]

    alone = jax.jit(losses)(variables, batch)
    with context(mesh, rules):
        placed = {name: jax.device_put(x, batch_sharding(mesh, rules, x.ndim)) for name, x in batch.items()}
        together = jax.jit(losses)(variables, placed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), alone, together)


def test_held_out_pairs_are_measured_beside_copying():
    task = build()
    variables, batch = fresh(task), batch_of() | {"mask": np.array([1] * 6 + [0] * 2, np.int32)}
    sums = jax.jit(task.evaluate)(variables, batch, jax.random.key(0))
    found = {name: float(total) / float(weight) for name, (total, weight) in sums.items()}
    source, target = (batch[name][:6] / 127.5 - 1 for name in ("source", "target"))
    assert found["copied_difference"] == pytest.approx(np.abs(source - target).mean(), rel=1e-5)
    mse = np.square((source - target) / 2).mean((1, 2, 3))  # of values in [0, 1]
    assert found["copied_psnr"] == pytest.approx((10 * np.log10(1 / mse)).mean(), rel=1e-4)
    made = task.translator.alone(variables["generator"], jnp.asarray(source, jnp.float32), jax.random.split(jax.random.key(0), 6))
    assert found["made_difference"] == pytest.approx(np.abs(made - target).mean(), rel=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in ("b", "a", "inner/c"):
        (path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)).save(path / f"{name}.png")
    (path / "notes.txt").write_text("no image")
    return path


def test_a_folder_is_its_images_each_by_itself(cycle, folder):
    task, variables = cycle
    sampler = Sampler(task)
    found = sampler(variables, [ImageToImageRequest(image=str(folder))])
    assert [artifact.metadata["image"].rsplit("/", 1)[1] for artifact in found] == ["a.png", "b.png", "c.png"]
    (alone,) = sampler(variables, [ImageToImageRequest(image=str(folder / "b.png"))])
    np.testing.assert_allclose(alone.value.astype(int), found[1].value.astype(int), atol=1)
    given = np.asarray(Image.open(folder / "b.png"))
    request = ImageToImageRequest(image=str(folder / "b.png"))
    back, beside = sampler(variables, [replace(request, reverse=True), replace(request, beside=True)])
    keys = jax.random.split(jax.random.key(0), 1)
    expected = task.translator.alone(variables["generator_back"], given[None] / np.float32(127.5) - 1, keys)
    np.testing.assert_allclose(back.value.astype(int), task.medium.from_model(expected)[0].astype(int), atol=1)
    np.testing.assert_array_equal(beside.value[:, :SIDE], given)
    np.testing.assert_allclose(beside.value[:, SIDE:].astype(int), alone.value.astype(int), atol=1)


def test_a_written_folder_is_taken_without_its_grid(tmp_path):
    picture = Artifact("image", np.zeros((SIDE, SIDE, 3), np.uint8))
    assert write([picture, picture], tmp_path / "made")[0].name == "grid.png"
    assert [file.name for file in image_files(str(tmp_path / "made"))] == ["0000.png", "0001.png"]
    (tmp_path / "made" / "artifacts.jsonl").unlink()  # somebody's own picture of that name
    assert [file.name for file in image_files(str(tmp_path / "made"))] == ["0000.png", "0001.png", "grid.png"]


@pytest.mark.parametrize(
    ("section", "given", "message"),
    [
        ({"generator": {"levels": 4}}, {}, "8x8 pixels do not divide by 16, as config.task.generator.levels 4"),
        (
            {"generator": {"levels": 2, "in_channels": 3}},
            {},
            "config.task.generator sets in_channels, which follow from the data",
        ),
        ({"discriminator": {"layers": 3}}, {}, "too small for config.task.discriminator.layers 3"),
        ({"reconstruction": -1.0}, {}, "reconstruction is -1.0"),
        (CYCLE | {"feature_matching": 1.0}, {}, "method 'cyclegan' has no pairs; set it to 0"),
        ({}, {"layout": "unpaired", "source": "a", "target": "b"}, "'pix2pix' learns from pairs"),
        ({}, {"image_size": 0}, "config.data.image_size is 0"),
        ({"method": "pix2pixhd"}, {}, "config.task.method"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(section, given, message):
    with pytest.raises(ConfigError, match=message):
        build(UNET | section, **given)
    with pytest.raises(ConfigError, match="needs two images a row"):
        tasks.build({"name": "image_to_image"}, data.describe({"name": "mixture"}))


def test_requests_that_cannot_be_served(tmp_path):
    task = build()
    for request, message in (
        (ImageToImageRequest(), "give it a file or a folder with --image"),
        (ImageToImageRequest(image=str(tmp_path)), "the folder holds no images"),
        (ImageToImageRequest(image=str(tmp_path / "none.png")), "cannot be read: no such file"),
        (ImageToImageRequest(image="x.png", reverse=True), "--reverse: this model goes one way"),
    ):
        with pytest.raises(RequestError, match=message):
            task.prepare([request])


@pytest.mark.parametrize("section", [UNET, CYCLE], ids=["pix2pix", "cyclegan"])
def test_networks_go_to_files_of_public_code_and_come_back(section, tmp_path):
    task, out = build(section), tmp_path / "out"
    variables = fresh(task)
    task.export(str(out), variables, dtype=None)
    pairs = section is UNET
    names = ("G", "D") if pairs else ("G_A", "G_B", "D_A", "D_B")
    assert {file.name for file in out.iterdir()} == {f"latest_net_{name}.safetensors" for name in names}
    expected = {name: {k: v for k, v in own.items() if k != "pool"} for name, own in variables.items()}
    shardings = jax.tree.map(lambda _: jax.sharding.SingleDeviceSharding(jax.devices()[1]), variables)
    found = task.pretrained(str(out), shardings)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert jax.tree.leaves(found)[0].devices() == {jax.devices()[1]}
    # A folder alone says what its networks are; only how they are sampled is as published.
    opened, weights = tasks.open_weights(out)
    jax.tree.map(np.testing.assert_array_equal, weights, expected)
    assert opened.judge.config == task.judge.config and opened.translator.config == task.translator.config
    assert opened.config.method == task.config.method and opened.medium.height == (8 if pairs else 256)
    (out / f"latest_net_{names[1]}.safetensors").unlink()
    assert set(task.pretrained(str(out), None)) == set(expected) - {"discriminator" if pairs else "generator_back"}
    other = build(section | {"generator": section["generator"] | {"width": 5}})
    with pytest.raises(
        CheckpointError, match=r"G(_A)?.safetensors holds a network of another shape: config.task.generator.width: 5 -> 4 "
    ):
        other.pretrained(str(out), None)
    with pytest.raises(CheckpointError, match=f"holds none of .*latest_net_{names[-1]}, as .safetensors or .pth"):
        task.pretrained(str(tmp_path), None)


def test_what_a_folder_of_weights_makes(folder, tmp_path):
    task = build()
    variables = fresh(task)
    task.export(str(tmp_path / "out"), variables)
    opened, weights = tasks.open_weights(tmp_path / "out")
    (made,) = Sampler(opened)(weights, [ImageToImageRequest(image=str(folder / "b.png"))])
    batch = opened.prepare([ImageToImageRequest(image=str(folder / "b.png"))])[0]
    assert made.value.shape == (SIDE, SIDE, 3) and batch["image"].shape == (1, SIDE, SIDE, 3)
    keys = row_keys(jax.random.key(0), batch["row"])
    expected = task.translator.alone(variables["generator"], batch["image"] / np.float32(127.5) - 1, keys)
    np.testing.assert_allclose(made.value.astype(int), opened.medium.from_model(expected)[0].astype(int), atol=1)

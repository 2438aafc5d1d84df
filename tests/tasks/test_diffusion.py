"""The diffusion task behind the contract: what it learns, how it is asked, edits, and folders of diffusers."""

import json

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn
from PIL import Image

from genjax import data, tasks
from genjax.diffusion.programs import starting_noise
from genjax.errors import CheckpointError, ConfigError, RequestError
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import batch_sharding, context
from genjax.sampling import Sampler
from genjax.tasks.diffusion import DiffusionRequest
from genjax.tasks.labels import Labels

CLASSES = ("boot", "shirt", "bag")
MODEL = {"widths": (8, 8), "blocks": 1, "groups": 4, "attention_levels": (), "middle_attention": False}


def build(task=None, **section):
    info = data.describe({"name": "images", "classes": CLASSES, "image_size": 8, "channels": 1, "batch_size": 4} | section)
    section = {"name": "diffusion", "model": MODEL, "sampling": {"steps": 4}, "process": {"prediction": "edm"}}
    return tasks.build(section | (task or {}), info)


def fresh(task, seed=0):
    """Variables of which no part is silent. With EDM's preconditioning they are not far from the denoiser of Gaussian data."""
    variables = nn.unbox(jax.jit(task.init)(jax.random.key(seed)))
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    return jax.tree.unflatten(
        tree, [leaf + 0.05 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=True)]
    )


@pytest.fixture(scope="module")
def task():
    return build()


@pytest.fixture(scope="module")
def variables(task):
    return fresh(task)


@pytest.fixture(scope="module")
def sampler(task):
    return Sampler(task)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)).save(path)
    return path


def values(artifacts):
    return np.stack([artifact.value[..., 0] for artifact in artifacts]).astype(int)


def test_the_network_is_made_for_the_data(task):
    c = task.model_config
    assert (c.in_channels, c.out_channels, c.num_classes, c.null_class) == (1, 1, 3, True)
    assert build({"label_dropout": 0.0}).model_config.null_class is False
    assert build({"conditional": False}).model_config.num_classes == 0
    learned = build({"process": {"variance": "learned"}}).model_config
    assert (learned.in_channels, learned.out_channels) == (1, 2)
    assert build({"low_resolution": 2}).model_config.in_channels == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": {"model": MODEL | {"width": 3}}}, "did you mean config.task.model.widths"),
        ({"task": {"model": MODEL | {"in_channels": 3}}}, "sets in_channels, which follow from the data"),
        ({"task": {"process": {"schedule": "linaer"}}}, "config.task.process.schedule"),
        ({"task": {"sampling": {"sampler": "dpm"}}}, "sampler 'dpm' is not known"),
        ({"task": {"sampling": {"sampler": "flow_heun"}}}, "for rectified flow, but the model's process is 'linear'"),
        ({"task": {"label_dropout": 1.0}}, "label_dropout is 1.0"),
        ({"task": {"low_resolution": 3}}, "low_resolution 3 does not divide images of 8x8"),
        ({"image_size": 9}, "must be multiples of 2 for .*; they are 9x9"),
        ({"image_size": 0}, "config.data.image_size is 0"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(**arguments)
    with pytest.raises(ConfigError, match="needs images or sounds"):
        tasks.build({"name": "diffusion", "model": MODEL}, data.describe({"name": "text"}))


def batch_of(count=4, filled=4):
    rng = np.random.default_rng(5)
    mask = (np.arange(count) < filled).astype(np.int32)
    images = rng.integers(0, 256, (count, 8, 8, 1)).astype(np.uint8)
    return {"image": images, "label": np.arange(count, dtype=np.int32) % 3, "mask": mask}


def test_rows_that_fill_a_batch_count_for_nothing(task, variables):
    batch = batch_of(filled=3)
    other = batch | {"image": batch["image"] * np.array([1, 1, 1, 0], np.uint8)[:, None, None, None]}
    for function in (task.loss, task.evaluate):
        one, two = (jax.tree.leaves(jax.jit(function)(variables, b, jax.random.key(0))) for b in (batch, other))
        np.testing.assert_array_equal(one, two)
    sums = jax.jit(task.evaluate)(variables, batch, jax.random.key(0))
    assert sums["loss"][1] == 3 and sum(sums[f"loss_of_quarter_{n}"][1] for n in (1, 2, 3, 4)) == 3
    assert sums["loss"][0] == pytest.approx(sum(float(sums[f"loss_of_quarter_{n}"][0]) for n in (1, 2, 3, 4)), rel=1e-6)


def test_eight_devices_compute_what_one_does(task, variables):
    """Levels, noise and dropped labels are drawn for the global batch."""
    mesh = make_mesh(MeshConfig(data=4, fsdp=2))
    batch = {name: np.concatenate([values] * 2) for name, values in batch_of().items()}
    one = jax.jit(jax.value_and_grad(lambda v, b: task.loss(v, b, jax.random.key(7))[0]))(variables, batch)
    with context(mesh):
        placed = jax.tree.map(lambda x: jax.device_put(x, batch_sharding(mesh, ndim=x.ndim)), batch)
        eight = jax.jit(jax.value_and_grad(lambda v, b: task.loss(v, b, jax.random.key(7))[0]))(variables, placed)
    for ours, theirs in zip(jax.tree.leaves(eight), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6, rtol=2e-5)


def test_some_rows_are_told_no_label(variables):
    """With the labels dropped almost always, the loss is that of a batch of other labels in most draws."""
    task = build({"label_dropout": 0.9})
    loss = jax.jit(task.loss)
    batch = batch_of(count=1, filled=1)
    other = batch | {"label": np.array([2], np.int32)}
    same = [loss(variables, batch, k)[0] == loss(variables, other, k)[0] for k in jax.random.split(jax.random.key(0), 40)]
    assert 30 <= sum(map(bool, same)) < 40


def test_a_sample_depends_on_its_number_and_seed_alone(task, variables, sampler):
    """Not on its neighbours, nor on how samples fall into batches."""
    together = values(sampler(variables, [DiffusionRequest(num_samples=3), DiffusionRequest(num_samples=1, label=("bag",))]))
    mixed = [DiffusionRequest(num_samples=1), DiffusionRequest(num_samples=1, label=("1",), steps=4, sampler="ddim")]
    np.testing.assert_array_equal(values(sampler(variables, mixed)), together[:2])
    assert (values(sampler(variables, mixed, seed=1)) != together[:2]).any((1, 2)).all()
    assert len({tuple(row.ravel()) for row in together}) == 4


def test_nothing_that_a_user_turns_compiles_again(task, variables, sampler):
    two = lambda **fields: sampler(variables, [DiffusionRequest(num_samples=2, **fields)])  # noqa: E731
    two()
    two(guidance=2.0)
    before = sampler.compilations
    seen = [
        two(steps=7),
        two(steps=16, sampler="ddpm"),
        two(sampler="unipc", steps=5),
        two(sampler="edm", churn=20.0, steps=3, spacing="karras"),
        two(sampler="dpm++_2m_sde", label=("bag",), clip=False),
        two(guidance=4.0, guidance_rescale=0.7, guidance_until=3.0),
        two(guidance=1.5, sampler="ddim", eta=0.5, label=("shirt",)),
    ]
    assert sampler.compilations == before
    assert len({values(artifacts).tobytes() for artifacts in seen}) == len(seen)
    two(steps=17)  # beyond the bucket
    assert sampler.compilations == before + 1


def test_guidance_is_between_and_beyond_the_two_predictions(task, variables, sampler):
    """At one step from noise, the clean sample is linear in what the network says (Ho and Salimans, 2022, equation 6)."""
    one = {"num_samples": 2, "steps": 1, "clip": False, "label": ("boot",)}
    told, nearly = sampler(variables, [DiffusionRequest(**one)]), sampler(variables, [DiffusionRequest(**one, guidance=1.0001)])
    assert np.abs(values(told) - values(nearly)).max() <= 1
    outside = sampler(variables, [DiffusionRequest(**one, guidance=3.0, guidance_from=1e6)])
    np.testing.assert_array_equal(values(outside), values(told))
    untold = sampler(variables, [DiffusionRequest(**one | {"label": ("none",)})])
    opposite = sampler(variables, [DiffusionRequest(**one, guidance=0.0)])
    assert np.abs(values(untold) - values(opposite)).max() <= 1 and (values(untold) != values(told)).any()


def test_what_is_known_stays_and_the_rest_is_made(task, variables, sampler, picture, tmp_path):
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    original = np.asarray(Image.open(picture)).astype(int)
    asked = {"image": str(picture), "mask": str(tmp_path / "mask.png"), "num_samples": 2}
    for fields in ({}, {"sampler": "ddpm"}, {"repaint": 2}, {"strength": 0.5}, {"sampler": "dpm++_2m"}):
        found = values(sampler(variables, [DiffusionRequest(**asked, **fields)]))
        np.testing.assert_array_equal(found[:, :, :4], np.broadcast_to(original[:, :4], (2, 8, 4)))
        assert (found[:, :, 4:] != original[:, 4:]).mean() > 0.9 and (found[0] != found[1]).any()


def test_strength_goes_from_copy_to_new(task, variables, sampler, picture):
    original = np.asarray(Image.open(picture)).astype(int)
    distances = []
    for strength in (0.05, 0.3, 0.6, 1.0):
        asked = DiffusionRequest(image=str(picture), num_samples=4, strength=strength, steps=20, label=("bag",))
        distances.append(np.abs(values(sampler(variables, [asked])) - original).mean())
    assert distances == sorted(distances) and distances[0] < 0.3 * distances[-1]


def test_variations_of_an_image_are_of_no_class_unless_told(task, variables, sampler, picture):
    asked = {"image": str(picture), "num_samples": 2}
    untold, none, told = (
        sampler(variables, [DiffusionRequest(**asked, **f)]) for f in ({}, {"label": ("none",)}, {"label": ("bag",)})
    )
    np.testing.assert_array_equal(values(untold), values(none))
    assert (values(untold) != values(told)).any() and "label" not in untold[0].metadata and "columns" not in untold[0].metadata


def test_inversion_finds_the_noise_of_an_image(task, variables, sampler, picture):
    original = np.asarray(Image.open(picture)).astype(int)
    errors = []
    for steps in (10, 40, 160):
        asked = DiffusionRequest(image=str(picture), invert=True, steps=steps, label=("bag",), clip=False)
        errors.append(np.abs(values(sampler(variables, [asked]))[0] - original).mean())
    assert errors == sorted(errors, reverse=True) and errors[-1] < 6 < errors[0]


def test_interpolation_goes_from_one_sample_to_another(task, variables, sampler):
    asked = {"num_samples": 4, "label": ("bag",), "steps": 8}
    ends = values(sampler(variables, [DiffusionRequest(**asked), DiffusionRequest(num_samples=1, label=("bag",), steps=8)]))
    between = values(sampler(variables, [DiffusionRequest(**asked, interpolate=True)]))
    assert np.abs(between[0] - ends[0]).max() <= 1 and np.abs(between[-1] - ends[4]).max() <= 1
    steps = np.abs(np.diff(between, axis=0)).mean((1, 2))
    assert steps.max() < 0.75 * np.abs(between[-1] - between[0]).mean()


def test_the_way_is_shown_before_the_sample(task, variables, sampler):
    (plain,), (film,) = (sampler(variables, [DiffusionRequest(trajectory=frames)]) for frames in (0, 3))
    assert film.value.shape == (8, 32, 3) and plain.value.shape == (8, 8, 3)
    np.testing.assert_array_equal(film.value[:, 24:], plain.value)
    assert film.metadata == plain.metadata | {} and film.metadata["label"] == {"class": "boot"}


def test_the_same_is_made_where_a_bar_shows_its_steps(task, variables, sampler, picture, tmp_path, capsys):
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for count, fields in (
        (60, {"sampler": "ddpm", "steps": 60, "trajectory": 3, "guidance": 2.0}),
        (5, {"steps": 5, "image": str(picture), "mask": str(tmp_path / "mask.png")}),
    ):
        silent = sampler(variables, [DiffusionRequest(**fields)])
        shown = sampler(variables, [DiffusionRequest(**fields)], progress=True)
        assert f"{count}/{count}" in capsys.readouterr().err
        assert np.abs(values(silent) - values(shown)).max() <= 1
        assert silent[0].metadata == shown[0].metadata


def test_other_sizes_where_the_network_allows_them(task, variables, sampler):
    (wide,) = sampler(variables, [DiffusionRequest(width=12)])
    assert wide.value.shape == (8, 12, 3)


def test_small_images_are_enlarged(picture):
    task = build({"low_resolution": 2, "conditional": False})
    variables = fresh(task)
    loss = jax.jit(task.loss)(variables, batch_of(), jax.random.key(0))[0]
    assert np.isfinite(loss)
    sampler = Sampler(task)
    (one,) = sampler(variables, [DiffusionRequest(image=str(picture))])
    assert one.value.shape == (8, 8, 3)
    low = task.medium.reduced(task.medium.to_model(jnp.asarray(batch_of()["image"])), 2)
    np.testing.assert_allclose(low[0, 1, 2, 0], batch_of()["image"][0, 2:4, 4:6, 0].mean() / 127.5 - 1, rtol=1e-5)
    with pytest.raises(RequestError, match="give it one with --image"):
        sampler(variables, [DiffusionRequest()])


def test_self_conditioning_reaches_the_network(picture):
    task = build({"model": MODEL | {"self_conditioning": True}, "conditional": False, "self_conditioning": 0.5})
    variables = fresh(task)
    losses = [float(jax.jit(task.loss)(variables, batch_of(), key)[0]) for key in jax.random.split(jax.random.key(0), 3)]
    assert np.isfinite(losses).all()
    sampler = Sampler(task)
    found = values(sampler(variables, [DiffusionRequest(steps=3)]))
    kernel = variables["unet"]["params"]["conv_in"]["kernel"]
    deaf = {
        "unet": {
            "params": variables["unet"]["params"]
            | {"conv_in": variables["unet"]["params"]["conv_in"] | {"kernel": kernel.at[:, :, 1:].set(0)}}
        }
    }
    assert (values(sampler(deaf, [DiffusionRequest(steps=3)])) != found).any()


DIT = {"network": "dit", "model": {"patch_size": 4, "num_layers": 1, "num_heads": 1, "embed_dim": 8}}
SOUNDS = {"name": "sounds", "values": (("one", "two"),), "frames": 8, "num_mels": 4}
MEDIA = {
    "dit": (DIT, {"name": "images", "classes": CLASSES, "image_size": 8}, "image", (8, 8, 3)),
    "latents": (DIT, {"name": "latents", "size": (8, 8, 4), "classes": CLASSES}, "image", (8, 8, 3)),
    "frames": ({"model": MODEL}, SOUNDS, "audio", (640,)),
    "waves": ({"model": MODEL}, SOUNDS | {"features": "wave"}, "audio", (640,)),
}


@pytest.mark.parametrize("name", MEDIA)
def test_every_medium_learns_and_samples(name):
    section, place, kind, shape = MEDIA[name]
    info = data.describe(place | {"batch_size": 2})
    task = tasks.build({"name": "diffusion", "sampling": {"steps": 2}, "process": {"prediction": "edm"}} | section, info)
    variables = fresh(task)
    batch = {name: np.ones(spec.shape, spec.dtype) for name, spec in task.batch_spec.items()}
    gradients = jax.jit(jax.grad(lambda v: task.loss(v, batch, jax.random.key(0))[0]))(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients)) and task.flops_per_step > 0
    (artifact,) = Sampler(task)(variables, [DiffusionRequest()])
    assert artifact.kind == kind and artifact.value.shape == shape and np.isfinite(artifact.value).all()
    assert artifact.metadata.get("sample_rate", 8000) == 8000


def test_augmentation_is_told_and_uncertainty_is_learned():
    """At first every level is as certain as another (u = 0), so that the loss is the plain one."""
    task = build({"augment": 0.9, "uncertainty": True}, channels=3)
    variables = nn.unbox(jax.jit(task.init)(jax.random.key(0)))
    assert task.model_config.condition_features == 9
    batch = batch_of() | {"image": np.repeat(batch_of()["image"], 3, -1)}
    loss = lambda variables: task.loss(variables, batch, jax.random.key(0))  # noqa: E731
    (value, aux), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)
    error = aux.metrics["weighed_error"]
    assert float(value) == pytest.approx(float(error[0] / error[1]), rel=1e-6)
    assert np.abs(jax.tree.leaves(gradients["uncertainty"])[0]).max() > 0
    with pytest.raises(ConfigError, match="has no condition_features, which config.task asks for; use 'unet'"):
        build(DIT | {"augment": 0.1})
    with pytest.raises(ConfigError, match="'dit' is for images"):
        tasks.build({"name": "diffusion"} | DIT, data.describe(SOUNDS))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sampler": "dpm"}, "sampler 'dpm' is not known.*Known: .*ddim"),
        ({"spacing": "karas"}, "unknown spacing 'karas'.*use one of linspace"),
        ({"steps": 1001}, "ask for 1 to 1000"),
        ({"num_samples": 0}, "--num_samples=0: it must be 1 or more"),
        ({"label": ("shrit",)}, "did you mean 'shirt'"),
        ({"label": ("none", "bag")}, "stands alone"),
        ({"eta": 0.5, "sampler": "unipc"}, "the sampler unipc does not take it; ddim and euler_ancestral do"),
        ({"churn": 1.0}, "the sampler ddim does not take it; edm do"),
        ({"threshold": 2.0}, "lie between 0 and 1"),
        ({"strength": 0.5}, "say what becomes of an image"),
        ({"image": "nowhere.png"}, "nowhere.png cannot be read"),
        ({"image": "x.png", "strength": 1.5}, "strength is 1.5"),
        ({"image": "x.png", "repaint": 3}, "give --mask"),
        ({"image": "x.png", "invert": True, "mask": "y.png"}, "do not go together"),
        ({"height": 9}, "must be multiples of 2"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(task, fields, message):
    with pytest.raises(RequestError, match=message):
        task.prepare([DiffusionRequest(**fields)])


def test_guidance_needs_a_model_that_also_learned_without_labels():
    with pytest.raises(RequestError, match="knows no labels"):
        build({"conditional": False}).prepare([DiffusionRequest(guidance=2.0)])
    with pytest.raises(RequestError, match="trained with task.label_dropout 0"):
        build({"label_dropout": 0.0}).prepare([DiffusionRequest(guidance=2.0)])
    with pytest.raises(RequestError, match="trained without labels"):
        build({"conditional": False}).prepare([DiffusionRequest(label=("bag",))])


def test_labels_of_several_attributes():
    labels = Labels((("color", ("red", "blue")), ("shape", ("disc", "square", "cross"))), has_none=True)
    assert (labels.count, labels.none) == (5, 5)
    assert np.asarray(labels.classes(jnp.array([[1, 0], [0, 2]]))).tolist() == [[1, 2], [0, 4]]
    assert labels.parse(("shape=cross", "color=red"), 0).tolist() == [0, 4] and labels.parse(("none",), 0).tolist() == [5, 5]
    assert labels.names(np.array([1, 3])) == {"color": "blue", "shape": "square"} and labels.names(np.array([5, 5])) is None
    assert {tuple(labels.parse(("color=1",), number)) for number in range(30)} == {(1, 2), (1, 3), (1, 4)}
    with pytest.raises(RequestError, match="write attribute=value; the attributes are color, shape"):
        labels.parse(("red",), 0)
    with pytest.raises(RequestError, match="did you mean 'color'"):
        labels.parse(("colour=red",), 0)


def test_diffusers_makes_the_same_images_from_our_folder(variables, tmp_path):
    """Their DDIM over their U-Net, from our starting noise."""
    task = build({"label_dropout": 0.0, "sampling": {"steps": 5}, "process": {}})
    variables = fresh(task)
    task.export(str(tmp_path / "folder"), variables)
    network = diffusers.UNet2DModel.from_pretrained(tmp_path / "folder")
    scheduler = diffusers.DDIMScheduler.from_pretrained(tmp_path / "folder")
    scheduler.set_timesteps(5)  # a divisor of 1,000: otherwise their steps end beside the next one's start
    (batch,) = task.prepare([DiffusionRequest(num_samples=2)])
    keys = jax.vmap(lambda row: jax.random.fold_in(jax.random.key(0), row))(batch["row"])
    x = torch.tensor(np.asarray(starting_noise(batch["program"], keys, (8, 8, 1)))).permute(0, 3, 1, 2)
    with torch.no_grad():
        for time in scheduler.timesteps:
            x = scheduler.step(network(x, time, class_labels=torch.tensor([0, 1])).sample, time, x).prev_sample
    theirs = np.clip(np.round((x.permute(0, 2, 3, 1).numpy() + 1) * 127.5), 0, 255)
    found = np.asarray(jax.jit(task.sample)(variables, batch, jax.random.key(0))["value"]).astype(int)
    assert np.abs(found - theirs).max() <= 1
    # And our own reading of that folder.
    again, loaded = tasks.open_weights(tmp_path / "folder")
    assert again.config.sampling.sampler == "ddpm" and again.medium.shape == (8, 8, 1)
    artifacts = Sampler(again)(loaded, [DiffusionRequest(num_samples=2, sampler="ddim", steps=5)])
    np.testing.assert_array_equal(values(artifacts), found[..., 0])


def test_pipelines_and_schedulers_that_cannot_be_honored(variables, tmp_path):
    task = build({"label_dropout": 0.0, "process": {"schedule": "cosine", "prediction": "v"}})
    task.export(str(tmp_path / "pipeline" / "unet"), fresh(task))
    (tmp_path / "pipeline" / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"}))
    (tmp_path / "pipeline" / "scheduler").mkdir()
    file = tmp_path / "pipeline" / "scheduler" / "scheduler_config.json"
    file.write_text((tmp_path / "pipeline" / "unet" / "scheduler_config.json").read_text())
    found = tasks.weights_task(tmp_path / "pipeline").process.config
    assert (found.schedule, found.prediction) == ("cosine", "v")
    file.write_text(json.dumps({"_class_name": "DDPMScheduler", "beta_schedule": "laplace", "thresholding": True}))
    with pytest.raises(CheckpointError, match="beta_schedule is 'laplace'.*thresholding is True|thresholding is True.*'laplace'"):
        tasks.weights_task(tmp_path / "pipeline")
    file.write_text(json.dumps({"variance_type": "learned_range"}))
    with pytest.raises(CheckpointError, match="maps 1 channels to 1, but its scheduler's variance is 'learned'"):
        tasks.weights_task(tmp_path / "pipeline")

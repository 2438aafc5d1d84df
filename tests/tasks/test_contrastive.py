"""The contrastive task behind the contract: what it is built from, its loss, its requests, weights both ways, a whole run."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from genjax import data, tasks
from genjax.data.text_rows import text_rows
from genjax.data.tokenizers.wordpiece import train_wordpiece
from genjax.errors import ConfigError, RequestError
from genjax.models.clip_sizes import CLIP_SIZES
from genjax.sampling import Sampler, listing, open_run, retrieval, zero_shot
from genjax.tasks.contrastive_losses import sigmoid_contrastive_loss, softmax_contrastive_loss
from genjax.tasks.embedding_requests import EmbeddingRequest
from genjax.training import train
from tests.data.pictures import png, write_zip

TOWER = {"num_layers": 1, "num_heads": 2, "embed_dim": 16}
CLIP = {"text": TOWER | {"projection_dim": 8}, "image": TOWER | {"projection_dim": 8, "patch_size": 4}}
SIGLIP = {"text": TOWER | {"projection_dim": 16}, "image": TOWER | {"patch_size": 4}}
RESNET = {
    "text": TOWER | {"projection_dim": 8},
    "resnet": {"layers": (1, 1, 1, 1), "width": 4, "head_dim": 16, "projection_dim": 8},
}
MODELS = {"clip": CLIP, "siglip": SIGLIP}
TOKENIZER = train_wordpiece(["a red cat and a blue dog, the owl of the sun"] * 3, 80)


def build(family="clip", model=None, tokenizer=TOKENIZER, task=None, **section):
    given = {"name": "image_texts", "batch_size": 6, "context_length": 10, "image_size": 8}
    info = data.describe(given | section, tokenizer)
    return tasks.build({"name": "contrastive", "family": family, "model": model or MODELS[family]} | (task or {}), info)


def batch_of(task, rows=6, seed=0):
    rng, spec = np.random.default_rng(seed), task.batch_spec
    images = {name: rng.integers(0, 256, (rows, *spec[name].shape[1:])).astype(np.uint8) for name in spec if "image" in name}
    tokens = rng.integers(5, 40, (rows, spec["tokens"].shape[1])).astype(np.int32)
    tokens[:, -2:] = TOKENIZER.eos_id
    return {**images, "tokens": tokens, "mask": np.ones(rows, np.int32)}


def variables_of(task):
    return nn.unbox(jax.jit(task.init)(jax.random.key(0)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": {"size": "clip_b23"}}, "did you mean 'clip_b32'"),
        ({"model": {"text": {"num_leyers": 2}}}, "did you mean config.task.model.text.num_layers"),
        ({"model": CLIP | {"text": TOWER | {"projection_dim": 8, "context_length": 9}}}, "context_length 10 is longer than .* 9"),
        ({"model": CLIP | {"text": TOWER | {"projection_dim": 8, "vocab_size": 9}}}, "vocab_size 9 is smaller than"),
        ({"task": {"loss": "sigmoid"}}, "'sigmoid' learns a bias"),
        ({"task": {"image_weight": 2.0}}, "image_weight is 2.0"),
        ({"task": {"mean": (0.1, 0.2), "std": (1.0, 1.0)}}, "2 numbers, but the images 3 channels"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(**arguments)
    with pytest.raises(ConfigError, match="needs images with texts"):
        tasks.build({"name": "contrastive", "model": CLIP}, data.describe({"name": "text"}))


def test_a_size_is_the_published_one_whatever_the_data_are():
    section = {"name": "image_texts", "context_length": 77, "image_size": 224}
    task = tasks.build(
        {"name": "contrastive", "model": {"size": "clip_l14", "dtype": "bfloat16", "remat": "full"}}, data.describe(section)
    )
    expected = CLIP_SIZES["clip_l14"]
    assert task.model_config.text.embed_dim == 768 and task.model_config.image.dtype == "bfloat16"
    assert task.model_config.text.context_length == 77 and task.model_config.image.patch_size == 14
    assert task.preprocessor.mean[0] == pytest.approx(0.4815, abs=1e-4)
    shapes = jax.eval_shape(lambda: nn.unbox(task.init(jax.random.key(0))))["towers"]["params"]
    assert sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes)) == 427_616_513
    assert expected.image.embed_dim == task.model_config.image.embed_dim


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_two_images_and_a_text_meet_in_three_contrasts(family):
    task = build(family, views=("g", "t"), task={"image_weight": 0.3})
    variables, batch = variables_of(task), batch_of(task)
    loss, aux = jax.jit(task.loss)(variables, batch, jax.random.key(0))
    encode = jax.jit(task.model.apply, static_argnames="method")
    mean, std = (0.5, 0.5) if family == "siglip" else (np.array(task.preprocessor.mean), np.array(task.preprocessor.std))
    images = [
        encode(variables["towers"], (batch[n] / 255 - mean) / std, method="encode_images") for n in ("image", "second_image")
    ]
    texts = encode(variables["towers"], batch["tokens"], method="encode_texts")
    params = variables["towers"]["params"]
    if family == "clip":
        contrast = lambda a, b: softmax_contrastive_loss(a, b, params["log_scale"])  # noqa: E731
    else:
        contrast = lambda a, b: sigmoid_contrastive_loss(a, b, params["log_scale"], params["logit_bias"])  # noqa: E731
    expected = 0.35 * (contrast(images[0], texts) + contrast(images[1], texts)) + 0.3 * contrast(*images)
    assert float(loss) == pytest.approx(float(expected), rel=1e-4) and float(aux.weight) == 6
    assert set(jax.eval_shape(task.evaluate, variables, batch, jax.random.key(0))) == {
        f"image_to_{other}_{k}" for other in ("text", "image") for k in ("1", "10", "back_1")
    }


def test_a_resnet_tower_moves_its_statistics_in_training_alone():
    task = build(model=RESNET, image_size=32)
    variables, batch = variables_of(task), batch_of(task)
    _, aux = jax.jit(task.loss)(variables, batch, jax.random.key(0))
    new, old = (tree["towers"]["batch_stats"] for tree in (aux.collections, variables))
    moved = [float(jnp.abs(a - b).max()) for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True)]
    assert len(moved) > 10 and max(moved) > 0 and task.flops_per_step > 0
    assert "image_to_text_1" in jax.eval_shape(task.evaluate, variables, batch, jax.random.key(0))


def test_flops_of_a_published_size_are_those_of_its_kernels():
    """Six for each multiplication: B/32's towers have 87.8M and 37.8M parameters in kernels that 50 and 77 tokens meet."""
    task = build(model={"size": "clip_b32"}, tokenizer=None, image_size=224, context_length=77, batch_size=2)
    image = 6 * (50 * 12 * 12 * 768**2 + 49 * 32 * 32 * 3 * 768 + 768 * 512) + 12 * 12 * 768 * 50**2
    text = 6 * (77 * 12 * 12 * 512**2 + 512 * 512) + 12 * 12 * 512 * 77**2
    assert task.flops_per_step == pytest.approx(2 * (image + text), rel=1e-5)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(1)
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(path)
    return paths


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_requests_embed_and_rank(family, files):
    task = build(family)
    variables = variables_of(task)
    names = ("red cat", "blue dog", "owl")
    requests = [
        EmbeddingRequest(prompt="a red cat"),
        EmbeddingRequest(image=files[0]),
        EmbeddingRequest(image=files[1], text=names, template=("a {}", "the {} of the sun")),
        EmbeddingRequest(image=files[2], text=names),
    ]
    text, image, templated, plain = Sampler(task)(variables, requests)
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    mean, std = np.array(task.preprocessor.mean), np.array(task.preprocessor.std)
    apply = jax.jit(task.model.apply, static_argnames="method")
    images = np.asarray(apply(variables["towers"], (pixels / 255 - mean) / std, method="encode_images"))

    def encode(*texts):
        return np.asarray(apply(variables["towers"], text_rows(TOKENIZER, texts, 10), method="encode_texts"))

    np.testing.assert_allclose(json.loads(text.value), encode("a red cat")[0], atol=1e-5)
    np.testing.assert_allclose(image.metadata["embedding"], images[0], atol=1e-5)
    weights = np.stack([encode(f"a {n}", f"the {n} of the sun").mean(0) for n in names])
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    params = variables["towers"]["params"]
    for artifact, vectors, own in ((templated, weights, images[1]), (plain, encode(*names), images[2])):
        logits = np.exp(float(params["log_scale"])) * vectors @ own + float(params.get("logit_bias", 0.0))
        shares = 1 / (1 + np.exp(-logits)) if family == "siglip" else np.exp(logits) / np.exp(logits).sum()
        found = {entry["text"]: entry["probability"] for entry in artifact.metadata["texts"]}
        assert found == pytest.approx(dict(zip(names, shares, strict=True)), abs=2e-5)
        ranked = [entry["probability"] for entry in artifact.metadata["texts"]]
        assert ranked == sorted(ranked, reverse=True)
    assert names[0] in listing([templated])
    (streamed,) = Sampler(task).stream(variables, requests[2])  # what a terminal does with one request
    assert streamed.value == templated.value


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (EmbeddingRequest(), "give one thing to embed"),
        (EmbeddingRequest(prompt="a", image="x.png"), "give one thing to embed"),
        (EmbeddingRequest(prompt="a", text=("b",)), "--text ranks texts for an image"),
        (EmbeddingRequest(image="x.png", template=("a {}",)), "--template needs names"),
        (EmbeddingRequest(image="x.png", text=("a",), template=("a",)), "has no place for a name"),
        (EmbeddingRequest(image="nothing.png"), "nothing.png cannot be read"),
    ],
)
def test_requests_that_cannot_be_served(request_, message):
    with pytest.raises(RequestError, match=message):
        build().prepare([request_])


def test_published_weights_rank_texts_as_transformers_does(tmp_path, files):
    sizes = dict(hidden_size=16, intermediate_size=20, num_hidden_layers=1, num_attention_heads=2)
    config = transformers.CLIPConfig(
        text_config=sizes
        | {"vocab_size": 60, "max_position_embeddings": 12, "eos_token_id": TOKENIZER.eos_id, "projection_dim": 8},
        vision_config=sizes | {"image_size": 8, "patch_size": 4, "projection_dim": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    folder = tmp_path / "published"
    model.save_pretrained(folder)
    TOKENIZER.save(folder)
    task, variables = tasks.open_weights(folder)
    names = ("a red cat", "the owl")
    (artifact,) = Sampler(task)(variables, [EmbeddingRequest(image=files[0], text=names)])
    pixels = (np.asarray(Image.open(files[0])) / 255 - task.preprocessor.mean) / task.preprocessor.std
    with torch.no_grad():
        logits = model(
            torch.tensor(text_rows(task.info.tokenizer, names, 12)).long(), torch.tensor(pixels.transpose(2, 0, 1)[None]).float()
        ).logits_per_image
    found = {entry["text"]: entry["probability"] for entry in artifact.metadata["texts"]}
    assert found == pytest.approx(dict(zip(names, logits.softmax(-1)[0].tolist(), strict=True)), abs=1e-5)
    task.export(tmp_path / "out", variables)
    again, _ = tasks.open_weights(tmp_path / "out")
    assert again.preprocessor == task.preprocessor
    assert dataclasses.replace(again.model_config, initial_scale=1.0) == dataclasses.replace(task.model_config, initial_scale=1.0)
    assert transformers.CLIPModel.from_pretrained(tmp_path / "out").config.projection_dim == 8


def test_a_run_finds_held_out_pictures_by_their_colours(tmp_path):
    """A whole run, on eight devices, sampled and measured."""
    shades = {f"{r}-{g}-{b}": (r, g, b) for r in (0, 120, 240) for g in (0, 120, 240) for b in (0, 120, 240)}
    lines, files = [], {}
    for name, color in shades.items():
        words = [f"{part}{('none', 'some', 'much')[value // 120]}" for part, value in zip("rgb", color, strict=True)]
        lines.append(json.dumps({"file_name": f"{name}.png", "text": " ".join(words)}))
        for view, change in (("g", 0), ("t", 12)):
            files[f"{view}/{name}.png"] = png(tuple(value + change for value in color))
    files |= {f"{view}/metadata.jsonl": "\n".join(lines).encode() for view in "gt"}
    path = write_zip(tmp_path / "colours.zip", files)
    config = {
        "seed": 0,
        "task": {"name": "contrastive", "model": CLIP},
        "data": {
            "name": "image_texts",
            "path": str(path),
            "views": ("g", "t"),
            "batch_size": 16,
            "context_length": 8,
            "evaluation_fraction": 0.2,
            "tokenizer": {"name": "wordpiece", "vocab_size": 60},
        },
        "optimizer": {"name": "adamw", "peak_lr": 3e-3, "schedule": "constant"},
        "train": {"steps": 80, "log_every": 20, "eval_every": 80, "checkpoint_every": 80},
    }
    result = train(config, tmp_path / "run")
    assert result.metrics["held_out/image_to_image_1"] > 0.5
    assert retrieval.main(["--workdir", str(tmp_path / "run"), "--out", str(tmp_path / "found")]) == 0
    summary = json.loads((tmp_path / "found" / "summary.json").read_text())
    assert 1 < summary["rows"] < 16 and summary["chance"]["recall@1"] == 1 / summary["rows"]
    assert summary["images to second images"]["recall@1"] == pytest.approx(result.metrics["held_out/image_to_image_1"])
    assert summary["images to texts"]["recall@1"] == pytest.approx(result.metrics["held_out/image_to_text_1"])
    assert Image.open(tmp_path / "found" / "retrieval.png").size[0] > 300
    pictures = {
        f"{name}/{i}.png": png(color) for name, color in (("much", (240, 0, 0)), ("none", (0, 240, 240))) for i in range(2)
    }
    place = write_zip(tmp_path / "classes.zip", pictures)
    options = ["--workdir", str(tmp_path / "run"), "--images", str(place), "--template", "r{}", "--out", str(tmp_path / "z.json")]
    assert zero_shot.main(options) == 0
    assert json.loads((tmp_path / "z.json").read_text())["top_1"] == 1.0
    assert zero_shot.main([*options, "--classes", "much"]) == 2
    path.unlink()
    task, variables = open_run(tmp_path / "run")
    (tmp_path / "x.png").write_bytes(png((240, 0, 0)))
    request = EmbeddingRequest(image=str(tmp_path / "x.png"), text=("rmuch gnone bnone", "rnone gmuch bmuch"))
    (artifact,) = Sampler(task)(variables, [request])
    assert artifact.metadata["texts"][0]["text"] == "rmuch gnone bnone"


def test_a_published_siglip_judges_each_text_alone(tmp_path, files):
    """Texts in lower case, without punctuation and start token, as transformers' SiglipTokenizer makes them."""
    sizes = dict(hidden_size=16, intermediate_size=20, num_hidden_layers=1, num_attention_heads=2)
    config = transformers.SiglipConfig(
        text_config=sizes | {"vocab_size": 60, "max_position_embeddings": 12},
        vision_config=sizes | {"image_size": 8, "patch_size": 4},
    )
    torch.manual_seed(0)
    model = transformers.SiglipModel(config).eval()
    model.save_pretrained(tmp_path / "published")
    TOKENIZER.save(tmp_path / "published")
    task, variables = tasks.open_weights(tmp_path / "published")
    names = ("A red cat!", "the owl.")
    (artifact,) = Sampler(task)(variables, [EmbeddingRequest(image=files[0], text=names)])
    rows = np.full((2, 12), TOKENIZER.eos_id)
    for row, text in zip(rows, ("a red cat", "the owl"), strict=True):
        ids = TOKENIZER.encode(text)
        row[: len(ids)] = ids
    pixels = np.asarray(Image.open(files[0])) / 127.5 - 1
    with torch.no_grad():
        logits = model(torch.tensor(rows), torch.tensor(pixels.transpose(2, 0, 1)[None]).float()).logits_per_image
    found = {entry["text"]: entry["probability"] for entry in artifact.metadata["texts"]}
    assert found == pytest.approx(dict(zip(names, logits.sigmoid()[0].tolist(), strict=True)), abs=1e-5)
    task.export(tmp_path / "out", variables)
    assert tasks.open_weights(tmp_path / "out")[0].preprocessor == task.preprocessor

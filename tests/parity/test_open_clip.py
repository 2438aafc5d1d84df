"""Our CLIP computes what open_clip's does, with vision transformers and ResNets; files both ways keep every bit.

open_clip's package asks for torchvision when it is imported. Its towers need but the name of one class there, so they are
imported past the package's front door, with a stand-in for it.
"""

import contextlib
import copy
import dataclasses
import functools
import importlib
import importlib.util
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict
from PIL import Image
from safetensors.torch import save_file

from genjax import tasks
from genjax.errors import CheckpointError
from genjax.interop import folders, lazy, names, open_clip
from genjax.interop.preprocessor import Preprocessor
from genjax.models.clip import CLIP
from genjax.models.clip_sizes import CLIP_SIZES
from genjax.sampling import Sampler
from genjax.tasks.embedding_requests import EmbeddingRequest
from tests.parity.parity_models import seeded
from tests.parity.towers import moved

CASES = ("vit-0", "vit-1", "vit-eos", "resnet-0", "resnet-1")
TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3
VOCABULARY, END = 60, 59


@contextlib.contextmanager
def towers_of_open_clip():
    """The module `open_clip.model`, without what `import open_clip` brings along."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None:
        pytest.skip("open_clip_torch is not installed (pip install --no-deps open_clip_torch: torchvision is not needed)")
    before = set(sys.modules)
    stand_ins = {"open_clip.hf_model": {"HFTextEncoder": None}}  # of text towers that we do not have
    if importlib.util.find_spec("torchvision") is None:
        stand_ins |= {"torchvision": {}, "torchvision.ops": {}, "torchvision.ops.misc": {"FrozenBatchNorm2d": None}}
    for name, values in stand_ins.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(values)
    package = types.ModuleType("open_clip")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["open_clip"] = package
    try:
        yield importlib.import_module("open_clip.model")
    finally:
        for name in set(sys.modules) - before:
            if name.split(".")[0] in ("open_clip", "torchvision"):
                del sys.modules[name]


def draw(case):
    """The section model_cfg of a case."""
    rng = np.random.default_rng(CASES.index(case))
    heads = int(rng.choice([1, 2, 3]))
    text = {
        "context_length": int(rng.integers(9, 14)),
        "vocab_size": VOCABULARY,
        "width": heads * 2 * int(rng.integers(3, 7)),
        "heads": heads,
        "layers": int(rng.integers(1, 4)),
        "mlp_ratio": float(rng.choice([2.0, 4.0])),
    }
    if case == "vit-eos":
        text |= {"pool_type": "eos", "eos_id": 40}
    if case.startswith("resnet"):
        layers = [int(n) for n in rng.integers(1, 3, 4)]
        vision = {"image_size": 64, "layers": layers, "width": 4, "head_width": int(rng.choice([16, 32])), "patch_size": None}
    else:
        heads, patch = int(rng.choice([1, 2, 4])), int(rng.integers(3, 6))
        vision = {"image_size": patch * int(rng.integers(2, 4)), "layers": int(rng.integers(1, 4)), "patch_size": patch}
        vision |= {"width": 24, "head_width": 24 // heads, "mlp_ratio": 3.0}
    return {"embed_dim": 12, "quick_gelu": case in ("vit-1", "resnet-0"), "vision_cfg": vision, "text_cfg": text}


@functools.cache
def build(case):
    settings = draw(case)
    with seeded(CASES.index(case)), towers_of_open_clip() as package:
        model = package.CLIP(
            12,
            package.CLIPVisionCfg(**settings["vision_cfg"]),
            package.CLIPTextCfg(**settings["text_cfg"]),
            quick_gelu=settings["quick_gelu"],
        )
        model = moved(model.eval())
        for name, buffer in model.named_buffers():
            if "running_" in name:
                buffer.add_(0.2 * torch.rand_like(buffer))
    return settings, model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """case -> (torch model, our config, folder)."""

    @functools.cache
    def get(case):
        folder = tmp_path_factory.mktemp(case)
        settings, model = build(case)
        values = {"model_cfg": settings, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
        folders.write_json(folder / open_clip.CONFIG, values)
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors")
        return model, open_clip.read_config(folder)[0], folder

    return get


def inputs(config, batch=3):
    rng = np.random.default_rng(5)
    seen = config.resnet or config.image
    images = rng.normal(size=(batch, seen.image_size, seen.image_size, 3)).astype(np.float32)
    tokens = rng.integers(1, 39, (batch, config.text.context_length)).astype(np.int32)
    tokens[:, 5] = END if config.text.eos_id is None else config.text.eos_id
    tokens[:, 6:] = 0
    return images, tokens


def as_torch(images, tokens):
    return torch.tensor(images.transpose(0, 3, 1, 2)), torch.tensor(tokens).long()


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients(saved, case):
    model, config, folder = saved(case)
    images, tokens = inputs(config)
    model.zero_grad()
    pixels, ids = as_torch(images, tokens)
    theirs = [model.encode_image(pixels, normalize=True), model.encode_text(ids, normalize=True)]
    logits = model.logit_scale.exp() * theirs[0] @ theirs[1].T
    labels = torch.arange(len(images))
    loss = (torch.nn.functional.cross_entropy(logits, labels) + torch.nn.functional.cross_entropy(logits.T, labels)) / 2
    loss.backward()
    variables = open_clip.load(folder)

    def ours(params):
        found = CLIP(config).apply(variables | {"params": params}, images, tokens)
        rows, columns = jax.nn.log_softmax(found.logits(), 1), jax.nn.log_softmax(found.logits(), 0)
        return -(jnp.trace(rows) + jnp.trace(columns)) / (2 * len(images)), found

    gradients, found = jax.jit(jax.grad(ours, has_aux=True))(variables["params"])
    assert np.abs(found.images - theirs[0].detach().numpy()).max() < TOLERANCE
    assert np.abs(found.texts - theirs[1].detach().numpy()).max() < TOLERANCE
    assert np.abs(found.logits() - logits.detach().numpy()).max() < TOLERANCE
    found = flatten_dict({"params": gradients}, sep="/")
    shapes = open_clip.variable_shapes(config)
    # Statistics have no gradients: theirs stand in for both.
    given = {name: lazy.of_array(p.grad.numpy()) for name, p in model.named_parameters()}
    given |= {name: lazy.of_array(buffer.numpy()) for name, buffer in model.named_buffers() if "running_" in name}
    arrays = names.to_ours(open_clip.table(config), given, shapes, "gradients")
    expected = {path: array.load() for path, array in arrays.items() if path in found}
    assert expected.keys() == found.keys()
    floor = 1e-3 * max(np.abs(values).max() for values in expected.values())
    errors = {p: np.abs(np.asarray(found[p]) - e).max() / max(np.abs(e).max(), floor) for p, e in expected.items()}
    assert max(errors.values()) < GRADIENT_TOLERANCE, max(errors, key=errors.get)


@pytest.mark.parametrize("scan_layers", [False, True], ids=["unrolled", "scanned"])
@pytest.mark.parametrize("case", CASES)
def test_import_and_export_keep_every_bit_and_open_clip_reads_it(saved, tmp_path, case, scan_layers):
    model, config, folder = saved(case)
    out = tmp_path / "out"
    open_clip.save(out, open_clip.load(folder, scan_layers=scan_layers), config, open_clip.read_config(folder)[1])
    assert open_clip.read_config(out) == open_clip.read_config(folder)
    again = open_clip.safetensors_io.open_folder(out, open_clip.STEM)
    counts = {key for key in model.state_dict() if key.endswith("num_batches_tracked")}
    assert again.keys() == model.state_dict().keys() - counts
    for key, array in again.items():
        np.testing.assert_array_equal(array.load(), model.state_dict()[key].numpy(), err_msg=key)
    copy.deepcopy(model).load_state_dict({key: torch.tensor(array.load()) for key, array in again.items()}, strict=True)


def test_openais_own_files_are_told_by_their_shapes(tmp_path):
    """Half precision, buffers beside the weights, no config; heads of width 64."""
    for resnet in (False, True):
        vision = {"image_size": 64, "layers": [1, 2, 1, 1], "width": 4, "patch_size": None}
        vision = vision if resnet else {"image_size": 8, "layers": 2, "width": 64, "patch_size": 4}
        text = {"context_length": 9, "vocab_size": VOCABULARY, "width": 64, "heads": 1, "layers": 2}
        with seeded(3), towers_of_open_clip() as package:
            model = package.CLIP(12, package.CLIPVisionCfg(**vision), package.CLIPTextCfg(**text), quick_gelu=True).eval()
        state = {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}
        state |= {key: torch.tensor(9) for key in ("input_resolution", "context_length", "vocab_size")}
        file = tmp_path / f"{'RN' if resnet else 'ViT'}.safetensors"
        save_file({key: value.contiguous() for key, value in state.items()}, file)
        config, preprocessor = open_clip.read_config(file)
        assert config.text.activation == "quick_gelu" and (config.resnet is not None) == resnet
        assert preprocessor.height == vision["image_size"] and preprocessor.mean[0] == pytest.approx(0.48145466)
        model.load_state_dict({key: value.float() for key, value in state.items() if "." in key or key in model.state_dict()})
        images, tokens = inputs(config)
        found = CLIP(config).apply(open_clip.load(file, dtype="float32"), images, tokens)
        with torch.no_grad():
            expected = model.encode_image(as_torch(images, tokens)[0], normalize=True).numpy()
        assert np.abs(found.images - expected).max() < TOLERANCE


def test_published_resnet_has_the_published_number_of_parameters():
    shapes = open_clip.variable_shapes(CLIP_SIZES["clip_rn50"])
    assert sum(int(np.prod(shape)) for path, shape in shapes.items() if path.startswith("params/")) == 102_007_137


def test_a_folder_embeds_images_and_goes_out_again(saved, tmp_path):
    model, config, folder = saved("resnet-0")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    task, variables = tasks.open_weights(folder)
    (artifact,) = Sampler(task)(variables, [EmbeddingRequest(image=str(tmp_path / "x.png"))])
    values = torch.tensor(((pixels / 255 - 0.5) / 0.25).transpose(2, 0, 1)[None]).float()
    with torch.no_grad():
        expected = model.encode_image(values, normalize=True)[0].numpy()
    np.testing.assert_allclose(artifact.metadata["embedding"], expected, atol=TOLERANCE)
    task.export(tmp_path / "out", variables)
    assert open_clip.read_config(tmp_path / "out") == (config, Preprocessor(64, 64, mean=(0.5,) * 3, std=(0.25,) * 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_cfg": {"timm_model_name": "vit_base"}}, "timm_model_name is 'vit_base'"),
        ({"text_cfg": {"hf_model_name": "roberta"}}, "hf_model_name is 'roberta'"),
        ({"text_cfg": {"pool_type": "last"}}, "pool_type is 'last'"),
        ({"vision_cfg": {"pool_type": "avg"}, "init_logit_bias": -10}, "pool_type is 'avg'.*init_logit_bias is -10"),
    ],
)
def test_settings_that_change_the_numbers_are_named(change, message):
    settings = draw("vit-0")
    for key, value in change.items():
        settings[key] = settings[key] | value if isinstance(value, dict) else value
    with pytest.raises(CheckpointError, match=message):
        open_clip.from_json(settings, "x")


def test_what_does_not_fit_is_listed(saved, tmp_path):
    _, config, folder = saved("vit-0")
    other = dataclasses.replace(config, text=dataclasses.replace(config.text, activation="quick_gelu"))
    with pytest.raises(CheckpointError, match="another model: text.activation is 'gelu' there and 'quick_gelu' here"):
        open_clip.load(folder, config=other)
    with pytest.raises(CheckpointError, match="activation is gelu and quick_gelu"):
        open_clip.save(tmp_path / "out", open_clip.load(folder), other)
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="no CLIP in OpenAI's layout: it lacks text_projection"):
        open_clip.read_config(tmp_path / "x.safetensors")

"""Our BERT and ViT compute what transformers' do, in float32; folders go both ways bit for bit."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from genjax import tasks
from genjax.errors import CheckpointError
from genjax.interop import huggingface
from genjax.models.bert import Bert
from genjax.models.vit import ViT
from tests.parity.parity_models import seeded

BERT_CLASSES = ("BertForMaskedLM", "BertModel", "BertForPreTraining", "BertForNextSentencePrediction")
VIT_CLASSES = ("ViTForImageClassification", "ViTModel")
CASES = [
    ("BertForMaskedLM", 0),
    ("BertForMaskedLM", 1),
    ("BertForPreTraining", 2),
    ("ViTForImageClassification", 0),
    ("ViTForImageClassification", 1),
    ("ViTModel", 2),
]
OUTPUT_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3


def build(name, seed):
    """A model of a drawn shape, with every parameter moved off its initial value (norms off 1, biases off 0)."""
    rng = np.random.default_rng(100 + seed)
    heads = int(rng.integers(1, 5))
    shape = dict(
        hidden_size=heads * int(rng.integers(5, 14)),
        num_attention_heads=heads,
        num_hidden_layers=int(rng.integers(1, 3)),
        intermediate_size=int(rng.integers(20, 90)),
        hidden_act=str(rng.choice(["gelu", "gelu_new", "relu"])),
        layer_norm_eps=float(rng.choice([1e-12, 1e-6])),
    )
    if name.startswith("Bert"):
        config = transformers.BertConfig(
            vocab_size=int(rng.integers(50, 200)),
            max_position_embeddings=int(rng.integers(24, 60)),
            type_vocab_size=int(rng.integers(2, 4)),
            **shape,
        )
    else:
        patch = int(rng.integers(2, 6))
        side = patch * int(rng.integers(2, 6)) + int(rng.integers(0, patch))
        config = transformers.ViTConfig(
            image_size=side, patch_size=patch, num_channels=int(rng.integers(1, 4)), num_labels=int(rng.integers(3, 9)), **shape
        )
    with seeded(seed):
        model = getattr(transformers, name)(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(class, seed) -> (torch model, folder, our config)."""
    built = {}

    def get(name, seed):
        if (name, seed) not in built:
            model, folder = build(name, seed), tmp_path_factory.mktemp(name)
            model.save_pretrained(folder)
            built[name, seed] = model, folder, huggingface.read_config(folder)[1]
        return built[name, seed]

    return get


def draw_inputs(model, batch=3, length=23):
    """Keyword arguments for the torch model. No token is the padding's, whose row torch gives no gradient."""
    rng = np.random.default_rng(5)
    c = model.config
    if isinstance(c, transformers.BertConfig):
        tokens = rng.integers(1, c.vocab_size, (batch, length))
        types = rng.integers(0, c.type_vocab_size, (batch, length))
        return {"input_ids": torch.tensor(tokens), "token_type_ids": torch.tensor(types)}
    return {"pixel_values": torch.tensor(rng.uniform(-1, 1, (batch, c.num_channels, c.image_size, c.image_size))).float()}


def run_ours(config, params, inputs, **more):
    """Our outputs for the same inputs, those that there are, by their names."""
    if "pixel_values" in inputs:
        images = inputs["pixel_values"].numpy().transpose(0, 2, 3, 1)
        out = jax.jit(ViT(config).apply)({"params": params}, images)
    else:
        tokens, types = (inputs[name].numpy().astype(np.int32) for name in ("input_ids", "token_type_ids"))
        out = jax.jit(Bert(config).apply)({"params": params}, tokens, token_types=types, **more)
    return {name: value for name, value in out._asdict().items() if value is not None}


def run_theirs(model, inputs, **more):
    """Theirs, by our names."""
    out = model(**inputs, output_hidden_states=True, **more)
    names = {
        "last_hidden_state": "hidden" if "input_ids" in inputs else "features",
        "pooler_output": "pooled",
        "prediction_logits": "token_logits",
        "seq_relationship_logits": "next_sentence_logits",
        "logits": "token_logits" if "input_ids" in inputs else "logits",
    }
    return {ours: out[name] for name, ours in names.items() if name in out}


@pytest.mark.parametrize("name, seed", CASES)
def test_outputs_and_gradients(saved, tmp_path, name, seed):
    """Gradients of a weighted sum of every output, for every parameter. Torch's travel as a folder of their own, and so into
    our layout."""
    model, folder, config = saved(name, seed)
    inputs = draw_inputs(model)
    expected = run_theirs(model, inputs)
    rng = np.random.default_rng(6)
    weights = {key: rng.normal(size=value.shape).astype(np.float32) / value.shape[-1] for key, value in expected.items()}

    def loss(params):
        found = run_ours(config, params, inputs)
        return sum(jnp.sum(found[key] * weights[key]) for key in weights), found

    gradients, found = jax.jit(jax.grad(loss, has_aux=True))(huggingface.load(folder))
    assert set(expected) <= set(found) <= {*expected, "hidden", "features", "pooled"}  # a head's model does not give these
    for key, value in expected.items():
        assert value.abs().max() > 0.05
        np.testing.assert_allclose(found[key], value.detach().numpy(), rtol=0, atol=OUTPUT_TOLERANCE, err_msg=key)

    sum((value * torch.tensor(weights[key])).sum() for key, value in expected.items()).backward()
    turned = build(name, seed)
    with torch.no_grad():
        for one, other in zip(turned.parameters(), model.parameters(), strict=True):
            one.copy_(other.grad)
    turned.save_pretrained(tmp_path)
    reference = flatten_dict(huggingface.load(tmp_path, config=config), sep="/")
    # A key's bias has no gradient but rounding: leaves below a thousandth of the largest are held to that thousandth.
    floor = 1e-3 * max(np.abs(np.asarray(leaf)).max() for leaf in reference.values())
    for path, leaf in flatten_dict(gradients, sep="/").items():
        scale = max(np.abs(np.asarray(reference[path])).max(), floor)
        assert np.abs(np.asarray(leaf) - np.asarray(reference[path])).max() / scale < GRADIENT_TOLERANCE, path


@pytest.mark.parametrize("scan_layers", [False, True], ids=["unrolled", "scanned"])
@pytest.mark.parametrize("name", BERT_CLASSES + VIT_CLASSES)
def test_import_and_export_keep_every_bit(saved, tmp_path, name, scan_layers):
    model, folder, config = saved(name, 4)
    params = huggingface.load(folder, scan_layers=scan_layers)
    assert ("blocks" in params) == scan_layers
    huggingface.save(tmp_path / "out", params, config)
    assert huggingface.read_config(tmp_path / "out")[1] == config
    again, report = type(model).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    assert again.state_dict().keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    differing = {key for key, value in model.config.to_dict().items() if again.config.to_dict().get(key) != value}
    # Dropout of attention weights has no counterpart, and a model without a classifier has no labels.
    allowed = {"attention_probs_dropout_prob", "_name_or_path", "transformers_version", "dtype"}
    assert differing <= allowed | ({"id2label", "label2id"} if name == "ViTModel" else set())


@pytest.mark.parametrize("name", ["BertForMaskedLM", "ViTForImageClassification"])
def test_scanned_layers_compute_the_same(saved, name):
    model, folder, config = saved(name, 1)
    inputs, config = draw_inputs(model), dataclasses.replace(config, scan_layers=True)
    found = run_ours(config, huggingface.load(folder, config=config), inputs)
    for key, value in run_theirs(model, inputs).items():
        np.testing.assert_allclose(found[key], value.detach().numpy(), rtol=0, atol=OUTPUT_TOLERANCE)


def test_a_padded_batch_of_bert(saved):
    """As transformers computes it, and each text as alone."""
    model, folder, config = saved("BertForPreTraining", 2)
    inputs = draw_inputs(model, batch=3, length=17)
    mask = np.arange(17) < np.array([17, 1, 9])[:, None]
    params = huggingface.load(folder)
    found = run_ours(config, params, inputs, segment_ids=mask.astype(np.int32))
    expected = run_theirs(model, inputs, attention_mask=torch.tensor(mask.astype(np.int64)))
    for key, value in expected.items():
        seen = mask if value.ndim == 3 else slice(None)
        np.testing.assert_allclose(found[key][seen], value.detach().numpy()[seen], rtol=0, atol=OUTPUT_TOLERANCE)
    for row in range(3):
        alone = run_ours(config, params, {key: value[row : row + 1, mask[row]] for key, value in inputs.items()})
        for key, value in alone.items():
            own = found[key][row][mask[row]] if value.ndim == 3 else found[key][row]
            np.testing.assert_allclose(own, value[0], rtol=0, atol=1e-5)


def test_packed_texts_of_bert_do_not_see_each_other(saved):
    model, folder, config = saved("BertForMaskedLM", 0)
    inputs, params = draw_inputs(model, batch=1, length=19), huggingface.load(folder)
    lengths = (8, 6, 3)  # and two of padding
    segments = np.repeat([1, 2, 3, 0], [*lengths, 2])[None].astype(np.int32)
    positions = np.concatenate([np.arange(n) for n in (*lengths, 2)])[None].astype(np.int32)
    packed = run_ours(config, params, inputs, segment_ids=segments, positions=positions)["token_logits"][0]
    for segment in (1, 2):
        own = segments[0] == segment
        alone = run_ours(config, params, {key: value[:, own] for key, value in inputs.items()})["token_logits"][0]
        np.testing.assert_allclose(packed[own], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("height, width", [(24, 24), (7, 31)])
def test_vit_at_other_image_sizes(saved, height, width):
    model, folder, config = saved("ViTForImageClassification", 1)
    pixels = torch.tensor(np.random.default_rng(7).uniform(-1, 1, (2, model.config.num_channels, height, width))).float()
    with torch.no_grad():
        expected = model(pixels, interpolate_pos_encoding=True).logits.numpy()
    found = run_ours(config, huggingface.load(folder), {"pixel_values": pixels})["logits"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=OUTPUT_TOLERANCE)


def rewritten(folder, out, change):
    out.mkdir()
    (out / "config.json").write_text((folder / "config.json").read_text())
    save_file(change(load_file(folder / "model.safetensors")), out / "model.safetensors")
    return out


def assert_same(one, other):
    one, other = flatten_dict(one, sep="/"), flatten_dict(other, sep="/")
    assert one.keys() == other.keys()
    for path in one:
        np.testing.assert_array_equal(np.asarray(one[path]), np.asarray(other[path]), err_msg=path)


def test_old_names_of_bert_are_read(saved, tmp_path):
    """gamma and beta, the positions' numbers, both copies of the head: as in the first published files."""
    _, folder, _ = saved("BertForPreTraining", 2)

    def old(tensors):
        names = {
            key: key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta") for key in tensors
        }
        tensors = {names[key]: value for key, value in tensors.items()}
        tensors["bert.embeddings.position_ids"] = np.arange(9)[None]
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].copy()
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].copy()
        return tensors

    assert_same(huggingface.load(rewritten(folder, tmp_path / "old", old)), huggingface.load(folder))

    def untied(tensors):
        return tensors | {"cls.predictions.decoder.bias": tensors["cls.predictions.bias"] + 1}

    with pytest.raises(CheckpointError, match="not tied: cls.predictions.decoder.bias differs from cls.predictions.bias"):
        huggingface.load(rewritten(folder, tmp_path / "untied", untied))


def test_one_folder_serves_every_head_that_is_asked_for(saved):
    """Published files hold more heads than their config names; a head that they lack is an error."""
    _, folder, whole = saved("BertForPreTraining", 2)
    everything = huggingface.load(folder)
    heads = {"transform", "transform_norm", "token_bias", "pooler", "next_sentence"}
    masked = dataclasses.replace(whole, pooler=False, next_sentence=False)
    assert heads & set(huggingface.load(folder, config=masked)) == {"transform", "transform_norm", "token_bias"}
    encoder = dataclasses.replace(whole, masked_lm=False, next_sentence=False)
    found = huggingface.load(folder, config=encoder)
    assert heads & set(found) == {"pooler"}
    assert_same(found, {key: everything[key] for key in found})
    _, bare, config = saved("BertModel", 3)
    with pytest.raises(CheckpointError, match="missing: cls.predictions.transform.dense.weight"):
        huggingface.load(bare, config=dataclasses.replace(config, masked_lm=True, pooler=False))


def test_a_folder_that_no_task_samples_from_is_named(saved, monkeypatch):
    monkeypatch.setattr(tasks, "WEIGHTS", {name: tasks.WEIGHTS[name] for name in ("gpt2", "llama")})
    with pytest.raises(CheckpointError, match="holds a bert, and no task samples from it; those of gpt2, llama"):
        tasks.weights_task(saved("BertModel", 3)[1])


@pytest.mark.parametrize("name, kind", [("BertConfig", "bert"), ("ViTConfig", "vit")])
def test_absent_settings_have_the_defaults_of_transformers(tmp_path, name, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    absent = huggingface.read_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(getattr(transformers, name)().to_dict()))
    assert huggingface.read_config(tmp_path) == absent

"""The transformer that docs/adding_a_transformer.md adds: parity both ways."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from flax.traverse_util import flatten_dict

from genjax import tasks
from genjax.errors import CheckpointError
from genjax.interop import distilbert, huggingface
from genjax.models.distilbert import DISTILBERT_SIZES, DistilBert
from tests.parity.parity_models import seeded

CASES = [("DistilBertForMaskedLM", 0), ("DistilBertForMaskedLM", 1), ("DistilBertModel", 2)]


def build(name, seed):
    rng = np.random.default_rng(seed)
    heads = int(rng.integers(1, 5))
    config = transformers.DistilBertConfig(
        vocab_size=int(rng.integers(50, 200)),
        max_position_embeddings=int(rng.integers(24, 60)),
        dim=heads * int(rng.integers(5, 14)),
        n_heads=heads,
        n_layers=int(rng.integers(1, 4)),
        hidden_dim=int(rng.integers(20, 90)),
        activation=str(rng.choice(["gelu", "relu"])),
    )
    with seeded(seed):
        model = getattr(transformers, name)(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("name, seed", CASES)
def test_outputs_gradients_and_folders_both_ways(tmp_path, name, seed):
    model = build(name, seed)
    model.save_pretrained(tmp_path / "in")
    config, params = huggingface.read_config(tmp_path / "in")[1], huggingface.load(tmp_path / "in")
    rng = np.random.default_rng(9)
    tokens = rng.integers(1, config.vocab_size, (3, 17))
    mask = np.arange(17) < np.array([17, 3, 9])[:, None]
    expected = model(torch.tensor(tokens), attention_mask=torch.tensor(mask.astype(np.int64)))[0]
    weights = rng.normal(size=expected.shape).astype(np.float32) * mask[..., None]

    def loss(params):
        found = DistilBert(config).apply({"params": params}, tokens.astype(np.int32), segment_ids=mask.astype(np.int32))
        return jnp.sum(found * weights), found

    gradients, found = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert expected.abs().max() > 0.05
    np.testing.assert_allclose(np.asarray(found)[mask], expected.detach().numpy()[mask], rtol=0, atol=1e-4)

    (expected * torch.tensor(weights)).sum().backward()
    turned = build(name, seed)
    with torch.no_grad():
        for one, other in zip(turned.parameters(), model.parameters(), strict=True):
            one.copy_(other.grad)
    turned.save_pretrained(tmp_path / "gradients")
    reference = flatten_dict(huggingface.load(tmp_path / "gradients", config=config), sep="/")
    floor = 1e-3 * max(np.abs(np.asarray(leaf)).max() for leaf in reference.values())
    for path, leaf in flatten_dict(gradients, sep="/").items():
        scale = max(np.abs(np.asarray(reference[path])).max(), floor)
        assert np.abs(np.asarray(leaf) - np.asarray(reference[path])).max() / scale < 1e-3, path

    huggingface.save(tmp_path / "out", params, config)
    again, report = type(model).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def test_the_published_size():
    config = DISTILBERT_SIZES["distilbert_base_uncased"]
    shapes = nn.unbox(jax.eval_shape(DistilBert(config).init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32)))["params"]
    head = sum(x.size for name in ("transform", "transform_norm", "token_bias") for x in jax.tree.leaves(shapes[name]))
    assert sum(x.size for x in jax.tree.leaves(shapes)) - head == 66_362_880


def test_settings_that_change_the_numbers_are_refused_by_name():
    with pytest.raises(CheckpointError, match="n_heads 7; architectures is 'DistilBertForTokenClassification'"):
        distilbert.from_json({"dim": 24, "n_heads": 7, "architectures": ["DistilBertForTokenClassification"]}, "c")


def test_the_folder_opens_as_a_task(tmp_path):
    build("DistilBertForMaskedLM", 0).save_pretrained(tmp_path)
    task, variables = tasks.open_weights(tmp_path)
    assert type(task.model) is DistilBert and set(variables) == {"encoder"}

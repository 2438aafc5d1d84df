"""Our GPT computes what transformers' GPT-2 and Llama compute: logits, gradients, padded batches, in float32."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict

from genjax.interop import huggingface, lazy, names
from genjax.models.gpt import GPT
from tests.parity import parity_models

# Logits of order 1 to 4 through two to four layers. The issue asks for 1e-4; the largest difference seen here is 2.9e-6.
LOGIT_TOLERANCE = 2e-5
# Relative to the largest entry of a leaf. The issue asks for 1e-3; the largest seen here is 1.5e-5.
GRADIENT_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """case -> (torch model, our config, folder)."""

    @functools.cache
    def get(case):
        folder = tmp_path_factory.mktemp(case)
        model = parity_models.build(case)
        model.save_pretrained(folder)
        return model, huggingface.read_config(folder)[1], folder

    return get


def ours(config, params, tokens, **arguments):
    return np.asarray(jax.jit(GPT(config).apply)({"params": params}, tokens, **arguments))


def torch_logits(model, tokens, **arguments):
    with torch.no_grad():
        return model(torch.tensor(tokens, dtype=torch.long), **arguments).logits.numpy()


@pytest.mark.parametrize("case", parity_models.CASES)
def test_logits_and_gradients(loaded, case):
    """Gradients of a weighted mean of log-probabilities for every parameter, brought to our layout by the table of names."""
    model, config, folder = loaded(case)
    tokens = parity_models.draw_tokens(model)
    weights = np.random.default_rng(2).uniform(size=tokens[:, 1:].shape).astype(np.float32)

    model.zero_grad()
    expected_logits = model(torch.tensor(tokens, dtype=torch.long)).logits
    log_p = torch.log_softmax(expected_logits[:, :-1], -1)
    chosen = log_p.gather(-1, torch.tensor(tokens[:, 1:, None], dtype=torch.long))[..., 0]
    (-(chosen * torch.tensor(weights)).sum() / weights.sum()).backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}

    def loss(params):
        logits = GPT(config).apply({"params": params}, tokens)
        log_p = jax.nn.log_softmax(logits[:, :-1])
        chosen = jnp.take_along_axis(log_p, tokens[:, 1:, None], axis=-1)[..., 0]
        return -jnp.sum(chosen * weights) / weights.sum(), logits

    tree, logits = jax.jit(jax.grad(loss, has_aux=True))(huggingface.load(folder))
    assert expected_logits.abs().max() > 1
    assert np.abs(np.asarray(logits) - expected_logits.detach().numpy()).max() < LOGIT_TOLERANCE

    found = flatten_dict(tree, sep="/")
    table = huggingface.family_of(config).table(config)
    shapes = {path: leaf.shape for path, leaf in found.items()}
    theirs = {key: lazy.of_array(value) for key, value in gradients.items()}
    expected = {path: array.load() for path, array in names.to_ours(table, theirs, shapes, "gradients").items()}
    # A key's bias adds the same to every logit of a query: its gradient is zero but for rounding. Leaves whose entries are all
    # below a thousandth of the largest of any leaf are held to that thousandth.
    floor = 1e-3 * max(np.abs(reference).max() for reference in expected.values())
    errors = {
        path: np.abs(np.asarray(found[path]) - reference).max() / max(np.abs(reference).max(), floor)
        for path, reference in expected.items()
    }
    assert max(errors.values()) < GRADIENT_TOLERANCE, max(errors, key=errors.get)


@pytest.mark.parametrize("case", ["gpt2-1", "gpt2-untied", "gqa-llama3", "mqa-tied"])
def test_logits_of_scanned_layers(loaded, case):
    model, config, folder = loaded(case)
    tokens = parity_models.draw_tokens(model)
    config = dataclasses.replace(config, scan_layers=True)
    params = huggingface.load(folder, config=config)
    assert "blocks" in params
    assert np.abs(ours(config, params, tokens) - torch_logits(model, tokens)).max() < LOGIT_TOLERANCE


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("case", ["gpt2-untied", "gqa-llama3"])
def test_padded_batch(loaded, case, side):
    model, config, folder = loaded(case)
    tokens = parity_models.draw_tokens(model, batch=4, length=17, seed=3)
    lengths = np.array([17, 1, 9, 14])
    mask = np.arange(17) < lengths[:, None]
    if side == "left":
        mask = mask[:, ::-1]
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0).astype(np.int32)
    attention_mask, position_ids = torch.tensor(mask.astype(np.int64)), torch.tensor(positions, dtype=torch.long)
    expected = torch_logits(model, tokens, attention_mask=attention_mask, position_ids=position_ids)
    params = huggingface.load(folder)
    found = ours(config, params, tokens, positions=positions, segment_ids=mask.astype(np.int32))
    assert np.abs(found - expected)[mask].max() < LOGIT_TOLERANCE
    # and padding changes nothing: each row alone, unpadded
    alone = ours(config, params, tokens[2:3][:, mask[2]])
    assert np.abs(found[2][mask[2]] - alone[0]).max() < LOGIT_TOLERANCE

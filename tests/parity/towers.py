"""What the parity tests of CLIP and SigLIP share: random shapes, inputs, and comparisons of all parameters."""

import numpy as np
import torch
from flax.traverse_util import flatten_dict

from genjax.interop import huggingface, lazy, names

VOCABULARY, EOS = 60, 59


def draw_towers(rng, activations):
    """Settings of a text and an image tower for transformers."""

    def tower():
        heads = int(rng.choice([1, 2, 3]))
        return dict(
            hidden_size=heads * 2 * int(rng.integers(3, 7)),
            intermediate_size=int(rng.integers(20, 60)),
            num_hidden_layers=int(rng.integers(2, 4)),
            num_attention_heads=heads,
            hidden_act=str(rng.choice(activations)),
            layer_norm_eps=float(rng.choice([1e-5, 1e-6, 1e-3])),
        )

    patch = int(rng.integers(3, 6))
    text = tower() | dict(
        vocab_size=VOCABULARY, max_position_embeddings=int(rng.integers(11, 17)), pad_token_id=1, bos_token_id=58
    )
    return text, tower() | dict(image_size=patch * int(rng.integers(2, 5)), patch_size=patch)


def draw_inputs(config, batch=4):
    """Images, rows of tokens that end with EOS and are padded with 0, and the mask of tokens."""
    rng = np.random.default_rng(7)
    images = rng.normal(size=(batch, config.image.image_size, config.image.image_size, 3)).astype(np.float32)
    length = config.text.context_length
    tokens, lengths = rng.integers(3, 58, (batch, length)), rng.integers(4, length, batch)
    lengths[0] = length
    mask = np.arange(length) < lengths[:, None]
    tokens[np.arange(batch), lengths - 1] = EOS
    return images, np.where(mask, tokens, 0).astype(np.int32), mask


def moved(model):
    """With every parameter moved off its initial value: norms off 1, biases off 0."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def gradient_errors(model, gradients, config):
    """Path -> largest difference of a gradient of ours from the torch model's, as a share of its largest entry.

    A key's bias adds the same to every logit of a query: its gradient is zero but for rounding. Leaves whose entries are all
    below a thousandth of the largest of any leaf are held to that thousandth.
    """
    found = flatten_dict(gradients, sep="/")
    theirs = {name: lazy.of_array(parameter.grad.numpy()) for name, parameter in model.named_parameters(remove_duplicate=False)}
    shapes = {path: leaf.shape for path, leaf in found.items()}
    table = huggingface.family_of(config).table(config)
    expected = {path: array.load() for path, array in names.to_ours(table, theirs, shapes, "gradients").items()}
    floor = 1e-3 * max(np.abs(reference).max() for reference in expected.values())
    return {
        path: np.abs(np.asarray(found[path]) - reference).max() / max(np.abs(reference).max(), floor)
        for path, reference in expected.items()
    }


def assert_same_bits(model, folder):
    """transformers reads the folder with nothing missing, left over or mis-shaped, and has the same parameters."""
    again, report = type(model).from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    again = again.state_dict()
    assert again.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, again[key]), key

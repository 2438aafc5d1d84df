"""Rotary frequencies have the roundings of transformers, so that angles agree at the far end of a long context too."""

import jax
import numpy as np
import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from genjax.layers.position import RopeScaling, rotary_angles, rotary_frequencies


def reference(head_dim, theta, scaling):
    rope = {"rope_type": "default", "rope_theta": theta}
    if scaling is not None:
        rope = {
            "rope_type": "llama3",
            "rope_theta": theta,
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_context_length,
        }
    return LlamaRotaryEmbedding(
        LlamaConfig(
            hidden_size=2 * head_dim,
            num_attention_heads=2,
            head_dim=head_dim,
            max_position_embeddings=131072,
            rope_parameters=rope,
        )
    )


PUBLISHED = {
    "Llama 2": (128, 10000.0, None),
    "Llama 3": (128, 500000.0, None),
    "Llama 3.1": (128, 500000.0, RopeScaling(8.0, 1.0, 4.0, 8192)),
    "Llama 3.2 1B": (64, 500000.0, RopeScaling(32.0, 1.0, 4.0, 8192)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_agree_at_position_131071(name):
    head_dim, theta, scaling = PUBLISHED[name]
    theirs = reference(head_dim, theta, scaling)
    np.testing.assert_array_equal(np.asarray(rotary_frequencies(head_dim, theta, scaling)), theirs.inv_freq.numpy())
    positions = np.array([[0, 1, 1000, 8191, 131071]], np.int32)
    cosine, sine = jax.jit(lambda p: rotary_angles(p, head_dim, theta, scaling))(positions)
    their_cosine, their_sine = theirs(torch.zeros(1), torch.tensor(positions, dtype=torch.long))
    half = head_dim // 2
    np.testing.assert_allclose(np.asarray(cosine), their_cosine.numpy()[..., :half], rtol=0, atol=1.2e-7)
    np.testing.assert_allclose(np.asarray(sine), their_sine.numpy()[..., :half], rtol=0, atol=1.2e-7)


@pytest.mark.parametrize("scaling", [None, RopeScaling(8.0, 1.0, 4.0, 8192), RopeScaling(7.3, 1.0, 2.7, 13)], ids=str)
def test_frequencies_differ_by_one_bit_at_most(scaling):
    """torch's float32 power is not always rounded correctly; ours is."""
    equal, total = 0, 0
    for theta in (1e3, 1e4, 12345.0, 5e5, 1e6):
        for head_dim in (6, 10, 64, 80, 96, 128, 256):
            ours = np.asarray(rotary_frequencies(head_dim, theta, scaling))
            theirs = reference(head_dim, theta, scaling).inv_freq.numpy()
            assert np.abs(ours.view(np.int32) - theirs.view(np.int32)).max() <= 1
            equal, total = equal + np.sum(ours == theirs), total + ours.size
    assert equal / total > 0.98

"""Features that compare images: a ViT's and a CLIP's as transformers gives them."""

import numpy as np
import pytest
import torch
import transformers

from genjax import data, tasks
from genjax.tasks.perceptual import TransformerFeatures, compares_images

SIZES = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 2}
PICTURES = SIZES | {"image_size": 8, "patch_size": 4}


def vit():
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**PICTURES))
    return model, lambda pixels: model.vit(pixels, output_hidden_states=True)


def clip():
    text = SIZES | {"vocab_size": 60, "max_position_embeddings": 12, "projection_dim": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=PICTURES | {"projection_dim": 8}, projection_dim=8)
    model = transformers.CLIPModel(config)
    return model, lambda pixels: model.vision_model(pixels, output_hidden_states=True)


@pytest.mark.parametrize("make", [vit, clip])
def test_maps_are_what_each_block_gives_at_the_patches(make, tmp_path):
    model, states = make()
    model.eval().save_pretrained(tmp_path)
    task, variables = tasks.open_weights(tmp_path)
    features = TransformerFeatures(task)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    found = features.maps(variables[features.component], images)
    pixels = ((images + 1) / 2 - task.preprocessor.mean) / task.preprocessor.std
    with torch.no_grad():
        # The states: what stands before the blocks, then what each one gives, its class token first.
        expected = [
            state[:, 1:].numpy() for state in states(torch.tensor(pixels.transpose(0, 3, 1, 2)).float()).hidden_states[1:]
        ]
    assert len(found) == len(expected) == 3
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_layers_that_are_scanned_compare_nothing():
    info = data.describe({"name": "images", "classes": ("a", "b"), "image_size": 8})
    model = {"patch_size": 4, "num_layers": 2, "num_heads": 2, "embed_dim": 16}
    for scanned in (False, True):
        task = tasks.build({"name": "classification", "model": model | {"scan_layers": scanned}}, info)
        assert compares_images(task) != scanned

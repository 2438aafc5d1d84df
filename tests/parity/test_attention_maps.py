"""The attention that can be seen is transformers' `output_attentions`, and nothing is computed for it unless it is asked for."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from genjax.errors import RequestError
from genjax.interop import huggingface
from genjax.models.attention_maps import attention_maps
from genjax.models.bert import Bert
from genjax.models.encoder_decoder import EncoderDecoder
from genjax.models.gpt import GPT
from genjax.models.vit import ViT
from genjax.sampling.attention_picture import draw, write_picture
from genjax.tasks import attention
from tests.parity.parity_models import seeded

SHAPE = {"initializer_range": 0.5}
TOLERANCE = 1e-5


def their_model(kind):
    common = dict(hidden_size=20, num_hidden_layers=3, num_attention_heads=2, intermediate_size=30, attn_implementation="eager")
    with seeded(1):
        if kind == "gpt2":
            config = transformers.GPT2Config(
                vocab_size=50, n_positions=24, n_embd=20, n_layer=3, n_head=2, attn_implementation="eager", **SHAPE
            )
            return transformers.GPT2LMHeadModel(config).eval()
        if kind == "llama":
            config = transformers.LlamaConfig(vocab_size=50, num_key_value_heads=1, **common, **SHAPE)
            return transformers.LlamaForCausalLM(config).eval()
        if kind == "bert":
            config = transformers.BertConfig(vocab_size=50, max_position_embeddings=24, **common, **SHAPE)
            return transformers.BertForMaskedLM(config).eval()
        if kind == "vit":
            config = transformers.ViTConfig(image_size=12, patch_size=4, num_labels=3, **common, **SHAPE)
            return transformers.ViTForImageClassification(config).eval()
        config = transformers.T5Config(
            vocab_size=50, d_model=20, d_kv=8, d_ff=30, num_layers=3, num_heads=2, attn_implementation="eager",
            decoder_start_token_id=0,
        )  # fmt: skip
        return transformers.T5ForConditionalGeneration(config).eval()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    def get(kind):
        model, folder = their_model(kind), tmp_path_factory.mktemp(kind)
        model.save_pretrained(folder)
        return model, huggingface.read_config(folder)[1], {"params": huggingface.load(folder)}

    return get


def their_maps(model, inputs, name="attentions"):
    with torch.no_grad():
        found = model(**inputs, output_attentions=True)[name]
    return np.stack([layer.numpy() for layer in found])


@pytest.mark.parametrize("kind, module", [("gpt2", GPT), ("llama", GPT), ("bert", Bert)])
def test_maps_of_texts(loaded, kind, module):
    model, config, variables = loaded(kind)
    tokens = np.random.default_rng(0).integers(1, 50, (2, 13)).astype(np.int32)
    mask = np.ones_like(tokens)
    mask[1, 9:] = 0
    inputs = {"input_ids": torch.tensor(tokens).long(), "attention_mask": torch.tensor(mask).long()}
    expected = their_maps(model, inputs)
    look = lambda v, t, s: attention_maps(module(config), v, t, segment_ids=s, method="hidden")  # noqa: E731
    hidden, found = jax.jit(look)(variables, tokens, mask)
    assert list(found) == ["attention"]
    found = np.asarray(found["attention"])
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found[:, 1, :, :9], expected[:, 1, :, :9], rtol=0, atol=TOLERANCE)
    assert np.abs(found.sum(-1) - 1).max() < 1e-5
    # and the model says what it says without being looked at
    plain = jax.jit(functools.partial(module(config).apply, method="hidden"))(variables, tokens, segment_ids=mask)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), hidden, plain)


def test_maps_of_a_translation(loaded):
    model, config, variables = loaded("t5")
    rng = np.random.default_rng(0)
    source, target = (rng.integers(1, 50, (1, n)).astype(np.int32) for n in (9, 6))
    inputs = {"input_ids": torch.tensor(source).long(), "decoder_input_ids": torch.tensor(target).long()}
    maps = attention.of_pair(EncoderDecoder(config), variables, source, target[0].tolist(), "abcdefghi", "uvwxyz")
    by_title = {one.title: one for one in maps}
    assert maps[0].title == "decoder, cross-attention"
    for title, name in (
        ("decoder, cross-attention", "cross_attentions"),
        ("decoder, attention", "decoder_attentions"),
        ("encoder, attention", "encoder_attentions"),
    ):
        np.testing.assert_allclose(by_title[title].weights, their_maps(model, inputs, name)[:, 0], rtol=0, atol=TOLERANCE)
    assert (by_title["decoder, cross-attention"].queries, by_title["decoder, cross-attention"].keys) == (
        tuple("uvwxyz"),
        tuple("abcdefghi"),
    )


def test_what_the_class_token_of_a_vit_sees(loaded, tmp_path):
    model, config, variables = loaded("vit")
    picture = np.random.default_rng(0).integers(0, 256, (12, 12, 3)).astype(np.uint8)
    image = picture.astype(np.float32) / 127.5 - 1
    (found,) = attention.of_image(ViT(config), variables, image, picture, 4, "features")
    expected = their_maps(model, {"pixel_values": torch.tensor(image.transpose(2, 0, 1)[None])})
    np.testing.assert_allclose(found.weights, expected[:, 0, :, :1, 1:], rtol=0, atol=TOLERANCE)
    figure = draw([found])
    panels = [axes for axes in figure.findobj() if type(axes).__name__ == "Axes"]
    assert len(panels) == 3 * 2
    overlays = [panel.get_images()[1].get_array() for panel in panels]
    assert all(np.allclose(o, w.reshape(3, 3)) for o, w in zip(overlays, found.weights.reshape(6, 9), strict=True))


def test_a_picture_has_a_panel_for_each_layer_and_head(loaded, tmp_path):
    _, config, variables = loaded("gpt2")
    maps = attention.of_text(GPT(config), variables, [3, 4, 5], ["a", "$b$", "\\n"])
    figure = draw(maps)
    panels = [axes for axes in figure.findobj() if type(axes).__name__ == "Axes"]
    for number, panel in enumerate(panels):
        np.testing.assert_allclose(panel.get_images()[0].get_array(), maps[0].weights[number // 2, number % 2])
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["a", r"\$b\$", "\\n"]
    path = write_picture(maps, tmp_path / "new" / "maps.png")
    assert path.read_bytes().startswith(b"\x89PNG") and [p.name for p in path.parent.iterdir()] == ["maps.png"]
    with pytest.raises(RequestError, match="exists; choose another"):
        write_picture(maps, path)
    with pytest.raises(RequestError, match="is a .png file, but --attention is maps.jpg"):
        write_picture(maps, "maps.jpg")
    with pytest.raises(RequestError, match="has 129 tokens, but a picture of attention shows at most 128"):
        attention.check_length(129)


def test_nothing_is_computed_for_it_unless_it_is_asked_for(loaded):
    """The program is the same text with and without the hook: no layer leaves weights, and `init` makes no such collection."""
    _, config, variables = loaded("bert")
    tokens = jnp.zeros((1, 8), jnp.int32)
    kept = jax.eval_shape(lambda v: Bert(config).apply(v, tokens, method="hidden", mutable=["params"]), variables)[1]
    assert "intermediates" not in kept
    assert set(jax.eval_shape(Bert(config).init, jax.random.key(0), tokens)) == {"params"}
    with pytest.raises(ValueError, match="layers must be unrolled"):
        scanned = dataclasses.replace(config, scan_layers=True)
        fresh = jax.eval_shape(Bert(scanned).init, jax.random.key(0), tokens)
        jax.eval_shape(lambda v: attention_maps(Bert(scanned), v, tokens, method="hidden"), fresh)

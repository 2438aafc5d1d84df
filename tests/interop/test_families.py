"""config.json of each family: what is read, what is refused, and what can be written."""

import dataclasses

import pytest

from genjax.errors import CheckpointError
from genjax.interop import gpt2, huggingface, llama
from genjax.layers.position import RopeScaling
from genjax.models.gpt import GPTConfig
from genjax.models.gpt_sizes import GPT_SIZES

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize(
    "values, message",
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True; supported: False"),
        ({"scale_attn_weights": False}, "scale_attn_weights is False; supported: True"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"activation_function": "mish"}, "activation_function is 'mish'; supported: gelu_new"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}; supported: not set"),
        ({"n_layer": "12"}, "n_layer is '12', expected a positive whole number"),
        ({"n_head": 0}, "n_head is 0, expected a positive whole number"),
        ({"n_embd": 100, "n_head": 3}, "n_embd 100 does not divide over n_head 3"),
        ({"layer_norm_epsilon": "small"}, "layer_norm_epsilon is 'small', expected a number"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings is 1, expected true or false"),
    ],
)
def test_gpt2_settings_that_change_the_numbers_are_refused_by_name(values, message):
    with pytest.raises(CheckpointError) as error:
        gpt2.from_json(values, "gpt2/config.json")
    assert str(error.value).startswith(f"gpt2/config.json asks for what genjax cannot do: {message}")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"attention_bias": True}, "attention_bias is True; supported: False"),
        ({"mlp_bias": True}, "mlp_bias is True; supported: False"),
        ({"hidden_act": "xielu"}, "hidden_act is 'xielu'"),
        ({"num_key_value_heads": 5}, "num_attention_heads 32 does not divide over num_key_value_heads 5"),
        ({"head_dim": 7}, "head_dim is 7, but rotary positions need an even one"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling.rope_type is 'linear'; supported: 'default' or 'llama3'"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "rope_parameters.rope_type is 'yarn'"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "rope_parameters.partial_rotary_factor is 0.5"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_scaling.low_freq_factor is not set, which llama3 needs"),
        ({"rope_scaling": LLAMA3 | {"high_freq_factor": 1.0}}, "rope_scaling.high_freq_factor must be above low_freq_factor"),
        ({"rope_scaling": "llama3"}, "rope_scaling is 'llama3', expected an object"),
    ],
)
def test_llama_settings_that_change_the_numbers_are_refused_by_name(values, message):
    with pytest.raises(CheckpointError) as error:
        llama.from_json(values, "llama/config.json")
    assert str(error.value).startswith(f"llama/config.json asks for what genjax cannot do: {message}")


def test_every_problem_of_a_config_stands_in_one_message():
    with pytest.raises(CheckpointError) as error:
        llama.from_json({"attention_bias": True, "hidden_act": "mish", "rope_scaling": {"rope_type": "dynamic"}}, "c")
    assert str(error.value).count(";") >= 5
    for key in ("attention_bias", "hidden_act", "rope_scaling.rope_type"):
        assert key in str(error.value)


def test_rope_settings_of_both_transformers_generations_mean_the_same():
    new = llama.from_json({"rope_parameters": LLAMA3 | {"rope_theta": 5e5}}, "c")
    old = llama.from_json({"rope_theta": 5e5, "rope_scaling": LLAMA3}, "c")
    assert new == old
    assert (new.rope_theta, new.rope_scaling) == (5e5, RopeScaling(8.0, 1.0, 4.0, 8192))
    assert llama.from_json({"rope_theta": 5e5}, "c").rope_theta == 5e5
    assert llama.from_json({"rope_theta": 5e5, "rope_scaling": None}, "c").rope_scaling is None


def test_dropout_is_read_where_the_two_rates_we_have_agree():
    assert gpt2.from_json({"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.0}, "c").dropout == 0.2
    assert gpt2.from_json({"resid_pdrop": 0.2, "embd_pdrop": 0.1}, "c").dropout == 0.0


@pytest.mark.parametrize("size", [name for name in GPT_SIZES if name.startswith(("gpt2", "gpt3", "llama"))])
def test_every_size_can_be_written_and_read_back(size):
    config = dataclasses.replace(GPT_SIZES[size], scan_layers=False)
    family = huggingface.family_of(config)
    assert family.name == ("llama" if size.startswith("llama") else "gpt2")
    assert spelled_out(family.from_json(family.to_json(config), "c")) == spelled_out(config)


def spelled_out(config):
    return dataclasses.replace(config, num_kv_heads=config.kv_heads, head_dim=config.head_width, mlp_dim=config.hidden_width)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"position": "sinusoidal"}, "gpt2: position is 'sinusoidal' (needs 'learned')"),
        ({"use_bias": False}, "gpt2: use_bias is False (needs True)"),
        ({"sliding_window": 8}, "gpt2: sliding_window is 8 (needs 0)"),
        ({"num_kv_heads": 2}, "gpt2: num_kv_heads is 2 (needs 4, one for each query head)"),
        ({"head_dim": 5}, "gpt2: head_dim is 5 (needs embed_dim 16 / num_heads 4)"),
        ({"norm_position": "post"}, "gpt2: norm_position is 'post' (needs 'pre')"),
        ({"final_norm": False, "gated": True}, "gpt2: final_norm is False (needs True), gated is True (needs False)"),
    ],
)
def test_a_model_that_no_family_has_is_refused_with_the_reasons(changes, message):
    config = GPTConfig(vocab_size=8, context_length=8, num_layers=1, num_heads=4, embed_dim=16)
    with pytest.raises(CheckpointError) as error:
        huggingface.family_of(dataclasses.replace(config, **changes))
    assert str(error.value).startswith("no Hugging Face family has this model. " + message)
    assert "llama: position is" in str(error.value)

"""Randomly initialized T5s and Whispers of drawn small shapes, and torch's gradients in our layout."""

import numpy as np
import torch
import transformers
from flax.traverse_util import flatten_dict

from genjax.interop import huggingface, lazy, names
from tests.parity.parity_models import seeded

T5_CASES = ("1.0-a", "1.0-b", "1.0-c", "1.1-a", "1.1-b", "1.1-c")
WHISPER_CASES = ("whisper-a", "whisper-b", "whisper-c")
FRAMES = 24  # twice the encoder's positions
PAD = 7  # torch gives this token's embedding no gradient


def build(case: str, talkative: bool = False) -> transformers.PreTrainedModel:
    """The model of a case, in float32, with every parameter moved off its initial value; `talkative`: so far, and with so small a
    table of tokens, that it does not write one token again and again."""
    noise = 0.4 if talkative else 0.1
    seed = (T5_CASES + WHISPER_CASES).index(case)
    rng = np.random.default_rng(2000 + seed)
    with seeded(seed):
        model = _whisper(rng) if case in WHISPER_CASES else _t5(rng, case)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                # The sinusoids of Whisper's encoder stay what they are.
                if "encoder.embed_positions" not in name:
                    parameter.add_(noise * torch.randn_like(parameter))
                if talkative and name.endswith(("shared.weight", "decoder.embed_tokens.weight")):
                    parameter.mul_(0.2)
    return model.eval()


def _t5(rng: np.random.Generator, case: str) -> transformers.T5ForConditionalGeneration:
    heads, old = int(rng.integers(2, 5)), case.startswith("1.0")
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=int(rng.integers(50, 120)),
            d_model=int(rng.integers(14, 40)),
            d_kv=int(rng.integers(3, 9)),
            d_ff=int(rng.integers(20, 70)),
            num_layers=int(rng.integers(1, 4)),
            num_decoder_layers=int(rng.integers(2, 4)),
            num_heads=heads,
            relative_attention_num_buckets=int(rng.choice([4, 8, 12, 32])),
            relative_attention_max_distance=int(rng.choice([17, 20, 128])),
            feed_forward_proj="relu" if old else str(rng.choice(["gated-gelu", "gated-gelu", "gated-silu"])),
            tie_word_embeddings=old,
            decoder_start_token_id=0,
        )
    )
    if not old:
        # transformers 5 ties the head of a new model whatever its config says, and leaves that of a loaded one apart.
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * model.config.d_model**-0.5)
    return model


def _whisper(rng: np.random.Generator) -> transformers.WhisperForConditionalGeneration:
    heads = int(rng.integers(1, 5))
    width = heads * 2 * int(rng.integers(3, 6))
    hidden = int(rng.integers(20, 70))
    return transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(
            vocab_size=int(rng.integers(50, 120)),
            num_mel_bins=int(rng.integers(5, 12)),
            d_model=width,
            encoder_layers=int(rng.integers(1, 4)),
            decoder_layers=int(rng.integers(2, 4)),
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=hidden,
            decoder_ffn_dim=hidden,
            max_source_positions=FRAMES // 2,
            max_target_positions=int(rng.integers(32, 50)),
            activation_function=str(rng.choice(["gelu", "relu"])) if rng.random() < 0.5 else "gelu",
            pad_token_id=PAD,
            bos_token_id=8,
            eos_token_id=9,
            decoder_start_token_id=10,
            suppress_tokens=None,
            begin_suppress_tokens=None,
        )
    )


def compare_gradients(model, config, gradients, tolerance: float) -> None:
    """Every leaf of our gradients against those that torch has left on the model, brought to our layout by the table of names;
    relative to the largest entry of the leaf, or a thousandth of the largest of all where that is more (a gradient that is zero
    but for rounding)."""
    found = flatten_dict(gradients, sep="/")
    theirs = {
        name: lazy.of_array((torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).numpy())
        for name, parameter in model.named_parameters()
    }
    shapes = {path: leaf.shape for path, leaf in found.items()}
    table = huggingface.family_of(config).table(config)
    expected = {path: array.load() for path, array in names.to_ours(table, theirs, shapes, "gradients").items()}
    floor = 1e-3 * max(np.abs(reference).max() for reference in expected.values())
    errors = {
        path: np.abs(np.asarray(found[path]) - reference).max() / max(np.abs(reference).max(), floor)
        for path, reference in expected.items()
    }
    assert max(errors.values()) < tolerance, max(errors.items(), key=lambda item: item[1])

"""Randomly initialized transformers models of randomly drawn small shapes: the oracles of the parity tests."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
import transformers

GPT2_CASES = ("gpt2-0", "gpt2-1", "gpt2-2", "gpt2-3", "gpt2-untied")
LLAMA_CASES = ("mha", "gqa", "mqa-tied", "gqa-llama3", "mha-llama3-tied", "mqa-llama3", "gqa-wide-heads", "gqa-gelu")
CASES = GPT2_CASES + LLAMA_CASES


def build_divisible(kind: str) -> transformers.PreTrainedModel:
    """A model whose dimensions divide over meshes of up to eight devices."""
    size = {"vocab_size": 96, "bos_token_id": 0, "eos_token_id": 0}
    with seeded(7):
        if kind == "gpt2":
            shape = transformers.GPT2Config(n_positions=32, n_embd=32, n_layer=2, n_head=4, **size)
            return transformers.GPT2LMHeadModel(shape).eval()
        shape = transformers.LlamaConfig(
            max_position_embeddings=32,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=8,
            num_key_value_heads=4,
            **size,
        )
        return transformers.LlamaForCausalLM(shape).eval()


def build(case: str) -> transformers.PreTrainedModel:
    """The model of a case, in float32, with every parameter moved off its initial value (norms off 1, biases off 0)."""
    seed = CASES.index(case)
    rng = np.random.default_rng(1000 + seed)
    config = draw_gpt2(case, rng) if case in GPT2_CASES else draw_llama(case, rng)
    cls = transformers.GPT2LMHeadModel if case in GPT2_CASES else transformers.LlamaForCausalLM
    with seeded(seed):
        model = cls(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def draw_gpt2(case: str, rng: np.random.Generator) -> transformers.GPT2Config:
    heads = int(rng.choice([1, 2, 3, 5]))
    return transformers.GPT2Config(
        vocab_size=int(rng.integers(50, 200)),
        n_positions=int(rng.integers(33, 60)),
        n_embd=heads * int(rng.integers(5, 14)),
        n_layer=int(rng.integers(2, 5)),
        n_head=heads,
        n_inner=int(rng.integers(20, 90)) if rng.random() < 0.5 else None,
        activation_function=str(rng.choice(["gelu_new", "gelu", "relu", "gelu_pytorch_tanh"])),
        layer_norm_epsilon=float(rng.choice([1e-5, 1e-6, 1e-3])),
        tie_word_embeddings="untied" not in case,
        bos_token_id=0,
        eos_token_id=0,
    )


def draw_llama(case: str, rng: np.random.Generator) -> transformers.LlamaConfig:
    heads, kv_heads = {"mha": (3, 3), "gqa": (6, 2), "mqa": (4, 1)}[case[:3]]
    head_dim = 2 * int(rng.integers(3, 8))
    theta = float(rng.choice([1e3, 1e4, 5e5]))
    rope = {"rope_type": "default", "rope_theta": theta}
    if "llama3" in case:
        rope = {
            "rope_type": "llama3",
            "rope_theta": theta,
            "factor": float(rng.uniform(2, 32)),
            "low_freq_factor": 1.0,
            "high_freq_factor": float(rng.uniform(2, 5)),
            "original_max_position_embeddings": int(rng.integers(8, 20)),
        }
    return transformers.LlamaConfig(
        vocab_size=int(rng.integers(50, 200)),
        max_position_embeddings=int(rng.integers(33, 60)),
        hidden_size=heads * head_dim,
        intermediate_size=int(rng.integers(21, 99)),
        num_hidden_layers=int(rng.integers(2, 5)),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim + 4 if "wide" in case else head_dim,
        hidden_act="gelu" if "gelu" in case else "silu",
        rms_norm_eps=float(rng.choice([1e-5, 1e-6])),
        tie_word_embeddings="tied" in case,
        rope_parameters=rope,
        bos_token_id=0,
        eos_token_id=0,
    )


def draw_tokens(model: transformers.PreTrainedModel, batch: int = 3, length: int = 31, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, model.config.vocab_size, (batch, length)).astype(np.int32)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield

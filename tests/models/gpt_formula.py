"""GPT written down in numpy, float64, one row and one head at a time: the oracle of the model's tests."""

import math

import numpy as np


def activation(name, x):
    if name == "gelu_tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if name == "gelu":
        return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return np.maximum(x, 0) if name == "relu" else x / (1 + np.exp(-x))


def normalize(config, params, x):
    if config.norm == "rmsnorm":
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_epsilon) * params["scale"]
    centered = x - x.mean(-1, keepdims=True)
    scaled = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + config.norm_epsilon) * params["scale"]
    return scaled + params.get("bias", 0.0)


def rotate(config, x, positions):
    half = x.shape[-1] // 2
    angles = positions[:, None] * config.rope_theta ** (-np.arange(half) / half)
    first, second = x[:, :half], x[:, half:]
    return np.concatenate(
        [first * np.cos(angles) - second * np.sin(angles), second * np.cos(angles) + first * np.sin(angles)], axis=-1
    )


def attend(config, params, x, allowed, positions):
    def project(name, head):
        weights = params[name]
        return x @ weights["kernel"][:, head] + (weights["bias"][head] if "bias" in weights else 0.0)

    out = np.zeros((len(x), config.embed_dim))
    for head in range(config.num_heads):
        shared = head // (config.num_heads // config.kv_heads)
        query, key, value = project("query", head), project("key", shared), project("value", shared)
        if config.position == "rotary":
            query, key = rotate(config, query, positions), rotate(config, key, positions)
        logits = np.where(allowed, query @ key.T / math.sqrt(config.head_width), -np.inf)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        out += weights / weights.sum(-1, keepdims=True) @ value @ params["out"]["kernel"][head]
    return out + params["out"].get("bias", 0.0)


def feed(config, params, x):
    def project(name, y):
        return y @ params[name]["kernel"] + params[name].get("bias", 0.0)

    hidden = activation(config.activation, project("gate" if config.gated else "up", x))
    return project("down", hidden * project("up", x) if config.gated else hidden)


def logits(config, params, tokens, positions=None, segment_ids=None):
    """Float64 logits of one row of tokens; `params` are those of unrolled blocks."""
    length = len(tokens)
    positions = np.arange(length) if positions is None else positions
    query, key = np.arange(length)[:, None], np.arange(length)[None, :]
    allowed = key <= query
    if config.sliding_window:
        allowed &= key > query - config.sliding_window
    if segment_ids is not None:
        allowed &= segment_ids[:, None] == segment_ids[None, :]
    x = params["token_embed"]["embedding"][tokens]
    if config.position == "learned":
        x = x + params["position_embed"]["embedding"][positions]
    if config.position == "sinusoidal":
        rates = 10000.0 ** (-np.arange(0, config.embed_dim, 2) / config.embed_dim)
        waves = positions[:, None] * rates
        x = x + np.stack([np.sin(waves), np.cos(waves)], axis=-1).reshape(length, -1)
    for i in range(config.num_layers):
        block = params[f"blocks_{i}"]
        if config.norm_position == "pre":
            x = x + attend(config, block["attention"], normalize(config, block["attention_norm"], x), allowed, positions)
            x = x + feed(config, block["mlp"], normalize(config, block["mlp_norm"], x))
        else:
            x = normalize(config, block["attention_norm"], x + attend(config, block["attention"], x, allowed, positions))
            x = normalize(config, block["mlp_norm"], x + feed(config, block["mlp"], x))
    if config.final_norm:
        x = normalize(config, params["final_norm"], x)
    return x @ (params["token_embed"]["embedding"].T if config.tie_embeddings else params["head"]["kernel"])

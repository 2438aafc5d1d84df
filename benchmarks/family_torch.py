"""The other side of benchmarks/family.py: transformers on torch, as a worker, and the inputs of both sides."""

import argparse
from typing import Any

import numpy as np
import torch
import transformers

BATCHES = {"bert": 8, "vit": 4, "t5": 8, "clip": 32}
LENGTH, SOURCE, NEW, BEAMS, TEXT, EOT = 128, 64, 64, 4, 77, 49407  # tokens, but for the beams and the last id
MASKED = 0.15


def inputs(kind: str, batch: int) -> dict[str, np.ndarray]:
    """What both sides read: `pixels` as [batch height width channels], int64 tokens."""
    rng = np.random.default_rng(1)
    if kind == "bert":
        return {"tokens": rng.integers(1000, 30000, (batch, LENGTH)), "masked": rng.uniform(size=(batch, LENGTH)) < MASKED}
    if kind == "vit":
        return {"pixels": rng.normal(size=(batch, 224, 224, 3)).astype(np.float32), "labels": rng.integers(0, 1000, batch)}
    if kind == "t5":
        return {"tokens": rng.integers(3, 32000, (batch, SOURCE))}
    tokens = rng.integers(1, 49000, (batch, TEXT))
    tokens[:, -1] = EOT
    return {"tokens": tokens, "pixels": rng.normal(size=(batch, 224, 224, 3)).astype(np.float32)}


def build(kind: str) -> Any:
    """A model of random weights, without dropout."""
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if kind == "bert":
        return transformers.BertForMaskedLM(transformers.BertConfig(**off))
    if kind == "vit":
        return transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000, **off))
    if kind == "t5":
        config = transformers.T5Config(dropout_rate=0.0, d_ff=2048, decoder_start_token_id=0)
        return transformers.T5ForConditionalGeneration(config)
    text = {"bos_token_id": 49406, "eos_token_id": EOT, "pad_token_id": EOT}
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=text, projection_dim=512))


def outputs(kind: str, model: Any) -> list[torch.Tensor]:
    """What is compared: logits, or a text's and an image's vector."""
    given = inputs(kind, 1)
    tokens = torch.tensor(given["tokens"]) if "tokens" in given else None
    pixels = torch.tensor(given["pixels"]).permute(0, 3, 1, 2) if "pixels" in given else None
    if kind == "bert":
        return [model(tokens).logits]
    if kind == "vit":
        return [model(pixels).logits]
    if kind == "t5":
        return [model(input_ids=tokens, decoder_input_ids=tokens[:, :8]).logits]
    found = model(input_ids=tokens, pixel_values=pixels)
    return [found.image_embeds, found.text_embeds]


def make_step(kind: str, model: Any, batch: int, compiled: bool):
    given = inputs(kind, batch)
    tokens = torch.tensor(given["tokens"]) if "tokens" in given else None
    pixels = torch.tensor(given["pixels"]).permute(0, 3, 1, 2).contiguous() if "pixels" in given else None
    if kind in ("bert", "vit"):
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
        forward = torch.compile(model) if compiled else model
        if kind == "bert":
            arguments = {"input_ids": tokens, "labels": torch.where(torch.tensor(given["masked"]), tokens, -100)}
        else:
            arguments = {"pixel_values": pixels, "labels": torch.tensor(given["labels"])}

        def step() -> None:
            loss = forward(**arguments).loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return step
    model.eval()
    if kind == "t5":
        settings = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "num_beams": BEAMS}
        if compiled:
            model.forward = torch.compile(model.forward)
            settings["cache_implementation"] = "static"

        def step() -> None:
            with torch.inference_mode():
                model.generate(tokens, attention_mask=torch.ones_like(tokens), **settings)

        return step
    encode = torch.compile(model) if compiled else model

    def step() -> None:
        with torch.inference_mode():
            encode(input_ids=tokens, pixel_values=pixels)

    return step


if __name__ == "__main__":
    from ab import serve

    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=list(BATCHES))
    parser.add_argument("--weights", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    model = type(build(options.kind)).from_pretrained(options.weights, attn_implementation="sdpa")
    step = make_step(options.kind, model, options.batch, options.compile)
    for _ in range(2):
        step()
    serve(step)

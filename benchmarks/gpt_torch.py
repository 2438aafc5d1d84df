"""The other side of benchmarks/gpt.py: transformers' GPT-2 on torch, as a worker."""

import argparse

import torch
from transformers import GPT2LMHeadModel

from ab import serve

parser = argparse.ArgumentParser()
parser.add_argument("work", choices=["train", "decode"])
parser.add_argument("--weights", required=True)
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--length", type=int, required=True)
parser.add_argument("--new_tokens", type=int, default=128)
parser.add_argument("--compile", action="store_true")
parser.add_argument("--bfloat16", action="store_true")
parser.add_argument("--device", default="cpu")
parser.add_argument("--repeat", type=int, default=1)
options = parser.parse_args()

torch.manual_seed(0)
model = GPT2LMHeadModel.from_pretrained(options.weights, attn_implementation="sdpa").to(options.device)
tokens = torch.randint(0, model.config.vocab_size, (options.batch, options.length), generator=torch.Generator().manual_seed(1))
tokens = tokens.to(options.device)


def synchronize() -> None:
    if options.device != "cpu":
        torch.cuda.synchronize()


if options.work == "train":
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    forward = torch.compile(model) if options.compile else model

    def step() -> None:
        with torch.autocast(options.device, torch.bfloat16, enabled=options.bfloat16):
            loss = forward(tokens, labels=tokens, use_cache=False).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        synchronize()

else:
    model.eval()
    if options.bfloat16:
        model = model.to(torch.bfloat16)
    if options.compile:
        model.forward = torch.compile(model.forward)
    settings = {"max_new_tokens": options.new_tokens, "min_new_tokens": options.new_tokens, "do_sample": False}
    if options.compile:
        settings["cache_implementation"] = "static"
    model.generation_config.pad_token_id = 0

    def step() -> None:
        with torch.inference_mode():
            model.generate(tokens, attention_mask=torch.ones_like(tokens), **settings)
        synchronize()


for _ in range(2):
    step()
serve(step, repeat=options.repeat)

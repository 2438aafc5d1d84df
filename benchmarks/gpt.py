"""Training step and cached decoding of the GPT-2 124M shape: genjax against transformers on torch, in one run.

    python benchmarks/gpt.py train                 # batch 2, 256 tokens, float32
    python benchmarks/gpt.py decode --batch 1      # prompt 32, 128 new tokens, greedy
    python benchmarks/gpt.py decode --batch 8
    python benchmarks/gpt.py scan                  # compile and step time with layers scanned and unrolled
    python benchmarks/gpt.py products              # the matrix products of the training step alone

Both sides start from the same weights, whose logits are compared first. Needs the extra `test`. The first row of a table is
genjax; a ratio above 1 is slower than genjax.
"""

import argparse
import tempfile
from pathlib import Path

from ab import Contender, against_torch, compare, machine, mkl_fast_path, table

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["train", "decode", "scan", "products"])
    parser.add_argument("--batch", type=int, default=0, help="rows (default: 2 for training, 1 for decoding)")
    parser.add_argument("--length", type=int, default=0, help="tokens of a row or prompt (default: 256, 32)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bfloat16", action="store_true")
    options = parser.parse_args()
    decoding = options.work == "decode"
    batch, length = options.batch or (1 if decoding else 2), options.length or (32 if decoding else 256)
    ours, theirs = str(HERE / "gpt_genjax.py"), str(HERE / "gpt_torch.py")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "gpt2"
        difference = save_weights(weights)
        shape = ["decode" if decoding else "train", f"--weights={weights}", f"--batch={batch}", f"--length={length}"]
        shape += ["--bfloat16"] * options.bfloat16
        fast = mkl_fast_path(Path(folder))
        if options.work == "products":
            script = [str(HERE / "gpt_products.py"), f"--rows={batch * length}"]
            contenders = [Contender("XLA", [*script, "--side=jax"]), Contender("torch", [*script, "--side=torch"])]
            contenders += [Contender("torch, MKL fast path", [*script, "--side=torch"], fast)] * bool(fast)
        elif options.work == "scan":
            contenders = [
                Contender("unrolled", [ours, *shape]),
                Contender("scanned", [ours, *shape, "--scan"]),
                Contender("scanned, remat full", [ours, *shape, "--scan", "--remat=full"]),
            ]
        else:
            contenders = against_torch([ours, *shape], [theirs, *shape], fast)
        rows = compare(contenders, options.rounds)
    what = "128 new tokens, greedy" if decoding else f"{options.work}: training step, AdamW"
    print(f"GPT-2 124M, {what}, batch {batch}, {length} tokens, {'bfloat16' if options.bfloat16 else 'float32'}")
    print(f"{machine()}; logits of both sides differ by at most {difference:.1e}\n")
    print(table(rows))


def save_weights(folder: Path) -> float:
    """Random weights of the published shape, for both sides; returns the largest difference of their logits."""
    import jax
    import numpy as np
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from genjax.interop import huggingface
    from genjax.models.gpt import GPT
    from genjax.parallel.processes import leave_out_absent_tpu

    leave_out_absent_tpu()

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)).eval()
    model.save_pretrained(folder)
    tokens = np.random.default_rng(0).integers(0, 50257, (1, 64))
    with torch.no_grad():
        theirs = model(torch.tensor(tokens)).logits.numpy()
    _, config = huggingface.read_config(folder)
    ours = jax.jit(GPT(config).apply)({"params": huggingface.load(folder)}, tokens.astype(np.int32))
    return float(np.abs(np.asarray(ours) - theirs).max())


if __name__ == "__main__":
    main()

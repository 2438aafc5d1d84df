"""Training step and cached decoding of a small DALL-E: genjax against the same GPT of transformers on torch, in one run.

    python benchmarks/dalle.py train                  # batch 16: 24 tokens of text and 16x16 codes, float32
    python benchmarks/dalle.py decode --batch 16      # all 256 codes, greedy, a text each

Both sides start from the same weights (on torch's, the positions of rows and columns are added up in one table), whose logits are
compared first. Needs the extra `test`. The first row of a table is genjax; a ratio above 1 is slower than genjax.
"""

import argparse
import tempfile
from pathlib import Path

from ab import against_torch, compare, machine, mkl_fast_path, table

HERE = Path(__file__).resolve().parent
SHAPE = {"text_length": 24, "rows": 16, "columns": 16, "codes": 1024, "text_vocab": 2048}
NETWORK = {"num_layers": 6, "num_heads": 6, "embed_dim": 192, "patterns": ("full",), "last_pattern": "full"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["train", "decode"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=4, help="units of work in a sample: memory that waited is cold at first")
    options = parser.parse_args()
    places, length = SHAPE["rows"] * SHAPE["columns"], SHAPE["text_length"]
    with tempfile.TemporaryDirectory() as folder:
        difference = save_weights(Path(folder) / "gpt2")
        ours = [str(HERE / "dalle_genjax.py"), options.work, f"--batch={options.batch}"]
        theirs = [str(HERE / "gpt_torch.py"), options.work, f"--weights={Path(folder) / 'gpt2'}", f"--batch={options.batch}"]
        theirs += (
            [f"--length={length + places}"] if options.work == "train" else [f"--length={length + 1}", f"--new_tokens={places}"]
        )
        ours, theirs = ([*command, f"--repeat={options.repeat}"] for command in (ours, theirs))
        rows = compare(against_torch(ours, theirs, mkl_fast_path(Path(folder))), options.rounds)
    what = f"{places} codes, greedy" if options.work == "decode" else "training step, AdamW"
    print(f"DALL-E of 6 layers, 192 wide, {what}, batch {options.batch}, float32")
    print(f"{machine()}; logits of both sides differ by at most {difference:.1e}\n")
    print(table(rows))


def save_weights(folder: Path) -> float:
    """Random weights as transformers reads them; returns the largest difference of both sides' logits."""
    import dataclasses

    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch
    from flax import linen as nn
    from transformers import GPT2LMHeadModel

    from genjax.interop import huggingface
    from genjax.models.dalle import DALLE, DALLEConfig
    from genjax.parallel.processes import leave_out_absent_tpu

    leave_out_absent_tpu()
    config = DALLEConfig(**SHAPE, **NETWORK)
    module = DALLE(config)
    params = nn.unbox(jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 8), jnp.int32)))["params"]
    tables = {name: params[name]["embedding"] for name in ("text_positions", "row_positions", "column_positions")}
    image = (tables["row_positions"][:, None] + tables["column_positions"][None]).reshape(-1, config.embed_dim)
    positions = jnp.concatenate([tables["text_positions"], image])[: config.length]
    gpt = dataclasses.replace(config.gpt(), position="learned")
    huggingface.save(folder, {**params["gpt"], "position_embed": {"embedding": positions}}, gpt)
    tokens = np.random.default_rng(0).integers(0, config.first_code, (2, config.length))
    with torch.no_grad():
        theirs = GPT2LMHeadModel.from_pretrained(folder)(torch.tensor(tokens)).logits.numpy()
    ours = jax.jit(module.apply)({"params": params}, tokens.astype(np.int32))
    return float(np.abs(np.asarray(ours) - theirs).max())


if __name__ == "__main__":
    main()

"""The other transformers against transformers on torch, in one run, float32, with the published shapes and random weights.

    python benchmarks/family.py bert       # BERT-base: a training step, batch 8 of 128 tokens
    python benchmarks/family.py vit        # ViT-B/16: a training step, batch 4 of 224x224
    python benchmarks/family.py t5         # T5-small: 4 beams with a cache, batch 8 of 64 tokens, 64 new ones
    python benchmarks/family.py clip       # CLIP B/32: 32 images and 32 texts of 77 tokens to vectors

Both sides read the same weights; what they make of one input is compared first. Needs the extra `test`. The first row of a table
is genjax; a ratio above 1 is slower than genjax.
"""

import argparse
import tempfile
from pathlib import Path

from family_torch import BATCHES, build, outputs

from ab import against_torch, compare, machine, mkl_fast_path, table

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(BATCHES))
    parser.add_argument("--batch", type=int, default=0, help="rows (default: see above)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    batch = options.batch or BATCHES[options.kind]
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights"
        difference = save_weights(options.kind, weights)
        wanted = [options.kind, f"--weights={weights}", f"--batch={batch}"]
        ours, theirs = ([str(HERE / f"family_{side}.py"), *wanted] for side in ("genjax", "torch"))
        rows = compare(against_torch(ours, theirs, mkl_fast_path(Path(folder))), options.rounds)
    print(f"{options.kind}, batch {batch}, float32")
    print(f"{machine()}; outputs of both sides differ by at most {difference:.1e}\n")
    print(table(rows))


def save_weights(kind: str, folder: Path) -> float:
    """Random weights of the published shape, for both sides; returns the largest difference of what they compute."""
    import numpy as np
    import torch
    from family_genjax import outputs as our_outputs

    from genjax.parallel.processes import leave_out_absent_tpu

    leave_out_absent_tpu()
    torch.manual_seed(0)
    model = build(kind).eval()
    model.save_pretrained(folder)
    with torch.no_grad():
        expected = outputs(kind, model)
    return max(
        float(np.abs(np.asarray(ours) - theirs.numpy()).max())
        for ours, theirs in zip(our_outputs(kind, folder), expected, strict=True)
    )


if __name__ == "__main__":
    main()

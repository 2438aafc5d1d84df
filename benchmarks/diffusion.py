"""A U-Net of 4.4M parameters at 32x32 against diffusers on torch, in one run, float32.

    python benchmarks/diffusion.py forward    # 16 images
    python benchmarks/diffusion.py train      # a step of DDPM on 16 images, with AdamW
    python benchmarks/diffusion.py sample     # 20 steps of DDIM, 16 images

Both sides read the same weights; what they make of one input is compared first. Needs the extra `test`. The first row of a table
is genjax; a ratio above 1 is slower than genjax.
"""

import argparse
import tempfile
from pathlib import Path

from diffusion_torch import BATCHES, build, inputs, torch_images

from ab import against_torch, compare, machine, mkl_fast_path, table

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(BATCHES))
    parser.add_argument("--batch", type=int, default=0, help="images (default: see above)")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    batch = options.batch or BATCHES[options.kind]
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights"
        difference = save_weights(weights)
        wanted = [options.kind, f"--weights={weights}", f"--batch={batch}"]
        ours, theirs = ([str(HERE / f"diffusion_{side}.py"), *wanted] for side in ("genjax", "torch"))
        rows = compare(against_torch(ours, theirs, mkl_fast_path(Path(folder))), options.rounds)
    print(f"{options.kind}, {batch} images, float32")
    print(f"{machine()}; outputs of both sides differ by at most {difference:.1e}\n")
    print(table(rows))


def save_weights(folder: Path) -> float:
    """Random weights for both sides; returns the largest difference of what they compute."""
    import numpy as np
    import torch
    from diffusion_genjax import outputs

    from genjax.parallel.processes import leave_out_absent_tpu

    leave_out_absent_tpu()
    torch.manual_seed(0)
    model = build().eval()
    model.save_pretrained(folder)
    given = inputs(1)
    with torch.no_grad():
        expected = model(torch_images(given["image"]), torch.tensor(given["times"])).sample
    return float(np.abs(outputs(folder) - expected.permute(0, 2, 3, 1).numpy()).max())


if __name__ == "__main__":
    main()

"""StyleGAN2 at 256x256 (48.8M parameters of both players) against plain torch, in one run, float32.

    python benchmarks/stylegan2.py step           # a turn of each player on 4 images, and the average
    python benchmarks/stylegan2.py r1             # the discriminator's lazy turn on 4 images
    python benchmarks/stylegan2.py path_length    # the generator's lazy turn on 2 images, half the batch of 4
    python benchmarks/stylegan2.py average        # these three, and a step's time with r1 every 16 and path_length every 4 steps
    python benchmarks/stylegan2.py generate       # 8 images of z, truncated
    python benchmarks/stylegan2.py average --size=tiny --rounds=2    # a trial at 32x32

Both sides read the same weights; what they make of the same inputs is compared first. Needs the extra `test`. The first row of a
table is genjax; a ratio above 1 is slower than genjax.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stylegan2_torch import BATCHES, PATH_LENGTH_EVERY, R1_EVERY, SIZES
from stylegan2_torch import outputs as torch_outputs

from ab import against_torch, compare, machine, mkl_fast_path, table

HERE = Path(__file__).resolve().parent
SHARES = {"step": 1.0, "r1": 1 / R1_EVERY, "path_length": 1 / PATH_LENGTH_EVERY}  # of an average step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=[*BATCHES, "average"])
    parser.add_argument("--size", choices=list(SIZES), default="paper256")
    parser.add_argument("--batch", type=int, default=0, help="images (default: see above)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    kinds = list(SHARES) if options.kind == "average" else [options.kind]
    with tempfile.TemporaryDirectory() as folder:
        weights, fast = Path(folder) / "weights", mkl_fast_path(Path(folder))
        differences = save_weights(weights, options.size)
        print(f"{machine()}\nlargest differences of both sides, relative: {differences}")
        found = {}
        for kind in kinds:
            batch = options.batch or BATCHES[kind]
            wanted = [kind, f"--weights={weights}", f"--size={options.size}", f"--batch={batch}"]
            ours, theirs = ([str(HERE / f"stylegan2_{side}.py"), *wanted] for side in ("genjax", "torch"))
            found[kind] = compare(against_torch(ours, theirs, fast), options.rounds)
            print(f"\n{kind}, {options.size}, a batch of {batch}, float32\n\n{table(found[kind])}", flush=True)
    if options.kind == "average":
        print(f"\na step with both penalties, as often as they come\n\n{table(weighted(found))}")


def save_weights(folder: Path, size: str) -> str:
    """Random weights for both sides; how far apart what they compute is."""
    import numpy as np
    import stylegan2_genjax

    from genjax.parallel.processes import leave_out_absent_tpu

    leave_out_absent_tpu()
    stylegan2_genjax.save_weights(folder, size)
    ours, direction = stylegan2_genjax.outputs(folder, size)
    expected = torch_outputs(folder, size, np.array(direction))
    far = {name: np.abs(ours[name] - value).max() / np.abs(value).max() for name, value in expected.items()}
    return ", ".join(f"{name} {value:.1e}" for name, value in far.items())


def weighted(found: dict[str, Sequence[dict]]) -> list[dict]:
    """Rows of the contenders that made all kinds: their times added up, by how often each kind comes."""
    by_label = {kind: {row["label"]: row for row in rows} for kind, rows in found.items()}
    labels = [label for label in by_label["step"] if all(label in rows for rows in by_label.values())]
    rows = []
    for label in labels:
        each = {kind: of_kind[label] for kind, of_kind in by_label.items()}
        times = ("median_ms", "min_ms", "max_ms")
        row = {"label": label} | {name: sum(SHARES[kind] * each[kind][name] for kind in each) for name in times}
        rows.append(row | {"peak_memory_gb": max(one["peak_memory_gb"] for one in each.values())})
    for row in rows:
        row["ratio"] = row["median_ms"] / rows[0]["median_ms"]
    return rows


if __name__ == "__main__":
    main()

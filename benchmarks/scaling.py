"""Trains one recipe in several sizes and fits power laws to the held-out loss: docs/scaling.md and its picture.

    python benchmarks/scaling.py --config=configs/code/code_scaling.py --workdir=runs/scaling

Every size is a run of train.py on the same data for the same number of tokens; a run that is done is not repeated. Fits follow
Kaplan et al., 2020: L(N) = (N_c / N)^a over the finished runs, and L(C) = (C_c / C)^b over the lower envelope of all held-out
losses on the way, N counting parameters without embeddings and C = 6 N D in FLOPs.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
SIZES = ((2, 32), (2, 64), (3, 96), (4, 128))  # layers, width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/code/code_scaling.py")
    parser.add_argument("--workdir", default="runs/scaling", help="holds a run directory for each size")
    parser.add_argument("--out", default="docs/scaling.md", help="the page; its picture lies in images/ beside it")
    options, overrides = parser.parse_known_args()
    runs = [train(options, overrides, *size) for size in SIZES]
    page = ROOT / options.out
    picture = page.parent / "images" / f"{page.stem}.png"
    laws = {
        "parameters": fit([run["parameters"] for run in runs], [run["losses"][-1] for run in runs]),
        "compute": fit(*envelope(runs)),
    }
    plot(runs, laws, picture)
    page.write_text(describe(runs, laws, options, overrides, picture.relative_to(page.parent)), encoding="utf-8")
    print(f"wrote {page} and {picture}")


def train(options: argparse.Namespace, overrides: list[str], layers: int, width: int) -> dict:
    """One run to its end. Steps, parameters without embeddings, FLOPs and held-out losses."""
    workdir = Path(options.workdir) / f"{layers}x{width}"
    model = {"num_layers": layers, "embed_dim": width, "num_heads": max(1, width // 32)}
    arguments = [f"--config.task.model.{key}={value}" for key, value in model.items()]
    command = [sys.executable, "train.py", f"--config={options.config}", f"--workdir={workdir}", *arguments, *overrides]
    if code := subprocess.run(command, cwd=ROOT).returncode:
        sys.exit(code)  # train.py has said why
    lines = [json.loads(line) for line in (ROOT / workdir / "metrics.jsonl").read_text().splitlines()]
    held_out = {line["step"]: line for line in lines if "held_out/loss" in line}
    config = json.loads((ROOT / workdir / "config.json").read_text())
    tokens = config["data"]["batch_size"] * config["data"]["sequence_length"]
    parameters = 12 * layers * width**2
    steps = np.array(sorted(held_out))
    return {
        "name": f"{layers} x {width}",
        "parameters": parameters,
        "tokens": steps * tokens,
        "flops": 6.0 * parameters * tokens * steps,
        "losses": np.array([held_out[step]["held_out/loss"] for step in steps]),
        "bits_per_byte": held_out[steps[-1]]["held_out/bits_per_byte"],
    }


def fit(x, y) -> tuple[float, float, float]:
    """y = (scale / x) ** exponent by least squares of the logarithms; returns exponent, scale, largest relative residual."""
    slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
    residual = np.abs(np.exp(np.polyval((slope, intercept), np.log(x))) / np.asarray(y) - 1).max()
    return -slope, float(np.exp(-intercept / slope)), float(residual)


def envelope(runs: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Points (compute, loss) that no run has beaten with less compute. The first quarter of a run, where the rate has just warmed
    up, is left out."""
    pairs = [pair for run in runs for pair in list(zip(run["flops"], run["losses"], strict=True))[len(run["flops"]) // 4 :]]
    best, kept = np.inf, []
    for compute, loss in sorted(pairs):
        if loss < best:
            best = loss
            kept.append((compute, loss))
    return tuple(np.array(kept).T)


def plot(runs: list[dict], laws: dict, file: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    sizes = np.array([run["parameters"] for run in runs], float)
    left.loglog(sizes, [run["losses"][-1] for run in runs], "o")
    exponent, scale, _ = laws["parameters"]
    left.loglog(sizes, (scale / sizes) ** exponent, "--", label=f"(N / {scale:.2g})^-{exponent:.3f}")
    left.set(xlabel="parameters without embeddings", ylabel="held-out loss, nats a token", title="at the end of training")
    for run in runs:
        right.loglog(run["flops"], run["losses"], ".-", label=run["name"])
    compute, _ = envelope(runs)
    exponent, scale, _ = laws["compute"]
    right.loglog(compute, (scale / compute) ** exponent, "k--", label=f"(C / {scale:.2g})^-{exponent:.3f}")
    right.set(xlabel="training compute, FLOPs (6 N D)", title="on the way")
    for axes in (left, right):
        axes.grid(True, which="both", alpha=0.3)
        axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())  # its labels would run into each other
        axes.legend()
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def describe(runs: list[dict], laws: dict, options: argparse.Namespace, overrides: list[str], picture: Path) -> str:
    told = [argument for argument in overrides if "cache_dir" not in argument]
    command = " ".join(["python benchmarks/scaling.py", f"--config={options.config}", *told])
    rows = [
        f"| {run['name']} | {run['parameters']:,} | {run['tokens'][-1]:,} | {run['flops'][-1]:.2e} | {run['losses'][-1]:.3f} | "
        f"{run['bits_per_byte']:.3f} |"
        for run in runs
    ]
    (a, n, n_off), (b, c, c_off) = laws["parameters"], laws["compute"]
    return "\n".join(
        [
            "# Scaling of the code model on two CPU cores",
            "",
            f"Made by `{command}`:",
            f"one recipe in {len(runs)} sizes, the same data and tokens for each, one seed. Loss in nats a token.",
            "",
            f"![held-out loss against parameters and compute]({picture})",
            "",
            "| layers x width | parameters without embeddings | tokens | FLOPs (6 N D) | held-out loss | bits per byte |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"- Over parameters: L = (N / {n:.3g})^-{a:.3f}, largest residual {n_off:.1%}.",
            f"- Over compute, along the lower envelope: L = (C / {c:.3g})^-{b:.3f}, largest residual {c_off:.1%}.",
            "",
            "Kaplan et al., 2020, found exponents of 0.076 and 0.050 on web text with far larger networks. These fits are over",
            "less than two orders of magnitude of tiny networks, and say nothing beyond them.",
            "",
        ]
    )


if __name__ == "__main__":
    main()

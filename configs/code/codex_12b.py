"""The shape of Codex-12B (Chen et al., 2021): 40 layers of 5120, context 2048.

    python train.py --config=configs/code/codex_12b.py --workdir=runs/codex_12b --config.data.path=CODE_FOLDER

Hardware: 256 accelerators.
Published (the same, table 1; 100 billion tokens of Python, started from GPT-3): HumanEval pass@1 / 10 /
100 of 28.81 / 46.81 / 72.31 %. Not measured here.
"""

from code_pretraining import recipe


def get_config():
    return recipe("codex_12b", peak_lr=1e-4, batch_size=1024, mesh={"data": -1, "fsdp": 64})

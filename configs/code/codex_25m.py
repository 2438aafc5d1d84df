"""The shape of Codex-25M (Chen et al., 2021): 8 layers of 512, context 2048.

    python train.py --config=configs/code/codex_25m.py --workdir=runs/codex_25m --config.data.path=CODE_FOLDER

Hardware: one accelerator of 16 GB.
Published (the same, table 1; 100 billion tokens of Python, started from GPT-3): HumanEval pass@1 / 10 /
100 of 3.21 / 7.10 / 12.89 %. Not measured here.
"""

from code_pretraining import recipe


def get_config():
    return recipe("codex_25m", peak_lr=6e-4, accumulation=16)

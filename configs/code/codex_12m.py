"""The shape of Codex-12M (Chen et al., 2021): 4 layers of 512, context 2048.

    python train.py --config=configs/code/codex_12m.py --workdir=runs/codex_12m --config.data.path=CODE_FOLDER

Hardware: one accelerator of 16 GB.
Published (the same, table 1; 100 billion tokens of Python, started from GPT-3): HumanEval pass@1 / 10 /
100 of 2.00 / 3.62 / 8.58 %. Not measured here.
"""

from code_pretraining import recipe


def get_config():
    return recipe("codex_12m", peak_lr=6e-4, accumulation=8)

"""The shape of Codex-42M (Chen et al., 2021): 6 layers of 768, context 2048.

    python train.py --config=configs/code/codex_42m.py --workdir=runs/codex_42m --config.data.path=CODE_FOLDER

Hardware: one accelerator of 16 GB.
Published (the same, table 1; 100 billion tokens of Python, started from GPT-3): HumanEval pass@1 / 10 /
100 of 5.06 / 8.80 / 15.55 %. Not measured here.
"""

from code_pretraining import recipe


def get_config():
    return recipe("codex_42m", peak_lr=6e-4, accumulation=16)

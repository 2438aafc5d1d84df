"""The shape of Codex-85M (Chen et al., 2021): 12 layers of 768, context 2048.

    python train.py --config=configs/code/codex_85m.py --workdir=runs/codex_85m --config.data.path=CODE_FOLDER

Hardware: 8 accelerators of 16 GB.
Published (the same, table 1; 100 billion tokens of Python, started from GPT-3): HumanEval pass@1 / 10 /
100 of 8.22 / 12.81 / 22.40 %. Not measured here.
"""

from code_pretraining import recipe


def get_config():
    return recipe("codex_85m", peak_lr=6e-4, accumulation=4)

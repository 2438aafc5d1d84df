"""The shape of Codex-300M (Chen et al., 2021): 24 layers of 1024, context 2048.

    python train.py --config=configs/code/codex_300m.py --workdir=runs/codex_300m --config.data.path=CODE_FOLDER

Hardware: 8 to 32 accelerators.
Published (the same, table 1; 100 billion tokens of Python, started from GPT-3): HumanEval pass@1 / 10 /
100 of 13.17 / 20.37 / 36.27 %. Not measured here.
"""

from code_pretraining import recipe


def get_config():
    return recipe("codex_300m", peak_lr=3e-4)

"""The shape of Codex-679M (Chen et al., 2021): 24 layers of 1536, context 2048.

    python train.py --config=configs/code/codex_679m.py --workdir=runs/codex_679m --config.data.path=CODE_FOLDER

Hardware: 32 accelerators.
Published (the same, table 1; 100 billion tokens of Python, started from GPT-3): HumanEval pass@1 / 10 /
100 of 16.22 / 25.70 / 40.95 %. Not measured here.
"""

from code_pretraining import recipe


def get_config():
    return recipe("codex_679m", peak_lr=2.5e-4, mesh={"data": -1, "fsdp": 8})

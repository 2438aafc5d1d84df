"""The shape of Codex-2.5B (Chen et al., 2021): 32 layers of 2560, context 2048.

    python train.py --config=configs/code/codex_2500m.py --workdir=runs/codex_2500m --config.data.path=CODE_FOLDER

Hardware: 64 accelerators.
Published (the same, table 1; 100 billion tokens of Python, started from GPT-3): HumanEval pass@1 / 10 /
100 of 21.36 / 35.42 / 59.50 %. Not measured here.
"""

from code_pretraining import recipe


def get_config():
    return recipe("codex_2500m", peak_lr=1.6e-4, batch_size=512, mesh={"data": -1, "fsdp": 16})

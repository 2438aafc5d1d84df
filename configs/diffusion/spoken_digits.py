"""Spoken digits by diffusion: a 1-D U-Net over frames of 64 mel bands, told the digit; sounds by Griffin-Lim.

    python train.py --config=configs/diffusion/spoken_digits.py --workdir=runs/said
    python sample.py --workdir=runs/said --label=seven --num_samples=4 --out=sevens

Hardware: two CPU cores, an hour. GENJAX_DATA names the folder that holds spoken_digits.zip. Measured: the recognizer of
configs/speech/spoken_digits.py hears the asked digit in 95.0 % of them (benchmarks/RESULTS.md).
"""

from ml_collections import ConfigDict

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "diffusion",
                "model": {
                    "widths": (128, 192, 256),
                    "blocks": 2,
                    "groups": 16,
                    "attention_levels": (1, 2),
                    "head_width": 32,
                    "dropout": 0.1,
                },
                "process": {
                    "schedule": "edm",
                    "prediction": "edm",
                    "weighting": "edm",
                    "drawn": "log_normal",
                    "drawn_mean": -0.8,
                    "stratified": True,
                    "sigma_data": 0.5,
                    "sigma_min": 0.01,
                },
                "sampling": {"sampler": "dpm++_2m", "steps": 24, "guidance": 2.0, "clip": False},
            },
            "data": {
                "name": "sounds",
                "path": "$GENJAX_DATA/spoken_digits.zip",
                "name_pattern": r"(?P<text>\d)_(?P<speaker>[a-z]+)_\d+",
                "texts": {str(digit): word for digit, word in enumerate(DIGITS)},
                "labels": ("text",),
                "values": (DIGITS,),
                "batch_size": 64,
                "sample_rate": 8000,  # as recorded
                "num_mels": 64,
                "frames": 64,
            },
            "optimizer": {
                "name": "adam",
                "schedule": "warmup_cosine",
                "peak_lr": 1e-3,
                "end_lr": 1e-5,
                "warmup_steps": 200,
                "b2": 0.99,
                "clip_norm": 1.0,
            },
            "ema": {"decays": (0.999,)},
            "train": {
                "steps": 3000,
                "log_every": 25,
                "eval_every": 500,
                "sample_every": 1000,
                "checkpoint_every": 500,
            },
        }
    )

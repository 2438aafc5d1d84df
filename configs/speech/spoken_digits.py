"""Spoken digits, written down by a small Whisper; one of the five speakers is heard only when it is measured.

    python train.py --config=configs/speech/spoken_digits.py --workdir=runs/digits
    python -m genjax.sampling.text_evaluation --workdir=runs/digits --out=runs/digits/evaluation
    python sample.py --workdir=runs/digits --sound=$GENJAX_DATA/spoken_digits.zip/7_theo_3.wav --temperature=0

Hardware: two CPU cores, about half an hour for 128 passes over the data. GENJAX_DATA names the folder that holds
spoken_digits.zip.
Measured: a word error rate of 9.4 % on the speaker that was held out (benchmarks/RESULTS.md).
"""

from ml_collections import ConfigDict

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "speech",
                "model": {
                    "num_layers": 4,
                    "num_decoder_layers": 2,
                    "num_heads": 4,
                    "embed_dim": 128,
                    "source_length": 116,  # of 20 ms: the longest sound that is ever asked about
                    "dropout": 0.1,
                },
                "label_smoothing": 0.1,
                "prompts": ("$GENJAX_DATA/spoken_digits.zip/7_theo_3.wav",),
            },
            "data": {
                "name": "speech",
                "path": "$GENJAX_DATA/spoken_digits.zip",
                "name_pattern": r"(?P<text>\d)_(?P<speaker>[a-z]+)_\d+",
                "texts": {str(digit): word for digit, word in enumerate(DIGITS)},
                "held_out_speakers": ("theo",),
                "batch_size": 64,
                "sample_rate": 8000,  # as recorded
                "num_mels": 40,
                "max_frames": 112,  # all but 12 of the sounds
                "target_length": 8,
                # Four speakers are few: each sound comes faster and slower, and so higher and lower, louder and softer.
                "augmentation": {
                    "speed": 0.2,
                    "shift": 0.1,
                    "gain": 10.0,
                    "noise": 0.1,
                    "band_masks": 2,
                    "band_width": 8,
                    "time_masks": 2,
                    "time_width": 10,
                },
            },
            "optimizer": {
                "name": "muon",
                "schedule": "warmup_cosine",
                "peak_lr": 3e-3,
                "end_lr": 1e-4,
                "adam_lr": 2e-3,
                "warmup_steps": 100,
                "b1": 0.95,
                "b2": 0.98,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
            },
            "ema": {"decays": (0.995,)},
            "train": {
                "steps": 4000,
                "log_every": 10,
                "eval_every": 250,
                "sample_every": 1000,
                "checkpoint_every": 250,
            },
        }
    )

"""Fine-tuning the small code model on pairs: from signature and docstring to the body, with the loss on the body alone, as
Codex-S was made (Chen et al., 2021, section 4).

    python -m genjax.sampling.export --workdir=runs/code --out=runs/code_hf
    python train.py --config=configs/code/code_pairs.py --workdir=runs/code_pairs
    python sample.py --workdir=runs/code_pairs --function --prompt=$'def is_even(n):\\n    \"\"\"Whether n is even.\"\"\"\\n'

Hardware: two CPU cores, a few minutes. Pairs of your own: `--config.data.source=jsonl --config.data.pairs=fields
--config.data.path=PAIRS.jsonl`, with the fields prompt and completion on each line.
"""

from code_tiny import get_config as code_tiny
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = code_tiny()
    config.task.model.vocab_size = 4096  # the checkpoint's
    config.task.prompts = ('def is_even(n):\n    """Whether n is even."""\n',)
    config.data = ConfigDict(
        {
            "name": "pairs",
            "source": "stdlib",
            "pairs": "functions",
            "tokenizer": {"name": "pretrained", "path": "runs/code_hf"},
            "batch_size": 4,
            "sequence_length": 512,
            "evaluation_fraction": 0.05,
        }
    )
    config.optimizer.update(peak_lr=5e-4, adam_lr=3e-4, end_lr=0.0, warmup_steps=50)
    config.train.update(steps=600, init_from="runs/code_hf", eval_every=150, sample_every=300, checkpoint_every=300, keep_every=0)
    return config

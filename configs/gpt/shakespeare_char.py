"""A character model of tiny Shakespeare in nanoGPT's GPU configuration: 6 layers, 6 heads, 384 wide, context 256, batch 64.

    python train.py --config=configs/gpt/shakespeare_char.py --workdir=runs/shakespeare_char

Hardware: one GPU, a few minutes (hours on two CPU cores). GENJAX_DATA names the folder that holds tinyshakespeare.txt.
Published (nanoGPT's README): 1.4697 best validation loss. Not yet measured on a GPU.
"""

from shakespeare_char_cpu import get_config as small


def get_config():
    config = small()
    model = {"num_layers": 6, "num_heads": 6, "embed_dim": 384, "context_length": 256, "dropout": 0.2, "dtype": "bfloat16"}
    config.task.model.update(model)
    config.task.sample_tokens = 255
    config.data.update({"batch_size": 64, "sequence_length": 256})
    config.train.update({"steps": 5000, "eval_every": 250, "checkpoint_every": 250})
    return config

"""OpenAI's discrete VAE: the names of its public code (github.com/openai/DALL-E), whose parameters are called w and b.

Its encoder and its decoder are files of their own; together their names begin with "encoder." and "decoder.". The decoder's first
convolution reads one code as a vector of a 1 among 0: its kernel is our codebook.
"""

import re

from genjax.interop.gan_tables import Shapes
from genjax.interop.names import Row, Table
from genjax.interop.transforms import Chain, Merge, Transpose
from genjax.models.openai_dvae import DVAEConfig
from genjax.quantization.gumbel import GumbelConfig

_KERNEL = Transpose((2, 3, 1, 0))


def table(config: DVAEConfig) -> Table:
    c = config
    rows = [
        *_convolution("encoder.blocks.input", "encoder/conv_in"),
        *_convolution("encoder.blocks.output.conv", "encoder/conv_out"),
        *_convolution("decoder.blocks.output.conv", "decoder/conv_out"),
        Row(
            "decoder.blocks.input.w",
            ("params/bottleneck/embedding",),
            Chain((_KERNEL, Merge(0, (1, 1, c.bottleneck.codes)))),
        ),
        Row("decoder.blocks.input.b", ("params/decoder/bias",)),
    ]
    sides = (("encoder", c.hidden, c.widths()), ("decoder", c.bottleneck.width, c.widths()[::-1]))
    for side, before, widths in sides:
        for group, width in enumerate(widths):
            for number in range(c.blocks):
                theirs, ours = f"{side}.blocks.group_{group + 1}.block_{number + 1}", f"{side}/group_{group}_{number}"
                for conv in range(4):
                    rows += _convolution(f"{theirs}.res_path.conv_{conv + 1}", f"{ours}/conv_{conv}")
                rows += _convolution(f"{theirs}.id_path", f"{ours}/shortcut") if before != width else []
                before = width
    return Table(tuple(rows))


def infer(shapes: Shapes) -> DVAEConfig:
    """The config that the tensors' shapes tell."""
    hidden, channels = shapes.axes("encoder.blocks.input.w", 4)[:2]
    width, codes = shapes.axes("decoder.blocks.input.w", 4)[:2]
    places = [match.groups() for key in shapes if (match := re.match(r"encoder\.blocks\.group_(\d+)\.block_(\d+)\.", key))]
    groups, blocks = (len({place[i] for place in places}) for i in (0, 1))
    return DVAEConfig(GumbelConfig(codes, width), channels, hidden, groups, blocks)


def _convolution(theirs: str, ours: str) -> list[Row]:
    return [Row(f"{theirs}.w", (f"params/{ours}/kernel",), _KERNEL), Row(f"{theirs}.b", (f"params/{ours}/bias",))]

"""The hyper-parameters of a convolutional autoencoder, and the blocks that follow from them in the order in which they run."""

from dataclasses import dataclass, field
from typing import Literal

from genjax.errors import ConfigError
from genjax.layers.attention import Implementation
from genjax.models.checks import check_sizes
from genjax.models.unet_config import Initialization, Step
from genjax.quantization.kinds import BottleneckConfig
from genjax.quantization.vector import VectorConfig


@dataclass(frozen=True)
class AutoencoderConfig:
    """The hyper-parameters of an autoencoder. The defaults are VQGAN's for ImageNet at 1/16 of the size (Esser et al., 2021).

    Attributes:
        bottleneck: what stands between encoder and decoder.
        channels: of an image.
        out_channels: of what the decoder gives; 0 for `channels`.
        widths: channels of each level, from the finest; each next one has half the height and width.
        blocks: residual blocks of a level of the encoder; those of the decoder have one more.
        attention_levels: levels whose residual blocks each have an attention block, the finest being 0.
        middle_attention: whether the middle has one.
        heads: of attention.
        latent_channels: of what the encoder gives and the decoder reads; twice as many where a mean and a log-variance are given.
        project_in, project_out: whether a convolution of size 1 stands between encoder and bottleneck, and between bottleneck and
            decoder.
        latent_scale, latent_shift: what is done to latents when another model learns them: (latent - shift) * scale. The
            autoencoder itself does not look at it.
        groups, norm_epsilon: of GroupNorm.
        initialization: of kernels, see `UNetConfig`.
        dropout: share dropped in residual blocks while training.
        dtype: the computation's dtype; parameters, norms' statistics, the bottleneck and the last norm and convolution are
            float32.
        attention: the attention kernel.
    """

    bottleneck: BottleneckConfig = field(default_factory=lambda: VectorConfig(16384, 256, "loss"))
    channels: int = 3
    out_channels: int = 0
    widths: tuple[int, ...] = (128, 128, 256, 256, 512)
    blocks: int = 2
    attention_levels: tuple[int, ...] = (4,)
    middle_attention: bool = True
    heads: int = 1
    latent_channels: int = 256
    project_in: bool = True
    project_out: bool = True
    latent_scale: float = 1.0
    latent_shift: float = 0.0
    groups: int = 32
    norm_epsilon: float = 1e-6
    initialization: Initialization = "torch"
    dropout: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Implementation = "auto"

    # What the blocks of a U-Net may do beside this.
    scale_shift = False
    skip_scale = 1.0

    def __post_init__(self):
        check_sizes(self, ("channels", "blocks", "heads", "latent_channels", "groups"), ("out_channels",))
        if not self.widths or min(self.widths) < 1:
            raise ConfigError(f"model.widths is {self.widths}; it must have the channels of one level or more.")
        if unknown := [level for level in self.attention_levels if not 0 <= level < len(self.widths)]:
            raise ConfigError(
                f"model.attention_levels has {unknown}; levels are 0 to {len(self.widths) - 1}, as model.widths has."
            )
        for name in ("groups", "heads"):
            if wrong := [width for width in self.widths if width % getattr(self, name)]:
                raise ConfigError(
                    f"model.widths is {self.widths}; {wrong[0]} does not divide by model.{name} {getattr(self, name)}."
                )
        for name, given, needed in (
            ("project_in", self.latent_channels * self.moments, self.bottleneck.inputs),
            ("project_out", self.latent_channels, self.bottleneck.outputs),
        ):
            if not getattr(self, name) and given != needed:
                raise ConfigError(
                    f"model.{name} is False, but {given} channels stand on one side of the bottleneck's edge and {needed} on the "
                    "other; set model.latent_channels to fit, or project."
                )

    @property
    def factor(self) -> int:
        """What the sides of an image must be multiples of: so many times smaller are those of its codes."""
        return 2 ** (len(self.widths) - 1)

    @property
    def moments(self) -> int:
        """Numbers of the encoder for each of `latent_channels`."""
        return 2 if self.bottleneck.inputs == 2 * self.bottleneck.outputs else 1

    def groups_of(self, channels: int) -> int:
        return self.groups

    def heads_of(self, channels: int) -> int:
        return self.heads


def encoder_layout(config: AutoencoderConfig) -> tuple[Step, ...]:
    """The encoder's blocks between its first convolution and its last norm."""
    c, steps, before = config, [], config.widths[0]
    last = len(c.widths) - 1
    for level, after in enumerate(c.widths):
        for number in range(c.blocks):
            attends = "self" if level in c.attention_levels else ""
            steps.append(_step("down", level, number, before, after, attends))
            before = after
        if level < last:
            steps.append(_step("down", level, 0, after, after, resample="halve"))
    return (*steps, *_middle(c))


def decoder_layout(config: AutoencoderConfig) -> tuple[Step, ...]:
    """The decoder's."""
    c, steps, before = config, list(_middle(config)), config.widths[-1]
    for level in reversed(range(len(c.widths))):
        after = c.widths[level]
        for number in range(c.blocks + 1):
            attends = "self" if level in c.attention_levels else ""
            steps.append(_step("up", level, number, before, after, attends))
            before = after
        if level:
            steps.append(_step("up", level, 0, after, after, resample="double"))
    return tuple(steps)


def _middle(c: AutoencoderConfig) -> list[Step]:
    last, width = len(c.widths) - 1, c.widths[-1]
    return [
        _step("middle", last, 0, width, width, "self" if c.middle_attention else ""),
        _step("middle", last, 1, width, width),
    ]


def _step(way, level: int, number: int, before: int, after: int, attends="", resample="") -> Step:
    name = f"middle_{number}" if way == "middle" else f"{way}_{level}_{resample or number}"
    places = level + {"": 0, "halve": 1, "double": -1}[resample]
    return Step(name, way, level, number, resample, before, after, places, before != after, attends)

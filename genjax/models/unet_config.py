"""The hyper-parameters of a U-Net, and the blocks that follow from them in the order in which they run."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from genjax.errors import ConfigError
from genjax.layers.attention import Implementation
from genjax.models.checks import check_sizes

Attends = Literal["", "self", "context"]
Initialization = Literal["xavier", "zero", "torch"]


@dataclass(frozen=True)
class UNetConfig:
    """The hyper-parameters of a U-Net. The defaults are DDPM's for CIFAR-10, 35.7M parameters.

    Attributes:
        dimensions: axes of a sample beside channels: 2 for images, 1 for sounds.
        in_channels, out_channels: of the sample, and of what is said of it.
        widths: channels of each level, from the finest.
        stem_width: channels after the first convolution, and numbers that first describe the time; 0 for the finest level's.
        blocks: residual blocks of a level on the way down; the way up has one more.
        attention_levels: levels whose residual blocks each have an attention block, the finest being 0.
        up_attention: "last": on the way up, only after the last block of such a level (DDPM++).
        middle_attention: whether the middle has one.
        head_width: of attention; 0 for `heads` heads.
        heads: how many, where they have no width.
        cross_attention_levels: levels whose attention blocks are transformers that also attend a context.
        context_width: features of that context; the middle attends it too. 0 for none.
        transformer_layers: of each such transformer.
        linear_projection: whether matrices stand around it (Stable Diffusion 2), not convolutions of size 1: another shape.
        groups, norm_epsilon: of GroupNorm.
        least_group_width: channels that a group has at least, for which there may be fewer groups; 0 for none.
        scale_shift: time scales and shifts the features (ADM) in place of being added.
        skip_scale: what the sum of a block's input and output is multiplied by; sqrt(1/2) in DDPM++.
        resample: "conv", a strided convolution, and one after doubling; "block", a residual block (BigGAN; Brock et al., 2019).
        project_resampled: whether such a block projects its input although the channels are the same (DDPM++).
        asymmetric: whether a strided convolution pads after the last row and column alone (DDPM) or on all sides.
        time_width: of the time embedding; 0 for 4 times `stem_width`.
        sine_first: whether sines come before cosines in it.
        frequency_shift: subtracted from the number of frequencies (1 in DDPM).
        num_classes: 0 for a network that knows none. Class `num_classes` is that of no class, where `null_class`.
        null_class: whether there is a class more, "none", which guidance needs.
        early_classes: whether classes are added to the time's frequencies (DDPM++) or to what two layers make of them (ADM).
        condition_features: of a vector that comes with each sample and is added to the frequencies; 0 for none.
        self_conditioning: whether the network also sees its last prediction of the clean sample (Chen et al., 2023).
        initialization: of kernels. "xavier": as DDPM's, with all that a block adds near 0; "zero": as torch's, with all that a
            block adds 0 (ADM); "torch": as torch's (diffusers).
        dropout: share dropped in residual blocks while training.
        remat: whether blocks are computed again in the backward pass.
        dtype: the computation's dtype; parameters, norms' statistics, the embedding of time and the last norm and convolution are
            float32.
        attention: the attention kernel.
    """

    dimensions: Literal[1, 2] = 2
    in_channels: int = 3
    out_channels: int = 3
    widths: tuple[int, ...] = (128, 256, 256, 256)
    stem_width: int = 0
    blocks: int = 2
    attention_levels: tuple[int, ...] = (1,)
    up_attention: Literal["all", "last"] = "all"
    middle_attention: bool = True
    head_width: int = 0
    heads: int = 1
    cross_attention_levels: tuple[int, ...] = ()
    context_width: int = 0
    transformer_layers: int = 1
    linear_projection: bool = False
    groups: int = 32
    norm_epsilon: float = 1e-6
    least_group_width: int = 0
    scale_shift: bool = False
    skip_scale: float = 1.0
    resample: Literal["conv", "block"] = "conv"
    project_resampled: bool = False
    asymmetric: bool = False
    time_width: int = 0
    sine_first: bool = False
    frequency_shift: int = 0
    num_classes: int = 0
    null_class: bool = False
    early_classes: bool = False
    condition_features: int = 0
    self_conditioning: bool = False
    initialization: Initialization = "xavier"
    dropout: float = 0.0
    remat: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Implementation = "auto"

    def __post_init__(self):
        check_sizes(
            self,
            ("in_channels", "out_channels", "blocks", "groups", "heads", "transformer_layers"),
            (
                *("stem_width", "head_width", "context_width", "least_group_width", "time_width", "num_classes"),
                "condition_features",
            ),
        )
        if not self.widths or min(self.widths) < 1:
            raise ConfigError(f"model.widths is {self.widths}; it must have the channels of one level or more.")
        for name in ("attention_levels", "cross_attention_levels"):
            if unknown := [level for level in getattr(self, name) if not 0 <= level < len(self.widths)]:
                raise ConfigError(f"model.{name} has {unknown}; levels are 0 to {len(self.widths) - 1}, as model.widths has.")
        if both := sorted({*self.attention_levels} & {*self.cross_attention_levels}):
            raise ConfigError(f"levels {both} are in model.attention_levels and in model.cross_attention_levels; choose one.")
        attends = bool(self.cross_attention_levels or (self.context_width and self.middle_attention))
        if attends != bool(self.context_width):
            raise ConfigError(
                f"model.context_width is {self.context_width}, and model.cross_attention_levels {self.cross_attention_levels}: "
                "a context needs both its width and blocks that attend it."
            )
        steps = layout(self)
        channels = {self.stem, *(step.before for step in steps), *(step.after for step in steps)}
        if wrong := sorted(width for width in channels if width % self.groups_of(width)):
            raise ConfigError(
                f"model.widths is {self.widths}; {wrong[0]} channels do not divide into {self.groups_of(wrong[0])} groups. "
                f"Use multiples of model.groups, {self.groups}, or fewer groups."
            )
        name, number = ("head_width", self.head_width) if self.head_width else ("heads", self.heads)
        if wrong := sorted({step.after for step in steps if step.attends and step.after % number}):
            raise ConfigError(f"model.{name} {number} does not divide {wrong} of model.widths; use a divisor.")

    @property
    def stem(self) -> int:
        return self.stem_width or self.widths[0]

    @property
    def time_features(self) -> int:
        return self.time_width or 4 * self.stem

    @property
    def factor(self) -> int:
        """What the places along each axis must be a multiple of."""
        return 2 ** (len(self.widths) - 1)

    @property
    def class_rows(self) -> int:
        return self.num_classes + self.null_class if self.num_classes else 0

    def groups_of(self, channels: int) -> int:
        """Groups of a GroupNorm over so many channels."""
        return max(1, min(self.groups, channels // self.least_group_width)) if self.least_group_width else self.groups

    def heads_of(self, channels: int) -> int:
        """Heads of attention between features of so many channels."""
        return channels // self.head_width if self.head_width else self.heads


class Step(NamedTuple):
    """One residual block, or what halves or doubles the places, and the attention behind it.

    Attributes:
        name: of its parameters; those of its attention have "_attention" behind it.
        way: "down" leaves its result for the way up; "up" reads, but to double, such a result beside its input, the last first.
        level, number: where it stands; 0 is the finest level and the first block of a level.
        resample: what it does to the places.
        before, after: channels that it reads and leaves.
        places: the level whose places it leaves.
        projects: whether a residual block's input is projected before it is added.
        attends: what the attention behind it sees: places, or a context too; "" for no attention.
    """

    name: str
    way: Literal["down", "middle", "up"]
    level: int
    number: int
    resample: Literal["", "halve", "double"]
    before: int
    after: int
    places: int
    projects: bool
    attends: Attends


def layout(config: UNetConfig) -> tuple[Step, ...]:
    """All blocks between the first convolution and the last norm."""
    c, steps, skips, width = config, [], [config.stem], config.stem

    def attends(level: int) -> Attends:
        return "context" if level in c.cross_attention_levels else "self" if level in c.attention_levels else ""

    def step(way, level, number, after, attends="", resample="", beside=0):
        nonlocal width
        name = f"{way}_{level}_{resample or number}" if way != "middle" else f"middle_{number}"
        before = width + beside
        projects = before != after or bool(resample) and c.project_resampled
        places = level + {"": 0, "halve": 1, "double": -1}[resample]
        steps.append(Step(name, way, level, number, resample, before, after, places, projects, attends))
        width = after

    last = len(c.widths) - 1
    for level, after in enumerate(c.widths):
        for number in range(c.blocks):
            step("down", level, number, after, attends(level))
            skips.append(after)
        if level < last:
            step("down", level, 0, after, resample="halve")
            skips.append(after)
    middle = ("context" if c.context_width else "self") if c.middle_attention else ""
    step("middle", last, 0, width, middle)
    step("middle", last, 1, width)
    for level in range(last, -1, -1):
        for number in range(c.blocks + 1):
            sees = attends(level) if c.up_attention == "all" or number == c.blocks else ""
            step("up", level, number, c.widths[level], sees, beside=skips.pop())
        if level:
            step("up", level, 0, width, resample="double")
    return tuple(steps)

"""Two images a row (`data.name = "image_pairs"`): one given and one wanted, of the same thing, or of two kinds of things that
have nothing to do with each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from jaxtyping import Int, UInt8

from genjax.config import structure
from genjax.data.augmentation import AugmentationConfig, augment
from genjax.data.checks import check_limits
from genjax.data.dataset import Batches, Dataset, Datasets, Reading
from genjax.data.draws import uniforms
from genjax.data.found import save_found
from genjax.data.hashing import digest
from genjax.data.image_arrays import ImageArrays, decode_images
from genjax.data.image_files import is_image
from genjax.data.images import hold_out
from genjax.data.sources.trees import Tree
from genjax.errors import ConfigError, DataError

FORMAT = "1"  # of the rows: change it when the same config gives other batches than before
TARGET_STREAM, CROP_STREAM, PARTNER_STREAM = 0x746772, 0x637270, 0x70726E
HALVES = ("left", "right")

Pixels = UInt8[np.ndarray, "images height width channels"]


@dataclass(frozen=True)
class ImagePairsConfig:
    """Pairs of images, from their source to the rows of a batch."""

    name: str = "image_pairs"
    path: str = ""  # a folder, or a .zip or .tar archive; $NAME and ~ are expanded
    # side_by_side: each file holds both, as pix2pix has them; folders: two folders with files of the same names; unpaired: two
    # folders, each row an image of one with any of the other.
    layout: Literal["side_by_side", "folders", "unpaired"] = "side_by_side"
    source: str = "right"  # what is given: a half (left, right), or a folder
    target: str = "left"  # what is wanted
    train: str = ""  # side_by_side: the folder within the path that holds the training pairs ("": all that no other holds)
    evaluation: str = ""  # side_by_side: the folder of held-out pairs; it takes the place of evaluation_fraction
    evaluation_fraction: float = 0.1  # of the pairs, by hash of their names; unpaired: of names, held out on both sides
    image_size: int = 0  # height and width that each is brought to; 0: as they are, which must be one size
    fit: Literal["crop", "stretch"] = "stretch"
    channels: Literal[1, 3] = 3
    crop: int = 0  # pixels of a random crop from it, the same of both; held out the middle; 0: none
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)  # of a pair the same for both
    batch_size: int = 1  # of a global batch, over all processes
    shuffle: bool = True
    cache_dir: str = ""  # where decoded images are kept and shared; "": beside the run
    # How it is read. None of these changes a batch.
    num_threads: int = 2
    num_workers: int = 0
    prefetch: int = 8

    def __post_init__(self):
        if not self.path:
            raise ConfigError("data.path is empty; name a folder or an archive of images.")
        check_limits(self, optional=("image_size", "crop"))
        if self.crop and self.image_size and self.crop > self.image_size:
            raise ConfigError(f"data.crop {self.crop} is larger than data.image_size {self.image_size}.")
        if self.source == self.target:
            raise ConfigError(f"data.source and data.target are both {self.source!r}; name what is given and what is wanted.")
        if self.layout == "side_by_side" and {self.source, self.target} != set(HALVES):
            raise ConfigError(
                f"data.source is {self.source!r} and data.target {self.target!r}; of images side by side they are 'left' and "
                "'right', or the reverse."
            )
        if self.layout != "side_by_side" and (self.train or self.evaluation):
            raise ConfigError(f"data.train and data.evaluation are folders of images side by side, not of '{self.layout}'.")


@dataclass(frozen=True)
class ImagePairsInfo:
    """Pairs in figures.

    Attributes:
        height, width: of both images of a row; 0 in a description that does not know them.
        paired: whether they show the same thing.
        num_rows: of an epoch.
        kinds: what the two are called.
    """

    batch_size: int
    height: int
    width: int
    channels: int
    paired: bool
    kinds: tuple[str, str]
    num_rows: int = 0

    def save(self, run: Path) -> None:
        """Leaves in the run directory what its data said of itself."""
        save_found(run, {"image_size": self.height})

    def __str__(self) -> str:
        what = "pairs" if self.paired else "rows of two kinds"
        size = f"{self.height}x{self.width} pixels and {self.channels} channels"
        return f"{self.num_rows:,} {what} of images of {size}, {self.kinds[0]} to {self.kinds[1]}"


def build_image_pairs(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`."""
    c = structure(ImagePairsConfig, config, "config.data")
    cache_dir = Path(c.cache_dir).expanduser() if c.cache_dir else cache_dir
    train, evaluation, fingerprint = (_read_halves if c.layout == "side_by_side" else _read_folders)(c, cache_dir)
    height, width = train.sources.shape[1:3]
    if c.crop > min(height, width):
        raise ConfigError(f"data.crop {c.crop} is larger than the images, which are {height}x{width} pixels.")
    sides = (c.crop, c.crop) if c.crop else (height, width)
    decides = (
        *(c.layout, c.source, c.target, c.evaluation_fraction, c.image_size, c.fit, c.channels, c.crop, c.batch_size),
        *(c.shuffle, c.augmentation, seed),
    )

    def dataset(images: "_Two", training: bool) -> Dataset:
        paired = c.layout != "unpaired" or not training
        rows = PairRows(images.sources, images.targets, paired, sides, c.augmentation if training else None, seed)
        info = ImagePairsInfo(c.batch_size, *sides, c.channels, c.layout != "unpaired", (c.source, c.target), rows.num_rows)
        batches = Batches(rows, c.batch_size, seed if c.shuffle and training else None, endless=training)
        reading = Reading(c.num_threads, c.num_workers, c.prefetch)
        return Dataset(info, digest(FORMAT, fingerprint, repr(decides), str(training)), batches, reading)

    return Datasets(dataset(train, True), dataset(evaluation, False) if len(evaluation.sources) else None)


def describe_image_pairs(config: Mapping[str, Any], tokenizer: Any = None) -> ImagePairsInfo:
    """See `genjax.data.describe`."""
    c = structure(ImagePairsConfig, config, "config.data")
    side = c.crop or c.image_size
    return ImagePairsInfo(c.batch_size, side, side, c.channels, c.layout != "unpaired", (c.source, c.target))


@dataclass(frozen=True, eq=False)
class _Two:
    """Images of two kinds; where they are pairs, those of one number belong together."""

    sources: Pixels
    targets: Pixels


def _read_halves(c: ImagePairsConfig, cache_dir: Path | None) -> tuple[_Two, _Two, str]:
    """Training pairs, held-out pairs, and a fingerprint, from files that hold both."""

    def read(folder: str, others: str = "") -> tuple[_Two, ImageArrays, str]:
        within = lambda name, part: not part or name.startswith(f"{part.strip('/')}/")  # noqa: E731
        wanted = lambda name: is_image(name) and within(name, folder) and not (others and within(name, others))  # noqa: E731
        tree = Tree(c.path, wanted, f"{folder} without {others}" if folder or others else "")
        found = decode_images(tree, c.image_size, c.fit, c.channels, cache_dir, halves=True)
        half = found.images.shape[2] // 2
        sides = {"left": found.images[:, :, :half], "right": found.images[:, :, half:]}
        return _Two(sides[c.source], sides[c.target]), found, tree.fingerprint

    pairs, found, fingerprint = read(c.train, c.evaluation)
    if c.evaluation:
        held_out, _, other = read(c.evaluation)
        return pairs, held_out, digest(fingerprint, other)
    out = hold_out(found.names, c.evaluation_fraction)
    return _taken(pairs, np.flatnonzero(~out)), _taken(pairs, np.flatnonzero(out)), fingerprint


def _read_folders(c: ImagePairsConfig, cache_dir: Path | None) -> tuple[_Two, _Two, str]:
    """The same from two folders."""

    def read(folder: str) -> tuple[dict[str, int], Pixels, str]:
        prefix = f"{folder.strip('/')}/"
        tree = Tree(c.path, lambda name: is_image(name) and name.startswith(prefix), folder)
        found = decode_images(tree, c.image_size, c.fit, c.channels, cache_dir)
        stems = {str(PurePosixPath(name[len(prefix) :]).with_suffix("")): number for number, name in enumerate(found.names)}
        return stems, found.images, tree.fingerprint

    (sources, source_images, first), (targets, target_images, second) = read(c.source), read(c.target)
    if source_images.shape[1:] != target_images.shape[1:]:
        raise DataError(
            f"the images of {c.source} are {source_images.shape[1]}x{source_images.shape[2]} pixels and those of {c.target} "
            f"{target_images.shape[1]}x{target_images.shape[2]}; set data.image_size to bring them to one size."
        )
    shared = sorted(sources.keys() & targets.keys())
    alone = sorted(sources.keys() ^ targets.keys())
    if c.layout == "folders" and alone:
        raise DataError(
            f"{c.path}: {len(alone):,} images lie in one of {c.source} and {c.target} alone, such as {', '.join(alone[:3])}; "
            "pairs have the same name in both: remove them, or set data.layout to 'unpaired'."
        )
    out = {name for name, held in zip(shared, hold_out(shared, c.evaluation_fraction), strict=True) if held}
    places = lambda stems, names: np.array([stems[name] for name in names], np.int64)  # noqa: E731
    pairs = lambda names: _Two(source_images[places(sources, names)], target_images[places(targets, names)])  # noqa: E731
    held_out = pairs(sorted(out))
    if c.layout == "folders":
        return pairs([name for name in shared if name not in out]), held_out, digest(first, second)
    left = lambda stems, images: images[places(stems, sorted(stems.keys() - out))]  # noqa: E731
    return _Two(left(sources, source_images), left(targets, target_images)), held_out, digest(first, second)


def _taken(two: _Two, index: Int[np.ndarray, " chosen"]) -> _Two:
    return _Two(two.sources[index], two.targets[index])


@dataclass(frozen=True, eq=False)
class PairRows:
    """Two images a row: source, target (uint8), mask (1; the rows that fill a last batch have 0).

    Attributes:
        paired: whether row i is the source and the target of number i; else an epoch has as many rows as there are of the kind
            that has more, and each meets another of the other kind in each epoch.
        sides: height and width of a crop.
        augmentation: None for held-out rows, whose crop is the middle.
    """

    sources: Pixels
    targets: Pixels
    paired: bool
    sides: tuple[int, int]
    augmentation: AugmentationConfig | None
    seed: int

    @property
    def num_rows(self) -> int:
        return max(len(self.sources), len(self.targets))

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        image = ((*self.sides, self.sources.shape[-1]), np.dtype(np.uint8))
        return {"source": image, "target": image, "mask": ((), np.dtype(np.int32))}

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        first, second = rows, rows
        if not self.paired:
            share = uniforms(self.seed, PARTNER_STREAM, epochs, rows, 1)[:, 0]
            partner = lambda kind: (share * len(kind)).astype(np.int64)  # noqa: E731
            fewer_sources = len(self.sources) < len(self.targets)
            first, second = (partner(self.sources), rows) if fewer_sources else (rows, partner(self.targets))
        found = {}
        for name, images, chosen, number in (("source", self.sources, first, 0), ("target", self.targets, second, 1)):
            # What is drawn for a pair is the same for both.
            stream = TARGET_STREAM + number * (not self.paired)
            taken = self._cropped(np.asarray(images[chosen]), epochs, rows, CROP_STREAM + stream)
            if self.augmentation is not None:
                taken = augment(taken, self.augmentation, self.seed, epochs, rows, stream)
            found[name] = taken
        return found | {"mask": np.ones(len(rows), np.int32)}

    def _cropped(self, images: Pixels, epochs: np.ndarray, rows: np.ndarray, stream: int) -> Pixels:
        height, width = self.sides
        room = np.array([images.shape[1] - height, images.shape[2] - width])
        if not room.any():
            return images
        share = np.full((len(images), 2), 0.5)
        if self.augmentation is not None:
            share = uniforms(self.seed, stream, epochs, rows, 2)
        starts = np.minimum((share * (room + 1)).astype(np.int64), room)
        return np.stack([image[y : y + height, x : x + width] for image, (y, x) in zip(images, starts, strict=True)])

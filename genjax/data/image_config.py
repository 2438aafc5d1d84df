"""The config section `data` of images (`data.name = "images"`)."""

from dataclasses import dataclass, field
from typing import Literal

from genjax.data.augmentation import AugmentationConfig
from genjax.data.checks import check_limits
from genjax.data.image_arrays import OnCorrupt
from genjax.errors import ConfigError


@dataclass(frozen=True)
class ImagesDataConfig:
    """Images with or without classes, from their source to the rows of a batch."""

    name: str = "images"
    # folders: files below a folder or in a .zip or .tar archive; idx: a file ...images-idx3-..., beside which the file
    # ...labels-idx1-... lies; tfds: a dataset prepared as array_record.
    source: Literal["folders", "idx", "tfds"] = "folders"
    path: str = ""  # $NAME and ~ are expanded; tfds: the data_dir ("": TFDS' default)
    evaluation_path: str = ""  # folders, idx: held-out images; takes the place of evaluation_fraction
    evaluation_fraction: float = 0.1  # of the images, chosen by their content: equal images stay together
    tfds_name: str = ""  # tfds: the dataset, for example "cifar10"
    tfds_split: str = "train"  # tfds: also slices such as "train[:50%]"
    evaluation_tfds_split: str = ""  # tfds: takes the place of evaluation_fraction
    image_field: str = "image"  # tfds: the feature that holds the image
    # What says the class of an image. folders: the folder that a file lies in; metadata: its line in a metadata.jsonl (see
    # genjax.data.metadata); none: nothing, files may lie anywhere, and every label is 0. idx and tfds bring labels of their own,
    # which "none" leaves out.
    labels: Literal["folders", "metadata", "none"] = "folders"
    label_field: str = "label"  # metadata, tfds: the field that holds the class: its name, or its number from 0
    classes: tuple[str, ...] = ()  # names, in the order of the labels; () takes them as found, names sorted
    # Height and width in pixels; 0: as the images are, which must be of one size. Larger and smaller images are scaled to it; of
    # those that are not square, "crop" keeps the middle, "stretch" all of it. A run notes which were enlarged or much changed.
    image_size: int = 0
    fit: Literal["crop", "stretch"] = "crop"
    channels: Literal[1, 3] = 3
    on_corrupt: OnCorrupt = "raise"  # an image that cannot be decoded: an error that names it, or left out and noted
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    batch_size: int = 32  # of a global batch, over all processes
    shuffle: bool = True  # rows in an order drawn from the seed, another one each epoch
    # How it is read. None of these changes a batch.
    num_threads: int = 2
    num_workers: int = 0
    prefetch: int = 8
    cache_dir: str = ""  # a folder for decoded images that runs share; "": the one that the run gives

    def __post_init__(self):
        check_limits(self, optional=("image_size",))
        if self.source == "idx" and self.channels != 1:
            raise ConfigError(f"data.channels is {self.channels}, but the images of IDX files are grey; set it to 1.")
        if self.source != "folders" and self.labels == "metadata":
            raise ConfigError(f"data.labels is 'metadata', but data.source '{self.source}' has labels of its own; leave it out.")
        if self.labels == "none" and self.classes:
            raise ConfigError(f"data.classes names {len(self.classes)} classes, but data.labels is 'none'; leave one out.")
        if self.source == "tfds" and not self.tfds_name:
            raise ConfigError("data.source is 'tfds', but data.tfds_name is empty; name the dataset, for example 'cifar10'.")
        if self.source == "tfds" and self.evaluation_path:
            raise ConfigError("data.evaluation_path does not go with data.source='tfds'; use data.evaluation_tfds_split.")
        if self.source != "tfds" and self.evaluation_tfds_split:
            raise ConfigError(
                f"data.evaluation_tfds_split does not go with data.source='{self.source}'; use data.evaluation_path."
            )

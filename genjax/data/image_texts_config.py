"""The config section `data` of images with texts (`data.name = "image_texts"`)."""

from dataclasses import dataclass, field
from typing import Literal

from genjax.data.augmentation import AugmentationConfig
from genjax.data.checks import check_limits
from genjax.data.text_config import TokenizerConfig
from genjax.errors import ConfigError


@dataclass(frozen=True)
class ImageTextsDataConfig:
    """Images with texts, from their source to the rows of a batch."""

    name: str = "image_texts"
    source: Literal["files", "tfds"] = "files"  # tfds: a dataset prepared as array_record
    # files: a folder, or .zip or .tar archives (a glob names several), with metadata.jsonl or a .txt or .json beside each image;
    # tfds: the data_dir ("": TFDS' default). $NAME and ~ are expanded.
    path: str = ""
    evaluation_fraction: float = 0.1  # of the file names, chosen by hash: a picture of the same name is held out in every view
    tfds_name: str = ""  # tfds: the dataset, for example "coco_captions"
    tfds_split: str = "train"  # tfds: also slices such as "train[:50%]"
    evaluation_tfds_split: str = ""  # tfds: takes the place of evaluation_fraction
    image_field: str = "image"  # tfds: the feature that holds the image
    # Folders that hold pictures of the same things under the same file names: a row then has two pictures, of two views drawn
    # in training (`image` and `second_image`), or of the first and the second one.
    views: tuple[str, ...] = ()
    # A text, or a list of them, of which each row has one; held-out rows have the first. tfds: "captions/text" is the feature
    # "text" of each of "captions".
    text_field: str = "text"
    # A list of words beside the texts. Each row then has, in equal shares, the text, the text and some of the words, or only some
    # of the words, in an order drawn. Held-out rows have the text.
    words_field: str = ""
    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig(name="wordpiece"))
    context_length: int = 77  # tokens of a row, the special ones with them
    image_size: int = 0  # height and width in pixels; 0: as the images are
    fit: Literal["crop", "stretch"] = "crop"
    channels: Literal[1, 3] = 3
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    batch_size: int = 32  # rows of a global batch, over all processes
    shuffle: bool = True
    # How it is read. None of these changes a batch.
    num_threads: int = 2
    num_workers: int = 0
    prefetch: int = 8
    cache_dir: str = ""

    def __post_init__(self):
        check_limits(self, positive=("context_length",), optional=("image_size",))
        if len(self.views) == 1 or len(set(self.views)) < len(self.views):
            raise ConfigError(f"data.views is {self.views}; it must name two folders or more, or none.")
        if self.source == "tfds" and not self.tfds_name:
            raise ConfigError(
                "data.source is 'tfds', but data.tfds_name is empty; name the dataset, for example 'coco_captions'."
            )
        if self.source == "tfds" and self.views:
            raise ConfigError("data.views names folders; it does not go with data.source='tfds'.")
        if self.source != "tfds" and (self.tfds_name or self.evaluation_tfds_split):
            raise ConfigError("data.tfds_name and data.evaluation_tfds_split go with data.source='tfds' alone.")

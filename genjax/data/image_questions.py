"""Images with questions and answers, or with captions: what a model that sees and answers learns from.

A row is one image with one text: `[bos] question answer [eos]`, the loss on answer and eos alone; a caption is an answer to an
empty question. Held out are whole images with all that is said of them.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int, UInt8

from genjax.config import structure
from genjax.data.augmentation import AugmentationConfig, augment
from genjax.data.checks import check_limits
from genjax.data.dataset import Batches, Dataset, Datasets, Reading
from genjax.data.hashing import digest
from genjax.data.image_arrays import ImageArrays, decode_images
from genjax.data.sources.trees import Tree
from genjax.data.text_config import TokenizerConfig
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.build import given_tokenizer, train_tokenizer
from genjax.errors import ConfigError, DataError
from genjax.interop.preprocessor import Preprocessor

FORMAT = "2"  # of the rows: change it when the same config gives other batches than before
QUESTION = "{question}"
LARGEST_LIST = 1 << 30  # bytes


@dataclass(frozen=True)
class ImageQuestionsConfig:
    """The section `data` with `data.name = "image_questions"`."""

    name: str = "image_questions"
    path: str = ""  # a folder, or a .zip or .tar archive; $NAME and ~ are expanded
    # questions: a JSON list of [question, answer, number or name of the image]; captions: a metadata.jsonl whose lines have
    # file_name and text, one or a list.
    layout: Literal["questions", "captions"] = "questions"
    list_file: str = ""  # within the path; "" : train/questions.json, or metadata.jsonl
    image_files: str = "train/images/{}.png"  # questions: the file of an image by its number
    template: str = QUESTION  # how a question is put to the model; "{question}" is where it stands
    evaluation_fraction: float = 0.1  # of the images, chosen by hash of their names
    image_size: int = 64  # pixels of a side; images of other shapes are resized
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)  # no flips where texts speak of sides or letters
    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig(name="bpe", vocab_size=512))
    sequence_length: int = 32  # tokens of question and answer with bos; longer pairs are left out and counted
    batch_size: int = 32
    num_threads: int = 2  # as for text; none of these changes a batch
    num_workers: int = 0
    prefetch: int = 8
    cache_dir: str = ""  # a folder for decoded images that runs share; "": the one that the run gives

    def __post_init__(self):
        check_limits(self, positive=("image_size",))
        if self.sequence_length < 2:
            raise ConfigError(f"data.sequence_length is {self.sequence_length}; it must be at least 2.")
        if QUESTION not in self.template:
            raise ConfigError(f"data.template is {self.template!r}; it must have {QUESTION} where the question stands.")


@dataclass(frozen=True)
class ImageQuestionsInfo:
    """The dataset in figures, and what sampling needs of it.

    Attributes:
        tokenizer: None in a description without data.
        template: see `ImageQuestionsConfig`.
        num_rows: texts of an epoch; `num_images` are the images that they speak of.
        left_out: pairs that are longer than a row.
    """

    tokenizer: Tokenizer | None
    vocab_size: int
    batch_size: int
    sequence_length: int
    image_size: int
    template: str
    num_rows: int = 0
    num_images: int = 0
    left_out: int = 0

    def save(self, run: Path) -> None:
        """Leaves RUN/tokenizer."""
        if self.tokenizer is not None and not (run / "tokenizer").is_dir():
            self.tokenizer.save(run / "tokenizer")

    def __str__(self) -> str:
        figures = f"{self.num_rows:,} texts of {self.num_images:,} images of {self.image_size}x{self.image_size} pixels"
        left = f"; {self.left_out:,} left out (longer than {self.sequence_length} tokens)" if self.left_out else ""
        return f"{figures}, vocabulary {self.vocab_size:,}{left}"


@dataclass(frozen=True)
class Saying:
    """One text of an image; `question` is empty for a caption."""

    image: str
    question: str
    answer: str


def build_image_questions(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`."""
    config = structure(ImageQuestionsConfig, config, "config.data")
    cache_dir = Path(config.cache_dir).expanduser() if config.cache_dir else cache_dir
    sayings = read_sayings(config)
    tree = _images_of(config, sayings)
    images = _decoded(config, tree, sayings, cache_dir)
    parts = [[s for s in sayings if is_held_out(s, config.evaluation_fraction) == side] for side in (False, True)]
    if not parts[0]:
        count = len(images.names)
        raise DataError(f"{config.path} has {count} images, and none is left to train on; lower data.evaluation_fraction.")
    tokenizer = given_tokenizer(config.tokenizer) or train_tokenizer(
        config.tokenizer, lambda: _texts(sayings), lambda limit: _texts(parts[0], limit)
    )
    decides = (config.image_size, config.sequence_length, config.batch_size, config.template, config.augmentation)
    content = digest(FORMAT, tree.fingerprint, repr(sayings), repr((*decides, config.evaluation_fraction)))

    def dataset(part: Sequence[Saying], order_seed: int | None) -> Dataset:
        rows, left_out = _rows(config, tokenizer, part, images, order_seed)
        shown = len({saying.image for saying in part})
        info = ImageQuestionsInfo(num_rows=rows.num_rows, num_images=shown, left_out=left_out, **_known(config, tokenizer))
        batches = Batches(rows, config.batch_size, order_seed, endless=order_seed is not None)
        reading = Reading(config.num_threads, config.num_workers, config.prefetch)
        return Dataset(info, digest(content, tokenizer.fingerprint, repr(order_seed)), batches, reading)

    return Datasets(dataset(parts[0], seed), dataset(parts[1], None) if parts[1] else None)


def describe_image_questions(config: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> ImageQuestionsInfo:
    """See `genjax.data.describe`."""
    return ImageQuestionsInfo(**_known(structure(ImageQuestionsConfig, config, "config.data"), tokenizer))


def is_held_out(saying: "Saying", fraction: float) -> bool:
    """Whether a text's image is among the held-out ones: decided by the hash of the image's name."""
    return int(digest(saying.image), 16) < fraction * 16**16


def held_out_sayings(config: Mapping[str, Any]) -> list[tuple["Saying", UInt8[np.ndarray, "size size 3"]]]:
    """The held-out texts of the section `data`, each with its image. Errors as for `genjax.data.build`."""
    config = structure(ImageQuestionsConfig, config, "config.data")
    sayings = [s for s in read_sayings(config) if is_held_out(s, config.evaluation_fraction)]
    if not sayings:
        return []
    found = _decoded(config, _images_of(config, sayings), sayings, None)
    images = dict(zip(found.names, found.images, strict=True))
    return [(saying, images[saying.image]) for saying in sayings]


def prompt_tokens(tokenizer: Tokenizer, template: str, question: str) -> list[int]:
    """The tokens before an answer: bos, where the tokenizer has one, and the question in its template."""
    first = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
    text = template.replace(QUESTION, question) if question else ""
    return ([] if first is None else [first]) + tokenizer.encode(text).tolist()


def answer_tokens(tokenizer: Tokenizer, answer: str, question: str) -> list[int]:
    """The tokens of an answer, which a space sets apart from its question, and eos."""
    tokens = tokenizer.encode(f" {answer}" if question else answer).tolist()
    return tokens + ([] if tokenizer.eos_id is None else [tokenizer.eos_id])


def square(size: int) -> Preprocessor:
    """How images come to the size of a row: stretched where they are of another shape."""
    return Preprocessor(size, size, "stretch")


def read_sayings(config: ImageQuestionsConfig) -> list[Saying]:
    """Every text of the list file with its image, in its order.

    Raises:
        DataError: no such file, or one of another form.
    """
    file = config.list_file or ("train/questions.json" if config.layout == "questions" else "metadata.jsonl")
    content = next((content for _, content in Tree(config.path, lambda name: name == file).read(LARGEST_LIST)), None)
    if content is None:
        raise DataError(f"{config.path} holds no {file}; set data.list_file to the file that names its images and their texts.")
    if config.layout == "questions":
        try:
            pairs = json.loads(content)
            return [Saying(config.image_files.format(image), str(question), str(answer)) for question, answer, image in pairs]
        except (ValueError, TypeError) as error:
            raise DataError(f"{file} in {config.path} must be a JSON list of [question, answer, image]: {error}.") from error
    found = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        try:
            values = json.loads(line)
            texts = [values["text"]] if isinstance(values["text"], str) else values["text"]
            found += [Saying(values["file_name"], "", str(text)) for text in texts]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file}:{number} in {config.path} must be an object with file_name and text: {error}.") from error
    return found


@dataclass(frozen=True, eq=False)
class ImageQuestionRows:
    """Rows of images with texts: image (uint8), tokens, targets (the next token), loss_mask (1 on answers).

    Attributes:
        images: one for each image; `image_of` says which is a row's.
        tokens, lengths, answers: the texts of all rows one after the other, their lengths, and how many of the last tokens of
            each are its answer.
        augmentation: of the images, by the numbers that `seed` draws for a row.
    """

    images: UInt8[np.ndarray, "images size size 3"]
    image_of: Int[np.ndarray, " rows"]
    tokens: Int[np.ndarray, " all"]
    lengths: Int[np.ndarray, " rows"]
    answers: Int[np.ndarray, " rows"]
    sequence_length: int
    augmentation: AugmentationConfig = AugmentationConfig()
    seed: int = 0

    @property
    def num_rows(self) -> int:
        return len(self.lengths)

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        text = ((self.sequence_length,), np.dtype(np.int32))
        image = {"image": (self.images.shape[1:], np.dtype(np.uint8))}
        return image | dict.fromkeys(("tokens", "targets", "loss_mask"), text)

    @cached_property
    def _starts(self) -> Int[np.ndarray, " rows"]:
        return np.cumsum(self.lengths) - self.lengths

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        place = np.arange(self.sequence_length)
        count = self.lengths[rows][:, None] - 1  # of predictions
        valid = place < count
        index = np.where(valid, self._starts[rows][:, None] + place, 0)
        learned = valid & (place >= count - self.answers[rows][:, None])
        images = augment(np.asarray(self.images[self.image_of[rows]]), self.augmentation, self.seed, epochs, rows)
        values = {"tokens": self.tokens[index] * valid, "targets": self.tokens[index + 1] * valid, "loss_mask": learned}
        return {"image": images} | {name: value.astype(np.int32) for name, value in values.items()}


def _rows(
    config: ImageQuestionsConfig,
    tokenizer: Tokenizer,
    part: Sequence[Saying],
    images: ImageArrays,
    seed: int | None,
) -> tuple[ImageQuestionRows, int]:
    """The rows of some sayings, and how many of them are too long."""
    number = {name: i for i, name in enumerate(images.names)}
    known: dict[tuple[str, str], tuple[list[int], int]] = {}  # few templates make many questions
    texts, owners = [], []
    for saying in part:
        key = (saying.question, saying.answer)
        if key not in known:
            answer = answer_tokens(tokenizer, saying.answer, saying.question)
            known[key] = (prompt_tokens(tokenizer, config.template, saying.question) + answer, len(answer))
        if len(known[key][0]) - 1 <= config.sequence_length:
            texts.append(known[key])
            owners.append(number[saying.image])
    if not texts:
        raise DataError(f"all {len(part):,} texts are longer than data.sequence_length {config.sequence_length}; raise it.")
    rows = ImageQuestionRows(
        images=images.images,
        image_of=np.array(owners, np.int64),
        tokens=np.concatenate([np.array(tokens, np.int32) for tokens, _ in texts]),
        lengths=np.array([len(tokens) for tokens, _ in texts], np.int64),
        answers=np.array([count for _, count in texts], np.int64),
        sequence_length=config.sequence_length,
        augmentation=AugmentationConfig() if seed is None else config.augmentation,
        seed=seed or 0,
    )
    return rows, len(part) - len(texts)


def _known(config: ImageQuestionsConfig, tokenizer: Tokenizer | None) -> dict[str, Any]:
    return {
        "tokenizer": tokenizer,
        "vocab_size": tokenizer.vocab_size if tokenizer else config.tokenizer.vocab_size,
        "batch_size": config.batch_size,
        "sequence_length": config.sequence_length,
        "image_size": config.image_size,
        "template": config.template,
    }


def _texts(sayings: Sequence[Saying], limit: int | None = None) -> Iterator[str]:
    """Questions with their answers as the tokenizer meets them, up to about `limit` characters."""
    used = 0
    for saying in sayings:
        text = f"{saying.question} {saying.answer}" if saying.question else saying.answer
        used += len(text)
        if limit is not None and used > limit:
            return
        yield text


def _images_of(config: ImageQuestionsConfig, sayings: Collection[Saying]) -> Tree:
    """The images that texts speak of."""
    names = {saying.image for saying in sayings}
    return Tree(config.path, names.__contains__, selection=digest(*sorted(names)))


def _decoded(config: ImageQuestionsConfig, tree: Tree, sayings: Collection[Saying], cache_dir: Path | None) -> ImageArrays:
    """All of them. Raises DataError: one is not there."""
    preprocessor = square(config.image_size)
    images = decode_images(tree, config.image_size, preprocessor.fit, channels=3, cache_dir=cache_dir)
    present = set(images.names)
    if absent := next((saying.image for saying in sayings if saying.image not in present), None):
        raise DataError(f"{config.path} holds no {absent}, of which a text speaks; restore it, or check data.image_files.")
    return images

"""Codes of a frozen first stage in the place of images, computed once: `data.codes` of images with texts.

A folder has train.npy and, where something is held out, evaluation.npy: [images, rows, columns], memory-mapped, in the order of
the data's rows; and codes.json, which says what they are of. `genjax.sampling.encode` writes it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from genjax.data.dataset import Batches, Dataset, Datasets
from genjax.data.hashing import digest
from genjax.data.text_rows import text_rows
from genjax.errors import ConfigError, DataError

MANIFEST, PARTS = "codes.json", ("train", "evaluation")


@dataclass(frozen=True)
class CodesConfig:
    """The section `config.data.codes`."""

    path: str  # a folder that genjax.sampling.encode wrote; $NAME and ~ are expanded
    codes: int = 0  # for compiling without the folder: how many codes there are ...
    rows: int = 0  # ... and of an image
    columns: int = 0

    def __post_init__(self):
        if not self.path:
            raise ConfigError("data.codes.path is empty; name a folder that genjax.sampling.encode wrote.")


@dataclass(frozen=True)
class CodesInfo:
    """Codes in figures.

    Attributes:
        codes: how many there are.
        rows, columns: of an image.
        digest: of the first stage's variables; "" in a description that does not know them.
    """

    codes: int
    rows: int
    columns: int
    digest: str = ""


@dataclass(frozen=True, eq=False)
class CodeRows:
    """One image a row: codes, tokens of a text, mask (1; the rows that fill a last batch have 0).

    Attributes:
        rows: of the same data with images.
    """

    rows: Any
    codes: Int[np.ndarray, "images rows columns"]

    @property
    def num_rows(self) -> int:
        return self.rows.num_rows

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        own = self.rows.columns
        return {"codes": (self.codes.shape[1:], np.dtype(np.int32)), "tokens": own["tokens"], "mask": own["mask"]}

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        tokens = text_rows(self.rows.tokenizer, self.texts(epochs, rows), self.rows.context_length)
        return {"codes": self.codes[rows].astype(np.int32), "tokens": tokens, "mask": np.ones(len(rows), np.int32)}

    def texts(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> list[str]:
        return self.rows.texts(epochs, rows)


def plain_section(config: Mapping[str, Any]) -> dict[str, Any]:
    """The section `data` of which codes are computed: each image once, in order, as it is."""
    left_out = ("codes", "augmentation", "batch_size", "shuffle", "num_threads", "num_workers", "prefetch", "cache_dir")
    return {name: value for name, value in config.items() if name not in left_out} | {"batch_size": 1, "shuffle": False}


def with_codes(datasets: Datasets, plain: Datasets, config: CodesConfig) -> Datasets:
    """The datasets with codes in the place of images.

    Args:
        plain: of `plain_section`, seed 0: what the codes must be of.

    Raises:
        DataError: no such folder, codes of other data, or rows that are no images with texts.
    """
    folder = place_of(config)
    manifest = read_manifest(folder)
    info = CodesInfo(manifest["codes"], *manifest["grid"], manifest["digest"])
    for name in ("codes", "rows", "columns"):
        if getattr(config, name) not in (0, getattr(info, name)):
            raise DataError(f"data.codes.{name} is {getattr(config, name)}, but {folder} has {getattr(info, name)}.")

    def one(name: str, dataset: Dataset | None, original: Dataset | None) -> Dataset | None:
        if dataset is None or original is None:
            return None
        if not hasattr(dataset.batches.rows, "texts") or "second_image" in dataset.batches.rows.columns:
            raise DataError(
                "data.codes is for images with texts, one image a row; set data.name to 'image_texts' or 'captioned_shapes', and "
                "no data.views."
            )
        if manifest["parts"].get(name) != original.fingerprint:
            raise DataError(f"the codes in {folder} are of other data than config.data; run genjax.sampling.encode again.")
        codes = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        rows, b = CodeRows(dataset.batches.rows, codes), dataset.batches
        batches = Batches(rows, b.batch_size, b.seed, b.endless)
        described = replace(dataset.info, codes=info)
        return replace(dataset, info=described, fingerprint=digest(dataset.fingerprint, info.digest), batches=batches)

    train, evaluation = (one(name, getattr(datasets, name), getattr(plain, name)) for name in PARTS)
    return Datasets(train, evaluation)


def described(config: CodesConfig) -> CodesInfo:
    """What a config says of codes; where it does not, what their folder does."""
    if config.codes and config.rows and config.columns:
        return CodesInfo(config.codes, config.rows, config.columns)
    manifest = read_manifest(place_of(config))
    return CodesInfo(manifest["codes"], *manifest["grid"], manifest["digest"])


def place_of(config: CodesConfig) -> Path:
    return Path(os.path.expanduser(os.path.expandvars(config.path)))


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """Raises DataError: no codes there."""
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder} holds no codes: {MANIFEST} cannot be read ({error}). genjax.sampling.encode writes it."
        ) from error


def write_manifest(folder: Path, info: CodesInfo, parts: Mapping[str, str]) -> None:
    """Says what the arrays of a folder are of.

    Args:
        parts: the fingerprint of each one's data.
    """
    values = asdict(info) | {"grid": [info.rows, info.columns], "parts": dict(parts)}
    (folder / MANIFEST).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

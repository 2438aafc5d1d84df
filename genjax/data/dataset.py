"""An addressable dataset: global batch k is a pure function of k, whoever asks and however many processes read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import grain
import jax
import numpy as np
from absl import flags

from genjax.data.order import shuffled
from genjax.data.rows import Rows
from genjax.errors import ConfigError

ENDLESS = 1 << 62


@dataclass(frozen=True)
class Reading:
    """How batches are made ahead of time; none of it changes a batch. See `TextDataConfig`."""

    num_threads: int = 2
    num_workers: int = 0
    prefetch: int = 8


@dataclass(frozen=True, eq=False)
class Batches:
    """Rows put in order and cut into batches: the part of a dataset that a worker process needs.

    Attributes:
        seed: of the row order; None keeps rows in order.
        endless: epoch follows epoch; otherwise there is one, and its last batch is filled up with rows of zeros.
    """

    rows: Rows
    batch_size: int
    seed: int | None
    endless: bool

    def batch(self, k: int, process_index: int = 0, process_count: int = 1) -> dict[str, np.ndarray]:
        """The process's slice of global batch k, which is rows [k B, (k + 1) B) of the row order."""
        local = self.batch_size // process_count
        first = k * self.batch_size + process_index * local
        last = first + local if self.endless else min(first + local, self.rows.num_rows)
        index = np.arange(first, max(first, last), dtype=np.int64)
        rows = index % self.rows.num_rows if self.seed is None else shuffled(index, self.rows.num_rows, self.seed)
        found = self.rows.fetch(index // self.rows.num_rows, rows) if len(rows) else {}
        return {name: self._filled(found.get(name), (local, *shape), dtype) for name, (shape, dtype) in self.rows.columns.items()}

    def _filled(self, values: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if values is not None and len(values) == shape[0]:
            return values
        full = np.zeros(shape, dtype)
        if values is not None:
            full[: len(values)] = values
        return full


@dataclass(frozen=True, eq=False)
class Dataset:
    """Batches of named arrays.

    Attributes:
        info: what the task needs to know and what a person wants to see (`text.DataInfo` for text).
        fingerprint: 16 hex digits of all that decides a batch; a resumed run compares it.
    """

    info: Any
    fingerprint: str
    batches: Batches
    reading: Reading = Reading()

    @property
    def batch_size(self) -> int:
        return self.batches.batch_size

    @property
    def num_batches(self) -> int | None:
        """Batches of the one epoch of an evaluation dataset; None for a training dataset, which has no end."""
        return None if self.batches.endless else -(-self.batches.rows.num_rows // self.batch_size)

    @property
    def spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of a global batch."""
        columns = self.batches.rows.columns
        return {name: jax.ShapeDtypeStruct((self.batch_size, *shape), dtype) for name, (shape, dtype) in columns.items()}

    def batch(self, k: int, process_index: int = 0, process_count: int = 1) -> dict[str, np.ndarray]:
        """The slice of global batch k that process `process_index` of `process_count` feeds; a pure function.

        Raises:
            ConfigError: the batch does not divide over the processes.
            IndexError: beyond the last batch of an evaluation dataset.
        """
        self._check(process_index, process_count)
        if k < 0 or (self.num_batches is not None and k >= self.num_batches):
            raise IndexError(f"batch {k} of {self.num_batches}")
        return self.batches.batch(k, process_index, process_count)

    def iterate(self, start: int = 0, process_index: int = 0, process_count: int = 1) -> Iterator[dict[str, np.ndarray]]:
        """`batch(start)`, `batch(start + 1)`, ... made ahead by threads or processes. Starting anywhere costs the same."""
        self._check(process_index, process_count)
        stop = ENDLESS if self.num_batches is None else self.num_batches
        if start >= stop:
            return iter(())
        make = partial(self.batches.batch, process_index=process_index, process_count=process_count)
        numbers = grain.MapDataset.range(start, stop).map(make)
        threads = self.reading.num_threads if self.reading.prefetch else 0
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(self.reading.prefetch, threads))
        dataset = numbers.to_iter_dataset(options)
        if self.reading.num_workers:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # Grain's workers read absl flags; outside absl.app nobody has parsed them
            per_worker = max(1, self.reading.prefetch // self.reading.num_workers)
            workers = grain.MultiprocessingOptions(num_workers=self.reading.num_workers, per_worker_buffer_size=per_worker)
            dataset = dataset.mp_prefetch(workers)
        return iter(dataset)

    def _check(self, process_index: int, process_count: int) -> None:
        if self.batch_size % process_count:
            nearest = self.batch_size // process_count * process_count
            choices = f"{nearest} or {nearest + process_count}" if nearest else str(process_count)
            raise ConfigError(f"data.batch_size {self.batch_size} does not divide over {process_count} processes; use {choices}.")
        if not 0 <= process_index < process_count:
            raise IndexError(f"process {process_index} of {process_count}")


@dataclass(frozen=True, eq=False)
class Datasets:
    """What a run reads. `evaluation` is None when nothing is held out."""

    train: Dataset
    evaluation: Dataset | None

"""Limits that data configs share."""

import pytest

from genjax import data
from genjax.data.build import DATASETS
from genjax.errors import ConfigError

NEEDED = {"image_pairs": {"path": "somewhere"}}  # before its numbers are looked at


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("batch_size", 0, "1 or more"),
        ("num_threads", -1, "0 or more"),
        ("num_workers", -1, "0 or more"),
        ("prefetch", -1, "0 or more"),
    ],
)
def test_numbers_that_cannot_be(name, field, value, limit):
    with pytest.raises(ConfigError, match=f"data.{field} is {value}; it must be {limit}"):
        data.build({"name": name, field: value} | NEEDED.get(name, {}), seed=0, cache_dir=None)

"""Sources, tokenizers, packing and the addressable pipeline."""

from genjax.data.build import build, describe
from genjax.data.dataset import Dataset, Datasets
from genjax.data.text import DataInfo
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.load import has_tokenizer, load_tokenizer

__all__ = ["DataInfo", "Dataset", "Datasets", "Tokenizer", "build", "describe", "has_tokenizer", "load_tokenizer"]

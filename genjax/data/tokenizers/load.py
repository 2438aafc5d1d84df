"""A tokenizer from a folder: one that a run saved, or a Hugging Face model folder."""

from pathlib import Path

from genjax.data.tokenizers.base import MANIFEST, Tokenizer, read_json
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.data.tokenizers.character import CharacterTokenizer
from genjax.errors import DataError


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """Reads what `Tokenizer.save` wrote.

    Raises:
        DataError: no such folder, nothing in it that is a tokenizer, or a file that cannot be read.
    """
    folder = Path(folder)
    if not folder.exists():
        raise DataError(f"the tokenizer folder {folder} does not exist.")
    manifest = read_json(folder / MANIFEST)
    if manifest["kind"] == "byte":
        return ByteTokenizer()
    return CharacterTokenizer(manifest["characters"], manifest["add_eos"])

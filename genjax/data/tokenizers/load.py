"""A tokenizer from a folder: one that a run saved, or a Hugging Face model folder."""

from pathlib import Path

from genjax.data.tokenizers.base import MANIFEST, Tokenizer, read_json
from genjax.data.tokenizers.bpe import BPETokenizer
from genjax.data.tokenizers.bpe_files import load_gpt2_files, load_tokenizer_json
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.data.tokenizers.character import CharacterTokenizer
from genjax.data.tokenizers.clip_bpe import holds_clip, load_clip
from genjax.data.tokenizers.sentencepiece import MODEL_FILE, load_sentencepiece
from genjax.data.tokenizers.wordpiece import (
    VOCABULARY,
    WordPieceTokenizer,
    holds_wordpiece,
    load_vocabulary,
    load_wordpiece_json,
)
from genjax.errors import DataError

T5_MODEL_FILE = "spiece.model"


def has_tokenizer(folder: Path | str) -> bool:
    """Whether `load_tokenizer` finds files of a tokenizer in the folder."""
    names = {path.name for path in Path(folder).iterdir()}
    return (
        bool(names & {MANIFEST, "tokenizer.json", VOCABULARY, MODEL_FILE, T5_MODEL_FILE}) or {"vocab.json", "merges.txt"} <= names
    )


def load_tokenizer(path: Path | str) -> Tokenizer:
    """Reads what `Tokenizer.save` wrote, or what lies beside a published model's weights.

    Args:
        path: a folder with genjax' own files, spiece.model, tokenizer.json, vocab.json and merges.txt, vocab.txt, or
            tokenizer.model (looked for in this order); or one such tokenizer.json, .txt or .model file, or OpenAI's
            bpe_simple_vocab_16e6.txt.gz of CLIP.

    Raises:
        DataError: nothing there, nothing that is a tokenizer, or a file that cannot be read.
    """
    path = Path(path).expanduser()
    if path.is_file():
        kinds = {".model": load_sentencepiece, ".txt": load_vocabulary, ".gz": load_clip}
        return kinds.get(path.suffix, _load_json)(path)
    if not path.is_dir():
        raise DataError(f"the tokenizer folder {path} does not exist.")
    if (path / MANIFEST).exists():
        return _saved(path)
    if (path / T5_MODEL_FILE).exists():  # the tokenizer.json beside it holds the same model in a form that is not read here
        return load_sentencepiece(path / T5_MODEL_FILE)
    if (path / "tokenizer.json").exists():
        return _load_json(path / "tokenizer.json")
    if (path / "vocab.json").exists() and (path / "merges.txt").exists():
        return load_clip(path) if holds_clip(path / "vocab.json") else load_gpt2_files(path)
    if (path / VOCABULARY).exists():
        return load_vocabulary(path / VOCABULARY)
    if (path / MODEL_FILE).exists():
        return load_sentencepiece(path / MODEL_FILE)
    raise DataError(
        f"the folder {path} holds no tokenizer; expected {MANIFEST}, {T5_MODEL_FILE}, tokenizer.json, vocab.json with "
        f"merges.txt, {VOCABULARY}, or {MODEL_FILE}."
    )


def _load_json(file: Path) -> Tokenizer:
    if holds_clip(file):
        return load_clip(file)
    return load_wordpiece_json(file) if holds_wordpiece(file) else load_tokenizer_json(file)


def _saved(folder: Path) -> Tokenizer:
    manifest = read_json(folder / MANIFEST)
    try:
        if manifest["kind"] == "byte":
            return ByteTokenizer(manifest.get("fim_tokens", False))
        if manifest["kind"] == "character":
            return CharacterTokenizer(manifest["characters"], manifest["add_eos"])
        if manifest["kind"] == "sentencepiece":
            return load_sentencepiece(folder / MODEL_FILE)
        if manifest["kind"] == "bpe":
            serialized = load_tokenizer_json(folder / "tokenizer.json").serialized
            return BPETokenizer(serialized, manifest["bos_id"], manifest["eos_id"], manifest["adds_bos"])
        if manifest["kind"] == "wordpiece":
            serialized = load_wordpiece_json(folder / "tokenizer.json").serialized
            return WordPieceTokenizer(serialized, *(manifest[f"{name}_id"] for name in ("cls", "sep", "mask", "pad")))
        if manifest["kind"] == "clip":
            return load_clip(folder / "tokenizer.json", manifest["unescape"], manifest["fix_text"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / MANIFEST} lacks {error}; save the tokenizer again.") from error
    known = "byte, character, sentencepiece, bpe, wordpiece, clip"
    raise DataError(f"{folder / MANIFEST} names the kind {manifest['kind']!r}; known: {known}.")

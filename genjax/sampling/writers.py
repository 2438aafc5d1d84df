"""Artifacts to files and to the terminal. Nothing is overwritten unless that is asked for."""

import io
import itertools
import json
import os
import shutil
import wave
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from genjax.errors import RequestError
from genjax.evaluation.code import findings
from genjax.sampling.summaries import writing
from genjax.tasks.contract import GRID, INDEX, Artifact

GRID_GAP = 2  # white pixels between the images of a grid
ENDINGS = {"text": ".jsonl", "image": ".png", "audio": ".wav"}  # of the file of artifacts of a kind
PLURALS = {"text": "texts", "image": "images", "audio": "sounds"}
ARRAYS = ".npz"


def write(artifacts: Sequence[Artifact], target: Path | str, *, overwrite: bool = False) -> list[Path]:
    """Writes artifacts of one kind; returns the files, the one to look at first.

    Text goes to one JSONL file (`.jsonl`, which is added to a name without ending): a line has prompt, text and metadata. One
    image or sound goes to a `.png` or `.wav` file. A `.png` for several images is their grid; a name without ending is a
    folder with the grid, each image or sound by its number, and artifacts.jsonl. Beside the file of images that carry arrays
    lies one of the same name that ends in `.npz`; the first axis of each array is that of the images.

    Raises:
        RequestError: nothing to write, a kind or ending without a writer, or the target exists (and `overwrite` is off).
    """
    kinds = sorted({artifact.kind for artifact in artifacts})
    if len(kinds) != 1:
        what = " and ".join(kinds) or "nothing"
        raise RequestError(f"cannot write {what} to {target}; a target takes artifacts of one kind.")
    if kinds[0] not in WRITERS:
        raise RequestError(f"there is no writer for {kinds[0]!r}; known: {', '.join(WRITERS)}.")
    path = Path(target)
    if kinds[0] == "text" and not path.suffix:
        path = path.with_name(path.name + ".jsonl")
    check_target(path, kinds[0], overwrite=overwrite)
    with writing(path):
        return WRITERS[kinds[0]](artifacts, path)


def check_target(target: Path | str, kind: str = "", *, overwrite: bool = False) -> None:
    """Raises RequestError where writing to `target` would overwrite something, or, where a kind of artifacts is named, where it
    has another kind's ending; call it before anything is computed."""
    path = Path(target)
    if kind and path.suffix and path.suffix != ENDINGS[kind]:
        ending = ENDINGS[kind]
        raise RequestError(f"{PLURALS[kind]} are written to {ending} files, but --out is {path}; give it that ending, or none.")
    beside = [path.with_name(path.name + ".jsonl")] + ([path.with_suffix(ARRAYS)] if path.suffix == ".png" else [])
    for taken in (path, *beside):  # arrays beside a picture that is not theirs would mislead
        if taken.exists() and not overwrite and not (taken.is_dir() and not any(taken.iterdir())):
            raise RequestError(f"{taken} exists; choose another --out, or add --overwrite to replace it.")


def _write_text(artifacts: Sequence[Artifact], path: Path) -> list[Path]:
    _replace(path, "".join(_line({"prompt": None, "text": a.value} | a.metadata) for a in artifacts).encode())
    return [path]


def _write_images(artifacts: Sequence[Artifact], path: Path) -> list[Path]:
    images = [np.asarray(a.value) for a in artifacts]
    if path.suffix:
        _write_png(path, images[0] if len(images) == 1 else _grid_of(artifacts), [a.metadata for a in artifacts])
        return [path, *_write_arrays(artifacts, path)]
    files = _numbered(artifacts, path, ".png")
    for file, image, artifact in zip(files, images, artifacts, strict=True):
        _write_png(file, image, [artifact.metadata])
        _write_arrays([artifact], file)
    _write_png(path / GRID, _grid_of(artifacts), [a.metadata for a in artifacts])
    return [path / GRID, *files]


def _write_arrays(artifacts: Sequence[Artifact], picture: Path) -> list[Path]:
    """Those of the artifacts that have any, beside their picture."""
    held = [a.arrays for a in artifacts if a.arrays]
    if not held:
        return []
    content = io.BytesIO()
    np.savez(content, **{name: np.stack([arrays[name] for arrays in held]) for name in held[0]})
    _replace(picture.with_suffix(ARRAYS), content.getvalue())
    return [picture.with_suffix(ARRAYS)]


def _write_audio(artifacts: Sequence[Artifact], path: Path) -> list[Path]:
    if not path.suffix:
        files = _numbered(artifacts, path, ".wav")
    else:
        if len(artifacts) > 1:
            raise RequestError(f"{path} can hold one of {len(artifacts)} sounds; give --out a folder, a name without ending.")
        files = [path]
    for file, artifact in zip(files, artifacts, strict=True):
        _write_wav(file, np.asarray(artifact.value), int(artifact.metadata["sample_rate"]))
    return files


WRITERS: Mapping[str, Callable[[Sequence[Artifact], Path], list[Path]]] = {
    "text": _write_text,
    "image": _write_images,
    "audio": _write_audio,
}


def _grid_of(artifacts: Sequence[Artifact]) -> UInt8[np.ndarray, "height width 3"]:
    """Of images; in `columns`, where the first metadata names them; else whole prompts in a row, or a prompt in whole rows."""
    columns = artifacts[0].metadata.get("columns") or _prompt_columns([a.metadata.get("prompt") for a in artifacts])
    return grid([np.asarray(a.value) for a in artifacts], columns)


def _prompt_columns(prompts: Sequence[str | None]) -> int:
    """About as many columns as rows, a multiple or a divisor of the images of each prompt; 0 where their numbers differ."""
    counts = [len(list(images)) for _, images in itertools.groupby(prompts)]
    each = counts[0]
    if len(counts) < 2 or each < 2 or any(count != each for count in counts):
        return 0
    fitting = [n for n in range(1, len(prompts) + 1) if n % each == 0 or each % n == 0]
    return min(fitting, key=lambda n: (max(n * n / len(prompts), len(prompts) / n**2), -n))


def grid(images: Sequence[UInt8[np.ndarray, "height width 3"]], columns: int = 0) -> UInt8[np.ndarray, "height width 3"]:
    """Images in rows of that many, or of about as many as there are rows; white between them and beside smaller ones."""
    columns = min(columns, len(images)) or int(np.ceil(np.sqrt(len(images))))
    height, width = (max(image.shape[axis] for image in images) + GRID_GAP for axis in (0, 1))
    rows = -(-len(images) // columns)
    canvas = np.full((rows * height - GRID_GAP, columns * width - GRID_GAP, 3), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * height, number % columns * width
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


def preview(artifacts: Sequence[Artifact], limit: int = 400) -> str:
    """A line or two for a log: the beginning of the first text, or what there is."""
    if not artifacts:
        return "nothing"
    first = artifacts[0]
    if first.kind != "text":
        return f"{len(artifacts)} {first.kind}" + ("s" if len(artifacts) > 1 else "")
    text = full_text(first)
    return text if len(text) <= limit else text[:limit] + "..."


def full_text(artifact: Artifact) -> str:
    """The text with what was given to be continued, or to be filled in."""
    before, after = around(artifact)
    return f"{before}{artifact.value}{after}"


def around(artifact: Artifact) -> tuple[str, str]:
    """What was given and stands before and after the text: the prompt, or prefix and suffix."""
    given = artifact.metadata
    return given.get("prompt") or given.get("prefix") or "", given.get("suffix") or ""


def listing(artifacts: Sequence[Artifact]) -> str:
    """Texts for the terminal, each with its prompt, numbered where there are several.

    Raises:
        RequestError: there are images or sounds, which need a file.
    """
    others = sorted({a.kind for a in artifacts} - {"text"})
    if others:
        raise RequestError(f"an {others[0]} cannot be shown in the terminal; add --out FILE.")
    if len(artifacts) == 1:
        return _with_findings(artifacts[0])
    return "\n".join(f"--- {number} of {len(artifacts)} ---\n{_with_findings(a)}" for number, a in enumerate(artifacts, 1))


def _with_findings(artifact: Artifact) -> str:
    found = artifact.metadata.get("findings")
    return full_text(artifact) + (f"\n--- findings ---\n{findings.describe(found)}" if found else "")


def _numbered(artifacts: Sequence[Artifact], folder: Path, suffix: str) -> list[Path]:
    """Makes the folder with its index; returns the files' paths."""
    folder.mkdir(exist_ok=True)
    files = [folder / f"{number:04d}{suffix}" for number in range(len(artifacts))]
    lines = [_line({"file": file.name} | a.metadata) for file, a in zip(files, artifacts, strict=True)]
    _replace(folder / INDEX, "".join(lines).encode())
    return files


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in values.items() if value is not None}, ensure_ascii=False) + "\n"


def _replace(path: Path, content: bytes) -> None:
    """Writes beside the target and renames, so that a full disk leaves what was there."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_png(path: Path, image: UInt8[np.ndarray, "height width 3"], metadata: Sequence[Mapping[str, Any]]) -> None:
    import matplotlib.image  # half a second that text does not need; it writes PNG with Pillow

    partial = path.with_name(path.name + ".partial")
    try:
        text = {"Software": "genjax", "parameters": json.dumps(list(metadata), ensure_ascii=True)}
        matplotlib.image.imsave(partial, image, format="png", metadata=text)
        shutil.move(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_wav(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """16 bits a sample; `samples` in [-1, 1], [samples] or [samples channels]."""
    samples = samples[:, None] if samples.ndim == 1 else samples
    pcm = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm.tobytes())

"""What a diffusion model makes of real images it has not seen: halves filled in, changes by strength, inversion and back.

    python benchmarks/diffusion_edits.py --workdir=runs/clothes --judge=runs/fashion_mnist --out=edits

The first held-out images of a class-conditional run, each asked for as itself or, by image-to-image, as the class that comes
after its own. The judge is a classifier of the real images; pixels are measured in levels of 256. DIR gets edits.json and a
picture of each part, one image a column.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from genjax import data
from genjax.errors import GenjaxError, RequestError
from genjax.parallel.processes import leave_out_absent_tpu
from genjax.sampling import writers
from genjax.sampling.judges import Judge, agreement, judge_of
from genjax.sampling.loop import Sampler
from genjax.sampling.run import open_run, read_config
from genjax.sampling.summaries import write_json
from genjax.tasks.contract import Artifact
from genjax.tasks.diffusion import Diffusion, DiffusionRequest

SHOWN = 12  # columns of a picture
STRENGTHS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
INVERSIONS = (10, 20, 50, 100, 200)


class Edits:
    """Held-out images of a run on disk, their classes, and what the run's model makes of them."""

    def __init__(self, workdir: Path, folder: Path, count: int, judge: Judge):
        task, self.variables = open_run(workdir)
        if not (isinstance(task, Diffusion) and len(task.labels.attributes) == 1):
            raise RequestError(f"{workdir} is no run of task 'diffusion' with classes.")
        config = read_config(workdir)
        held_out = data.build(config["data"], seed=config["seed"], cache_dir=workdir / "cache").evaluation
        if held_out is None:
            raise RequestError(f"{workdir} held no images out.")
        batches = [held_out.batch(number) for number in range(-(-count // held_out.batch_size))]
        images, labels = (np.concatenate([batch[name] for batch in batches])[:count] for name in ("image", "label"))
        self.images = np.broadcast_to(images, (*images.shape[:3], 3))
        ((_, self.classes),) = task.labels.attributes
        self.labels = labels.reshape(-1)
        self.folder, self.judge, self.sampler = folder, judge, Sampler(task)
        folder.mkdir(parents=True)
        self.paths = [self.save(f"{number:04}", image) for number, image in enumerate(self.images)]

    def save(self, name: str, image: np.ndarray) -> str:
        path = self.folder / f"{name}.png"
        Image.fromarray(image).save(path)
        return str(path)

    def wishes(self, shift: int) -> list[str]:
        """For each image, the class `shift` places behind its own."""
        return [self.classes[(label + shift) % len(self.classes)] for label in self.labels]

    def ask(self, shift: int = 0, **fields: Any) -> list[Artifact]:
        """What becomes of each image, asked for as the class `shift` places behind its own."""
        pairs = zip(self.paths, self.wishes(shift), strict=True)
        requests = [DiffusionRequest(image=path, label=(wish,), **fields) for path, wish in pairs]
        return self.sampler(self.variables, requests, progress=True)

    def seen_as(self, images: Sequence[np.ndarray], shift: int = 0) -> float:
        """The share in which the judge sees the class `shift` places behind the image's own."""
        asked = [{"class": wish} for wish in self.wishes(shift)]
        return agreement(asked, self.judge([Artifact("image", image, {}) for image in images]))["agreement_class"]

    def change(self, images: Sequence[np.ndarray]) -> float:
        """The mean difference from the originals, in levels of 256."""
        return float(np.abs(np.stack(images).astype(float) - self.images).mean())

    def show(self, name: str, rows: Sequence[Sequence[np.ndarray]]) -> None:
        cells = [image for row in (self.images, *rows) for image in row[:SHOWN]]
        Image.fromarray(writers.grid(cells, min(SHOWN, len(self.images)))).save(self.folder.parent / f"{name}.png")


def fill(edits: Edits) -> Mapping[str, Any]:
    """The lower half made anew, once straight and once by RePaint."""
    mask = np.zeros(edits.images.shape[1:], np.uint8)
    mask[len(mask) // 2 :] = 255
    known, path = mask == 0, edits.save("mask", mask)
    hidden = np.where(known, edits.images, 0)
    made = {f"repaint {times}": [a.value for a in edits.ask(mask=path, repaint=times)] for times in (0, 5)}
    edits.show("filled", [hidden, *made.values()])
    return {
        "recognized whole": edits.seen_as(edits.images),
        "recognized with the lower half black": edits.seen_as(hidden),
        **{
            name: {
                "recognized": edits.seen_as(images),
                "known pixels changed": int((np.stack(images)[:, known] != edits.images[:, known]).sum()),
            }
            for name, images in made.items()
        },
    }


def strengths(edits: Edits) -> Mapping[str, Any]:
    """Image-to-image toward the next class."""
    made = {strength: [a.value for a in edits.ask(1, strength=strength)] for strength in STRENGTHS}
    edits.show("strengths", list(made.values()))
    return {
        str(strength): {
            "change": edits.change(images),
            "seen as it was": edits.seen_as(images),
            "seen as asked": edits.seen_as(images, 1),
        }
        for strength, images in made.items()
    }


def inversions(edits: Edits) -> Mapping[str, Any]:
    """To noise and back by DDIM, without guidance."""
    made = {steps: [a.value for a in edits.ask(invert=True, sampler="ddim", steps=steps, guidance=1.0)] for steps in INVERSIONS}
    edits.show("inverted", list(made.values()))
    return {str(steps): {"change": edits.change(images), "recognized": edits.seen_as(images)} for steps, images in made.items()}


PARTS: dict[str, Callable[[Edits], Mapping[str, Any]]] = {"fill": fill, "strengths": strengths, "inversions": inversions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, type=Path, help="a run of task 'diffusion', by classes")
    parser.add_argument("--judge", required=True, help="a run of task 'classification' on the same images")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder")
    parser.add_argument("--images", type=int, default=200, metavar="N", help="how many (default 200)")
    options = parser.parse_args()
    leave_out_absent_tpu()
    if options.out.exists():
        sys.exit(f"error: {options.out} exists; choose another --out.")
    try:
        edits = Edits(options.workdir, options.out / "originals", options.images, judge_of(options.judge))
        found = {name: part(edits) for name, part in PARTS.items()}
        write_json(options.out / "edits.json", found)
    except GenjaxError as error:
        sys.exit(f"error: {error}")
    for name, figures in found.items():
        print(name)
        for key, value in figures.items():
            print(f"  {key}: {value}")


if __name__ == "__main__":
    main()

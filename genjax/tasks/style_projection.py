"""Images that a person gives to be found among what a generator makes: requests, the search, and what is written.

The search (see `adversarial.projection`) is driven by the host, a few steps at a time, so that it can be seen to come on.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.adversarial import projection
from genjax.adversarial.projection import Procedure, Projection
from genjax.decoding.buckets import power_of_two
from genjax.errors import RequestError
from genjax.interop.preprocessor import Preprocessor
from genjax.parallel.compiler import compiler_options
from genjax.parallel.processes import to_host
from genjax.tasks import style_requests
from genjax.tasks.contract import HOST, PROGRESS, Artifact, Batch, Variables
from genjax.tasks.gan_players import StylePlayers
from genjax.tasks.image_batches import read_request_images
from genjax.tasks.image_to_image_requests import files_of
from genjax.tasks.media import Images
from genjax.tasks.sample_rows import filled, row_keys
from genjax.tasks.style_distances import DISTANCES, VGG_COMPONENT, Distance, load_vgg
from genjax.tasks.style_samples import DRAWN

if TYPE_CHECKING:
    from genjax.tasks.gan import GAN
    from genjax.tasks.gan_requests import GANRequest

SPACES = ("w", "w+")
ROWS = 8  # images that are searched for at a time: each costs the memory of a training example
CHUNK = 20  # steps between two looks of the host at an accelerator


def check(r: "GANRequest") -> None:
    """Raises RequestError: options of a projection that do not exist, or do not go together."""
    for name, value, known in (("project", r.project, SPACES), ("distance", r.distance, DISTANCES)):
        if value not in known:
            raise RequestError(f"--{name}={value}: choose one of {', '.join(known)}.")
    if not r.image:
        raise RequestError(f"--project={r.project} finds the styles of an image: give it a file or a folder with --image.")
    if r.project_steps < 1:
        raise RequestError(f"--project_steps={r.project_steps}: it must be 1 or more.")
    if bool(r.vgg) != (r.distance == "vgg"):
        raise RequestError("--distance=vgg looks with the weights of a file: give both it and --vgg=FILE, or neither.")


def prepare(r: "GANRequest", first: int, task: "GAN") -> list[Batch]:
    """Batches of the request's images, whose artifacts begin at `first`. Raises RequestError: one that cannot be read."""
    images, vgg = _images(r, task.medium), load_vgg(r.vgg) if r.vgg else (None, None)
    batches = []
    for start in range(0, len(images), ROWS):
        part = images[start : start + ROWS]
        full = power_of_two(len(part))
        batch = {
            "row": filled(first + start + np.arange(len(part)), full, -1).astype(np.int32),
            "image": filled(part, full),
            "procedure": Procedure(steps=np.int32(r.project_steps), tied=np.bool_(r.project == "w")),
            HOST: {"distance": Distance(r.distance, vgg[0]), "steps": r.project_steps},
        }
        batches.append(batch | ({VGG_COMPONENT: vgg[1]} if r.vgg else {}))
    return batches


def _images(r: "GANRequest", medium: Images) -> np.ndarray:
    """The middle of each, brought to the model's size."""
    return read_request_images([str(file) for file in files_of(r)], Preprocessor(medium.height, medium.width), medium.channels)


def present(r: "GANRequest", first: int, arrays: Sequence[Batch], task: "GAN") -> list[Artifact]:
    """One picture for each image, which carries its styles."""
    found = {int(row): (batch, place) for batch in arrays for place, row in enumerate(batch["row"])}
    given = _images(r, task.medium) if r.beside else None
    artifacts = []
    for number, file in enumerate(files_of(r)):
        batch, place = found[first + number]
        value = batch["value"][place]
        value = np.concatenate([given[number], value], axis=1) if r.beside else value
        metadata = {"image": str(file), "project": r.project, "distance": r.distance, "steps": r.project_steps}
        metadata |= {name: float(batch[name][place]) for name in ("distance_start", "distance_end")}
        noise = {path: image[place] for path, image in batch["noise"].items()}
        artifact = task.medium.artifact(value, None, metadata)
        artifacts.append(Artifact(artifact.kind, artifact.value, metadata, style_requests.to_file(batch["styles"][place], noise)))
    return artifacts


class Projector:
    """The search as compiled programs, for each kind of distance and number of images.

    Args:
        players, medium: of the run.
        chunk: steps of one program; None: as it is best for the default device.

    Attributes:
        compilations: how often a program was traced.
    """

    def __init__(self, players: StylePlayers, medium: Images, chunk: int | None = None):
        self.players, self.medium = players, medium
        # XLA's CPU compiler computes gradients of convolutions within a loop a hundred times slower (jaxlib 0.10.2).
        self.chunk = chunk or (1 if jax.default_backend() == "cpu" else CHUNK)
        self.compilations = 0
        options = compiler_options()
        self._start = jax.jit(self.start, static_argnums=0, compiler_options=options)
        self._advance = jax.jit(self.advance, static_argnums=0, donate_argnums=2, compiler_options=options)
        self._outcome = jax.jit(self.outcome, static_argnums=0, compiler_options=options)

    def stream(self, variables: Variables, batch: Batch, key: jax.Array) -> Iterator[Batch]:
        """How far it is, and at the end the images with their styles and noise, and the distances before and behind it."""
        host, arrays = batch[HOST], {name: value for name, value in batch.items() if name != HOST}
        distance, steps = host["distance"], host["steps"]
        variables = {**variables, VGG_COMPONENT: arrays.pop(VGG_COMPONENT, {})}
        state, given = self._start(distance, variables, arrays, key)
        before = self._outcome(distance, variables, state, given["target"])["distance"]
        for done in range(0, steps, self.chunk):
            count = min(self.chunk, steps - done)
            state = self._advance(distance, variables, state, given, arrays["procedure"], np.int32(count))
            jax.block_until_ready(state.step)
            yield {PROGRESS: (done + count, steps)}
        found = self._outcome(distance, variables, state, given["target"])
        ends = {"distance_start": before, "distance_end": found.pop("distance")}
        yield to_host({"row": jnp.asarray(arrays["row"]), **found, **ends, "styles": state.styles, "noise": state.noise})

    def start(self, distance: Distance, variables: Variables, batch: Batch, key: jax.Array):
        """The state before the first step, and what no step changes."""
        self.compilations += 1
        count, c = len(batch["row"]), self.players.config
        mean, deviation = projection.spread(self.players.drawn_styles(variables, DRAWN))
        noise_key, search_key = jax.random.split(key)
        shapes = self.players.noise_shapes
        noise_keys = jax.vmap(lambda own: jax.random.split(own, len(shapes)))(row_keys(noise_key, batch["row"]))
        noise = {
            path: jax.vmap(lambda own, shape=shape: jax.random.normal(own, shape))(noise_keys[:, number])
            for number, (path, shape) in enumerate(shapes.items())
        }
        target = distance.features(self.players, variables, self.medium.to_model(batch["image"]))
        state = projection.start(jnp.broadcast_to(mean, (count, c.num_styles, c.style_width)), noise)
        return state, {"target": target, "deviation": deviation, "keys": row_keys(search_key, batch["row"])}

    def advance(
        self, distance: Distance, variables: Variables, state: Projection, given: Mapping[str, Any], procedure, count
    ) -> Projection:
        """The state `count` steps later."""
        self.compilations += 1

        def near(styles, noise):
            made = self.players.synthesize(variables, styles, key=None, noise_images=noise)
            return distance.between(distance.features(self.players, variables, made), given["target"])

        step = lambda _, state: projection.advance(near, state, procedure, given["deviation"], given["keys"])  # noqa: E731
        return step(0, state) if self.chunk == 1 else jax.lax.fori_loop(0, count, step, state)

    def outcome(self, distance: Distance, variables: Variables, state: Projection, target) -> dict[str, jax.Array]:
        """What the styles make as they are, without the noise that explores around them."""
        self.compilations += 1
        made = self.players.synthesize(variables, state.styles, key=None, noise_images=state.noise)
        found = distance.between(distance.features(self.players, variables, made), target)
        return {"value": self.medium.from_model(made), "distance": found}

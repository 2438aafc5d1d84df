"""Networks of our own runs that look at what another run makes: features for measures of images, and what a sample shows."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import UInt8

from genjax.config import config_hash
from genjax.data.shapes import ShapesInfo
from genjax.data.sources import shapes
from genjax.errors import RequestError
from genjax.evaluation.images.features import FeatureNetwork, Features
from genjax.sampling import writers
from genjax.sampling.loop import Sampler
from genjax.sampling.run import newest_checkpoint, read_config, run_task, run_variables
from genjax.tasks.classification import Classification
from genjax.tasks.contract import Artifact, Variables
from genjax.tasks.contrastive import Contrastive
from genjax.tasks.image_batches import normalize
from genjax.tasks.speech import Speech

# What samples show: for each, attributes and the values that were read; an attribute that cannot be told is left out.
Judge = Callable[[Sequence[Artifact]], list[Mapping[str, str]]]


def feature_network(workdir: Path | str, mesh: Mesh | None = None) -> FeatureNetwork:
    """The features and logits of a classifier that a run trained, or the embeddings of a contrastive model's images; figures bear
    the names of network and run, and the step.

    Args:
        mesh: the devices over which it is laid; None: the default device.

    Raises:
        GenjaxError: no run, or one of another task.
    """
    task = run_task(workdir)
    if not isinstance(task, Classification | Contrastive):
        raise RequestError(f"{workdir} is no run of task 'classification' or 'contrastive', whose features could measure images.")
    return _features_of(task, workdir, mesh)


def _features_of(task: Classification | Contrastive, workdir: Path | str, mesh: Mesh | None) -> FeatureNetwork:
    classifies = isinstance(task, Classification)
    p, channels = task.preprocessor, (task.model_config if classifies else task.info).channels

    def apply(variables: Variables, images: jax.Array) -> Features:
        images = images.astype(jnp.float32)
        if channels == 1:
            images = images.mean(-1, keepdims=True)
        if images.shape[1:3] != (p.height, p.width):
            images = jax.image.resize(images, (len(images), p.height, p.width, channels), "linear", antialias=True)
        if not classifies:
            return Features(task.encode_images(variables, normalize(images, p)))
        found = task.model.apply(variables["vit"], normalize(images, p))
        return Features(found.features[:, 0], found.logits)

    kind, step = "vit" if classifies else "clip", newest_checkpoint(workdir)
    name = f"{kind}-{Path(workdir).resolve().name}-{config_hash(read_config(Path(workdir)))[:8]}-{step}"
    variables = run_variables(workdir, task, mesh=mesh)
    return FeatureNetwork(name, p.height, apply, variables, mesh=mesh, classes=task.info.classes if classifies else ())


def class_judge(network: FeatureNetwork) -> Judge:
    """The likeliest class of each image, by a network that knows names of classes."""

    def read(artifacts: Sequence[Artifact]) -> list[Mapping[str, str]]:
        logits = network.features(stacked(artifacts)).logits
        return [{"class": network.classes[best]} for best in logits.argmax(1)]

    return read


def judge_of(workdir: Path | str, mesh: Mesh | None = None) -> Judge:
    """What a run's model says of samples: the class of images, the text of sounds.

    Arguments and errors as for `feature_network`.
    """
    task = run_task(workdir)
    if isinstance(task, Classification):
        return class_judge(_features_of(task, workdir, mesh))
    if isinstance(task, Speech):
        sampler, variables = Sampler(task, mesh=mesh), run_variables(workdir, task, mesh=mesh)

        def texts(artifacts: Sequence[Artifact]) -> list[Mapping[str, str]]:
            with tempfile.TemporaryDirectory() as folder:
                files = writers.write(artifacts, Path(folder) / "sounds")
                heard = sampler(variables, [task.request_type(sound=str(file), temperature=0.0) for file in files])
            return [{"text": artifact.value.strip()} for artifact in heard]

        return texts
    raise RequestError(f"{workdir} is a run that neither classifies images nor writes down sounds; name one that does.")


def shapes_judge(info: ShapesInfo) -> Judge:
    """What the reader of drawn shapes finds, without any network; two groups in the order in which they were asked for."""

    from genjax.data.sources import shape_reader  # scipy takes a while to import

    def read(artifacts: Sequence[Artifact]) -> list[Mapping[str, str]]:
        wishes = [artifact.metadata["label"] for artifact in artifacts]
        asked = np.array([[values.index(wish[name]) for name, values in info.attributes] for wish in wishes])
        found = shape_reader.in_order_of(asked, shape_reader.read(stacked(artifacts), shapes.groups_in(asked)))
        return [
            {
                name: values[number]
                for (name, values), number in zip(info.attributes, row, strict=True)
                if number != shapes.UNKNOWN
            }
            for row in found
        ]

    return read


def stacked(artifacts: Sequence[Artifact]) -> UInt8[np.ndarray, "images height width 3"]:
    """Images as one array. Raises RequestError: of several sizes."""
    if len({artifact.value.shape for artifact in artifacts}) > 1:
        raise RequestError("the images are of several sizes; ask for one.")
    return np.stack([artifact.value for artifact in artifacts])


def agreement(asked: Sequence[Mapping[str, str]], found: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """The share of samples that show each attribute that was asked for; and of those that show all, where there are several."""
    names = list(asked[0])
    right = np.array([[one.get(name) == wish[name] for name in names] for wish, one in zip(asked, found, strict=True)])
    shares = {f"agreement_{name}": float(share) for name, share in zip(names, right.mean(0), strict=True)}
    if len(names) > 1:
        shares |= {"agreement": float(right.mean()), "agreement_of_all": float(right.all(1).mean())}
    return shares


def spread(found: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """How many classes samples show, as if all that are shown were equally frequent: the exponential of their shares' entropy. A
    generator that has forgotten some, or favours some, shows fewer than there are."""
    _, counts = np.unique([one.get("class", "") for one in found], return_counts=True)
    shares = counts / counts.sum()
    return {"effective_classes": float(np.exp(-(shares * np.log(shares)).sum()))}

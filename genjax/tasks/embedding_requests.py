"""Requests to a model of images and texts: an embedding, or texts ranked for an image."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from genjax.data.image_texts import ImageTextsInfo
from genjax.data.text_rows import text_rows
from genjax.data.tokenizers.base import Tokenizer
from genjax.errors import RequestError
from genjax.evaluation.zero_shot import class_weights, fill
from genjax.interop.preprocessor import Preprocessor
from genjax.tasks.base import BaseTask
from genjax.tasks.contract import Artifact, Batch, Variables
from genjax.tasks.image_batches import normalize, read_request_images, row_batches, unbatched

TEXT_ROWS = 1024  # texts of a batch at most


@dataclass(frozen=True)
class EmbeddingRequest:
    """A text or an image to embed; or an image and the texts to rank for it, as a classifier that was never trained."""

    prompt: str = field(default="", metadata={"help": "a text to embed"})
    image: str = field(default="", metadata={"help": "an image file to embed, or to rank texts for"})
    text: tuple[str, ...] = field(default=(), metadata={"help": "with --image: a text or the name of a class (repeatable)"})
    template: tuple[str, ...] = field(
        default=(), metadata={"help": "with --text: what the names stand in, such as 'a photo of a {}.' (repeatable)"}
    )

    @property
    def texts(self) -> tuple[str, ...]:
        """All that the text tower has to read, in order."""
        return fill(self.text, self.template) if self.text else (self.prompt,) if self.prompt else ()


@dataclass(frozen=True)
class EmbeddingSampling(BaseTask):
    """A task that embeds: it has `encode_images`, `encode_texts` and `scale_and_bias`."""

    model_config: Any
    info: ImageTextsInfo
    preprocessor: Preprocessor

    request_type = EmbeddingRequest

    def encode_images(self, variables: Variables, images: Float[Array, "images height width channels"]) -> Array:
        raise NotImplementedError

    def encode_texts(self, variables: Variables, tokens: Int[Array, "texts length"]) -> Array:
        raise NotImplementedError

    def scale_and_bias(self, variables: Variables) -> tuple[Array, Array]:
        raise NotImplementedError

    @property
    def _sigmoid(self) -> bool:
        """Whether each logit is judged alone, so that no text may fit, or several."""
        return False

    def prepare(self, requests: Sequence[EmbeddingRequest]) -> Sequence[Batch]:
        for request in requests:
            _check(request)
        files = [request.image for request in requests if request.image]
        texts = [text for request in requests for text in request.texts]
        images, rows = [], []
        if files:
            images = row_batches(read_request_images(files, self.preprocessor, self.info.channels))
        if texts:
            rows = row_batches(text_rows(self.tokenizer, texts, self.info.context_length, self.info.canonical), TEXT_ROWS)
        pairs = itertools.zip_longest(images, rows)
        return [{name: x for name, x in (("image", image), ("tokens", row)) if x is not None} for image, row in pairs]

    def sample(self, variables: Variables, batch: Batch, key: jax.Array) -> Batch:
        scale, bias = self.scale_and_bias(variables)
        found = {"scale": scale, "bias": bias}
        if "image" in batch:
            found["images"] = self.encode_images(variables, normalize(batch["image"], self.preprocessor))
        if "tokens" in batch:
            found["texts"] = self.encode_texts(variables, batch["tokens"])
        return found

    def present(self, requests: Sequence[EmbeddingRequest], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        counts = {"images": sum(bool(r.image) for r in requests), "texts": sum(len(r.texts) for r in requests)}
        rows = {name: [batch[name] for batch in arrays if name in batch] for name in counts}
        if any(sum(map(len, rows[name])) < count for name, count in counts.items()):
            raise RequestError("so many texts do not come in one piece; add --no-stream.")
        found = {name: iter(unbatched(rows[name], count) if count else ()) for name, count in counts.items()}
        scale, bias = float(arrays[0]["scale"]), float(arrays[0]["bias"])
        artifacts = []
        for request in requests:
            image = next(found["images"]) if request.image else None
            texts = np.stack([next(found["texts"]) for _ in request.texts]) if request.texts else None
            if request.text:
                artifacts.append(self._ranked(request, image, texts, scale, bias))
            else:
                artifacts.append(_embedded(request, texts[0] if image is None else image))
        return artifacts

    def _ranked(self, request: EmbeddingRequest, image: np.ndarray, texts: np.ndarray, scale: float, bias: float) -> Artifact:
        weights = class_weights(texts, len(request.text))
        cosines = weights @ image
        logits = scale * cosines + bias
        if self._sigmoid:
            shares = 1 / (1 + np.exp(-logits))
        else:
            shares = np.exp(logits - logits.max())
            shares /= shares.sum()
        order = np.argsort(-logits, kind="stable")
        numbers = [(round(float(shares[i]), 6), round(float(cosines[i]), 6)) for i in order]
        names = [request.text[i] for i in order]
        listed = [{"text": t, "probability": p, "cosine": c} for t, (p, c) in zip(names, numbers, strict=True)]
        width = max(len(text) for text in request.text)
        value = "\n".join(f"{e['text']:<{width}}  {e['probability']:7.2%}  cosine {e['cosine']:.4f}" for e in listed)
        return Artifact("text", value, {"image": request.image, "template": list(request.template), "texts": listed})

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the texts. Raises RequestError where there is none."""
        if self.info.tokenizer is None:
            raise RequestError("there is no tokenizer beside these weights; add tokenizer.json, or vocab.json and merges.txt.")
        return self.info.tokenizer


def _check(request: EmbeddingRequest) -> None:
    if bool(request.prompt) == bool(request.image):
        raise RequestError("give one thing to embed: a text with --prompt, or an image with --image.")
    if request.text and not request.image:
        raise RequestError("--text ranks texts for an image; name it with --image, or embed a text with --prompt.")
    if request.template and not request.text:
        raise RequestError("--template needs names to put in it; give them with --text.")
    if missing := [template for template in request.template if "{}" not in template]:
        raise RequestError(f"the template {missing[0]!r} has no place for a name; write {{}} there.")


def _embedded(request: EmbeddingRequest, embedding: np.ndarray) -> Artifact:
    numbers = [float(f"{x:.7g}") for x in embedding]
    given = {"image": request.image} if request.image else {"input": request.prompt}
    return Artifact("text", json.dumps(numbers), {**given, "embedding": numbers})

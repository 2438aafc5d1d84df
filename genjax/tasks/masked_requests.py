"""What a person asks of an encoder of text: the words that [MASK] stands for, or the vector of a text."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data import DataInfo
from genjax.decoding.buckets import power_of_two
from genjax.errors import RequestError
from genjax.models.bert import pool_tokens
from genjax.tasks import attention, masking
from genjax.tasks.base import BaseTask
from genjax.tasks.contract import Artifact, AttentionMap, Batch, Variables

MASK = "[MASK]"  # how a text names the mask, whatever the tokenizer calls it
MAX_ROWS = 64  # texts that are read at a time
SMALLEST = 16  # slots; below it a shorter shape saves nothing


@dataclass(frozen=True)
class MaskedRequest:
    """One text."""

    prompt: str = field(default="", metadata={"help": f"a text with {MASK} where words are to be found; with --embed, any text"})
    top_k: int = field(default=5, metadata={"help": "words for each place"})
    embed: bool = field(default=False, metadata={"help": "give the text's vector (length 1) in the place of words"})
    pooling: Literal["mean", "cls"] = field(default="mean", metadata={"help": "the vector: mean over tokens, or the first's"})


@dataclass(frozen=True)
class MaskedSampling(BaseTask):
    """A task whose one component, "encoder", is a BERT or an encoder like it. Needs `model`, the Flax module."""

    model_config: Any
    info: DataInfo

    request_type = MaskedRequest

    def prepare(self, requests: Sequence[MaskedRequest]) -> Sequence[Batch]:
        """Batches of texts of about one length: tokens, segment_ids [rows slots]; owner [rows]; then places [rows masks] and
        ranks [words], or cls [rows] (1 for the first token's vector, 0 for the mean)."""
        groups: dict[tuple[int, int, int], list[int]] = {}
        encoded = []
        for number, request in enumerate(requests):
            tokens, masks = self._encode(request, f"request {number + 1}: " if len(requests) > 1 else "")
            encoded.append((tokens, masks))
            slots = min(power_of_two(len(tokens), SMALLEST), self.model_config.context_length)
            shape = (slots, 0, 0) if request.embed else (slots, power_of_two(len(masks)), power_of_two(request.top_k))
            groups.setdefault(shape, []).append(number)
        batches = []
        for shape, members in sorted(groups.items()):
            for start in range(0, len(members), MAX_ROWS):
                batches.append(self._arrays(shape, members[start : start + MAX_ROWS], encoded, requests))
        return batches

    def sample(self, variables: Variables, batch: Batch, key: jax.Array) -> Batch:
        apply = functools.partial(self.model.apply, variables["encoder"])
        segments = batch["segment_ids"]
        hidden = apply(batch["tokens"], segment_ids=segments, method="hidden")
        if "cls" in batch:
            pooled = {name: pool_tokens(hidden, segments, name) for name in ("cls", "mean")}
            vectors = jnp.where(batch["cls"][:, None], pooled["cls"], pooled["mean"])
            return {"owner": batch["owner"], "vectors": vectors}
        chosen = jnp.take_along_axis(hidden, batch["places"][..., None], axis=1)
        log_probs = jax.nn.log_softmax(apply(chosen, method="token_logits"), axis=-1)
        words = min(batch["ranks"].shape[0], log_probs.shape[-1])
        best, ids = jax.lax.top_k(log_probs, words)
        return {"owner": batch["owner"], "probabilities": jnp.exp(best), "ids": ids}

    def present(self, requests: Sequence[MaskedRequest], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        answers: list[Any] = [None] * len(requests)
        for batch in arrays:
            names = ("vectors",) if "vectors" in batch else ("ids", "probabilities")
            for row, owner in enumerate(np.asarray(batch["owner"]).tolist()):
                if owner >= 0:
                    answers[owner] = [np.asarray(batch[name])[row] for name in names]
        vectors = {i: answers[i][0] for i, request in enumerate(requests) if request.embed}
        return [
            self._embedding(number, request, vectors) if request.embed else self._words(request, *answers[number])
            for number, request in enumerate(requests)
        ]

    def attention(self, variables: Variables, request: MaskedRequest) -> Sequence[AttentionMap]:
        tokens, _ = self._encode(dataclasses.replace(request, embed=True), "")
        labels = attention.token_labels(self.info.tokenizer, tokens)
        return attention.of_text(*attention.unrolled(self.model, variables["encoder"]["params"]), tokens, labels)

    def _encode(self, request: MaskedRequest, where: str) -> tuple[list[int], list[int]]:
        """(tokens with their specials, places of the masks)."""
        tokenizer = self.info.tokenizer
        if tokenizer is None:
            raise RequestError("there is no tokenizer beside these weights; add tokenizer.json or vocab.txt.")
        if not 1 <= request.top_k <= self.model_config.vocab_size:
            raise RequestError(
                f"{where}top_k must be between 1 and the vocabulary's {self.model_config.vocab_size}, but is {request.top_k}."
            )
        if not request.embed and not getattr(self.model_config, "masked_lm", True):
            raise RequestError(f"{where}this model has no head for masked words; add --embed for the text's vector.")
        if not request.embed and MASK not in request.prompt:
            raise RequestError(f"{where}the text has no {MASK}; write it where a word is to be found, or add --embed.")
        mask_id = masking.mask_token(tokenizer) if MASK in request.prompt else 0
        tokens = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        masks = []
        for number, part in enumerate(request.prompt.split(MASK)):
            if number:
                masks.append(len(tokens))
                tokens.append(mask_id)
            tokens += tokenizer.encode(part).tolist()
        tokens += [] if tokenizer.eos_id is None else [tokenizer.eos_id]
        room = self.model_config.context_length
        if len(tokens) > room:
            raise RequestError(f"{where}the text has {len(tokens):,} tokens, but the model reads {room:,}; shorten it.")
        return tokens, masks

    def _arrays(self, shape: tuple[int, int, int], members: list[int], encoded, requests) -> Batch:
        slots, num_masks, words = shape
        rows = power_of_two(len(members))
        tokens, segment_ids = np.zeros((rows, slots), np.int32), np.zeros((rows, slots), np.int32)
        owner, places, cls = np.full(rows, -1, np.int32), np.zeros((rows, num_masks), np.int32), np.zeros(rows, np.int32)
        for row, number in enumerate(members):
            ids, masks = encoded[number]
            tokens[row, : len(ids)], segment_ids[row, : len(ids)] = ids, 1
            owner[row] = number
            places[row, : len(masks)] = masks[:num_masks]
            cls[row] = requests[number].pooling == "cls"
        batch = {"tokens": tokens, "segment_ids": segment_ids, "owner": owner}
        return batch | ({"places": places, "ranks": np.arange(words)} if num_masks else {"cls": cls})

    def _words(self, request: MaskedRequest, ids: np.ndarray, probabilities: np.ndarray) -> Artifact:
        """The words of each mask as lines below the text, and the text with the likeliest of them."""
        count = request.prompt.count(MASK)
        found, lines, filled = [], [], request.prompt
        for place in range(count):
            names = [self.info.tokenizer.decode([i]).strip() for i in ids[place][: request.top_k].tolist()]
            shares = probabilities[place][: request.top_k].tolist()
            found.append([{"word": name, "probability": share} for name, share in zip(names, shares, strict=True)])
            which = f"{MASK} {place + 1}" if count > 1 else MASK
            lines.append(f"  {which}: " + ", ".join(f"{name} {share:.1%}" for name, share in zip(names, shares, strict=True)))
            filled = filled.replace(MASK, names[0], 1)
        metadata = {"prompt": request.prompt, "filled": filled, "masks": found}
        return Artifact("text", "\n" + "\n".join(lines), metadata)

    def _embedding(self, number: int, request: MaskedRequest, vectors: dict[int, np.ndarray]) -> Artifact:
        """The vector, and its cosines with those of the other texts, in their order."""
        own = vectors[number]
        cosines = {other + 1: float(own @ vector) for other, vector in vectors.items() if other != number}
        text = f"\n  a vector of {len(own)} numbers and length 1"
        text += "".join(f"\n  cosine with text {other}: {cosine:.3f}" for other, cosine in cosines.items())
        metadata = {"prompt": request.prompt, "pooling": request.pooling, "vector": [float(x) for x in own]}
        return Artifact("text", text, metadata | {"cosines": {str(other): cosine for other, cosine in cosines.items()}})

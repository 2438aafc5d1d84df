"""Masked words: which are hidden and how, the loss over them, requests against transformers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from genjax import data, tasks
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.data.tokenizers.wordpiece import train_wordpiece
from genjax.errors import ConfigError, RequestError
from genjax.sampling import sample
from genjax.tasks import masking
from genjax.tasks.masked_lm import from_weights
from genjax.tasks.masked_requests import MaskedRequest
from tests.parity.parity_models import seeded

TEXTS = [
    f"The {a} {b} walks unhurriedly over {c} bridges." for a in ("old", "red", "tall") for b in ("man", "dog") for c in "abcde"
]
MODEL = {"num_layers": 2, "num_heads": 2, "embed_dim": 32, "context_length": 64, "dropout": 0.0}
TOKENIZER = train_wordpiece(TEXTS, 60)


def build(task=None, model=None, tokenizer=TOKENIZER, **section):
    section = {"name": "text", "batch_size": 4, "sequence_length": 32, "bidirectional": True} | section
    return tasks.build({"name": "masked_lm", "model": MODEL | (model or {})} | (task or {}), data.describe(section, tokenizer))


def rows(count=4, length=32):
    """Two packed texts a row and padding behind them."""
    tokens, segments = np.zeros((2, count, length), np.int32)
    for row in range(count):
        at = 0
        for segment in (1, 2):
            ids = [TOKENIZER.cls_id, *TOKENIZER.encode(TEXTS[row * 2 + segment])[:13], TOKENIZER.sep_id]
            tokens[row, at : at + len(ids)], segments[row, at : at + len(ids)] = ids, segment
            at += len(ids)
    return tokens, segments


@pytest.fixture(scope="module")
def task():
    return build()


@pytest.fixture(scope="module")
def variables(task):
    return nn.unbox(jax.jit(task.init)(jax.random.key(0)))


@pytest.fixture(scope="module")
def batch():
    tokens, segments = rows()
    positions = np.broadcast_to(np.arange(32, dtype=np.int32), tokens.shape)
    return {
        "tokens": tokens, "targets": tokens, "segment_ids": segments, "positions": positions,
        "loss_mask": (segments > 0).astype(np.int32),
    }  # fmt: skip


def draw(tokens, segments, seed, **options):
    vocabulary = masking.vocabulary_of(TOKENIZER)
    keys = jax.random.split(jax.random.key(seed), len(tokens))
    return jax.tree.map(np.asarray, masking.mask(keys, tokens, segments, vocabulary, **{"rate": 0.15, **options}))


def test_fifteen_percent_of_the_words_are_hidden_eighty_ten_ten():
    tokens, segments = (np.tile(x, (2000, 1)) for x in rows(1))
    found = draw(tokens, segments, 0)
    eligible = (segments > 0) & ~np.isin(tokens, [TOKENIZER.cls_id, TOKENIZER.sep_id])
    assert (found.weights.sum(1) == round(0.15 * eligible[0].sum())).all()
    hidden = found.weights > 0
    places = [set(row[keep].tolist()) for row, keep in zip(found.places, hidden, strict=True)]
    assert set.union(*places) == set(np.flatnonzero(eligible[0]).tolist())  # every word, no special, no padding
    assert (np.take_along_axis(tokens, found.places, 1) == found.targets).all()
    seen = np.take_along_axis(found.tokens, found.places, 1)[hidden]
    masked, stays = seen == TOKENIZER.mask_id, seen == found.targets[hidden]
    assert abs(masked.mean() - 0.8) < 0.02
    ordinary = len(masking.vocabulary_of(TOKENIZER).ordinary)
    assert abs(stays.mean() - (0.1 + 0.1 / ordinary)) < 0.015
    assert not np.isin(seen[~masked], [TOKENIZER.cls_id, TOKENIZER.sep_id, TOKENIZER.pad_id]).any()
    untouched = np.ones_like(tokens, bool)
    for row, own in enumerate(places):
        untouched[row, list(own)] = False
    assert (found.tokens[untouched] == tokens[untouched]).all()


def test_masks_are_drawn_anew_by_key_and_row_by_row():
    tokens, segments = rows()
    first, again, other = (draw(tokens, segments, seed) for seed in (0, 0, 1))
    assert (first.tokens == again.tokens).all() and (first.tokens != other.tokens).any()
    vocabulary = masking.vocabulary_of(TOKENIZER)
    together = masking.mask(masking.content_keys(tokens), tokens, segments, vocabulary, 0.15)
    alone = masking.mask(masking.content_keys(tokens[2:3]), tokens[2:3], segments[2:3], vocabulary, 0.15)
    assert (together.tokens[2] == alone.tokens[0]).all() and (together.places[2] == alone.places[0]).all()


def test_whole_words_are_hidden_together():
    tokens, segments = (np.tile(x, (300, 1)) for x in rows(1))
    found = draw(tokens, segments, 3, rate=0.3, whole_words=True)
    inside = masking.vocabulary_of(TOKENIZER).inside[tokens[0]]
    assert inside.any()
    word = np.cumsum(~inside)
    several = 0
    for row, keep in zip(found.places, found.weights > 0, strict=True):
        own = set(row[keep].tolist())
        for number in {word[place] for place in own}:
            members = set(np.flatnonzero(word == number).tolist())
            assert members <= own
            several += len(members) > 1
    assert several > 100 and found.weights.sum(1).max() <= round(0.3 * 26)


def test_the_loss_is_the_mean_over_the_hidden_words_alone(task, variables, batch):
    masked = task.mask(batch, masking.content_keys(batch["tokens"]))
    out = task.model.apply(variables["encoder"], masked.tokens, segment_ids=batch["segment_ids"], positions=batch["positions"])
    log_probs = np.asarray(jax.nn.log_softmax(out.token_logits))
    expected = [
        -log_probs[row, place, batch["tokens"][row, place]]
        for row in range(4)
        for place, weight in zip(masked.places[row], masked.weights[row], strict=True)
        if weight
    ]
    totals = task.evaluate(variables, batch, jax.random.key(7))
    assert float(totals["loss"][0]) == pytest.approx(sum(expected), rel=1e-5)
    assert float(totals["loss"][1]) == len(expected) == 16
    again = task.evaluate(variables, batch, jax.random.key(8))
    assert float(again["loss"][0]) == float(totals["loss"][0])  # the same words at every evaluation
    values = [float(task.loss(variables, batch, jax.random.key(key))[0]) for key in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_rows_of_padding_weigh_nothing(task, variables, batch):
    empty = jax.tree.map(np.zeros_like, batch)
    loss, aux = task.loss(variables, empty, jax.random.key(0))
    assert float(loss) == float(aux.weight) == 0
    half = {name: np.concatenate([value[:2], empty[name][2:]]) for name, value in batch.items()}
    only = {name: value[:2] for name, value in batch.items()}
    found, expected = (task.evaluate(variables, b, jax.random.key(0))["loss"] for b in (half, only))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bidirectional": False}, "set config.data.bidirectional=True"),
        ({"tokenizer": ByteTokenizer()}, "needs a tokenizer with a \\[MASK\\]"),
        ({"task": {"mask_rate": 1.0}}, "mask_rate is 1.0; it must be above 0 and below 1"),
        ({"task": {"network": "brt"}}, "did you mean 'bert'"),
        ({"model": {"size": "bert_bass_uncased"}}, "did you mean 'bert_base_uncased'"),
        ({"sequence_length": 100}, "longer than the model's context_length 64"),
        ({"model": {"masked_lm": False}}, "this task trains that head"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(**arguments)


def test_next_token_models_refuse_rows_whose_targets_are_themselves():
    info = data.describe({"name": "text", "batch_size": 4, "sequence_length": 32, "bidirectional": True}, TOKENIZER)
    model = {"num_layers": 1, "num_heads": 1, "embed_dim": 8, "context_length": 32}
    with pytest.raises(ConfigError, match="makes each token its own target"):
        tasks.build({"name": "language_model", "model": model}, info)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BertForMaskedLM of transformers with our tokenizer beside it."""
    path = tmp_path_factory.mktemp("bert")
    config = transformers.BertConfig(
        vocab_size=TOKENIZER.vocab_size, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=48, initializer_range=0.5,
    )  # fmt: skip
    with seeded(3):
        transformers.BertForMaskedLM(config).eval().save_pretrained(path)
    TOKENIZER.save(path)
    return path


def test_words_and_vectors_are_those_of_transformers(folder):
    task, variables = tasks.open_weights(folder)
    prompts = ["The [MASK] man walks over [MASK] bridges.", "A tall [MASK]", "The old red dog walks over a [MASK] bridge and on."]
    found = sample(task, variables, [MaskedRequest(prompt=p, top_k=4) for p in prompts])
    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for prompt, artifact in zip(prompts, found, strict=True):
        inputs = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            shares = model(**inputs).logits[0].softmax(-1)[inputs["input_ids"][0] == tokenizer.mask_token_id]
        best = shares.topk(4)
        for place, words in enumerate(artifact.metadata["masks"]):
            names = [tokenizer.decode([i]).strip() for i in best.indices[place].tolist()]
            assert [word["word"] for word in words] == names
            np.testing.assert_allclose([w["probability"] for w in words], best.values[place].numpy(), atol=1e-5)
        assert artifact.metadata["filled"].count("[MASK]") == 0

    texts = ["The old man", "A tall red dog walks over bridges."]
    requests = [MaskedRequest(prompt=text, embed=True, pooling=p) for p in ("mean", "cls") for text in texts]
    found = [np.array(artifact.metadata["vector"]) for artifact in sample(task, variables, requests)]
    for text, mean, cls in zip(texts, found[:2], found[2:], strict=True):
        with torch.no_grad():
            hidden = model.bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        for vector, expected in ((mean, hidden.mean(0)), (cls, hidden[0])):
            np.testing.assert_allclose(vector, torch.nn.functional.normalize(expected, dim=0).numpy(), atol=1e-5)


def test_export_is_read_by_transformers(folder, tmp_path):
    task, variables = tasks.open_weights(folder)
    task.export(tmp_path / "out", variables)
    again = transformers.BertForMaskedLM.from_pretrained(tmp_path / "out").state_dict()
    before = transformers.BertForMaskedLM.from_pretrained(folder).state_dict()
    assert before.keys() == again.keys() and all(torch.equal(value, again[key]) for key, value in before.items())


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (MaskedRequest(prompt="no mask here"), "the text has no \\[MASK\\]"),
        (MaskedRequest(prompt="[MASK]", top_k=0), "top_k must be between 1 and"),
        (MaskedRequest(prompt="[MASK] " * 70), "tokens, but the model reads 48; shorten it"),
    ],
)
def test_requests_that_cannot_be_answered(folder, request_, message):
    with pytest.raises(RequestError, match=message):
        from_weights(folder, TOKENIZER).prepare([request_])


def test_a_sentence_encoder_gives_vectors_and_no_words(tmp_path):
    config = transformers.BertConfig(vocab_size=TOKENIZER.vocab_size, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    transformers.BertModel(config).save_pretrained(tmp_path)
    TOKENIZER.save(tmp_path)
    task, variables = tasks.open_weights(tmp_path)
    with pytest.raises(RequestError, match="no head for masked words; add --embed"):
        task.prepare([MaskedRequest(prompt="a [MASK]")])
    artifacts = sample(task, variables, [MaskedRequest(prompt=text, embed=True) for text in ("old man", "red dog", "old man")])
    assert artifacts[0].metadata["cosines"]["3"] == pytest.approx(1.0, abs=1e-6)


def test_training_lowers_the_held_out_loss(task, variables, batch):
    """A few steps of plain gradient descent on one batch."""
    step = jax.jit(jax.value_and_grad(lambda v, key: task.loss(v, batch, key)[0]))
    before = float(jnp.divide(*task.evaluate(variables, batch, jax.random.key(0))["loss"]))
    for number in range(60):
        _, gradients = step(variables, jax.random.key(number))
        variables = jax.tree.map(lambda v, g: v - 0.3 * g, variables, gradients)
    assert float(jnp.divide(*task.evaluate(variables, batch, jax.random.key(0))["loss"])) < before - 0.7

"""Scores of continuations against a direct computation, one unpadded text at a time, on a small GPT."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import RequestError
from genjax.evaluation import continuations
from genjax.evaluation.continuations import Batching
from genjax.models.gpt import GPT, GPTConfig

VOCAB, CONTEXT = 37, 32


class Network:
    """A GPT with its parameters, a record of the shapes it was called with, and direct scores in float64."""

    def __init__(self):
        self.model = GPT(
            GPTConfig(vocab_size=VOCAB, context_length=CONTEXT, num_layers=1, num_heads=2, embed_dim=16, init_std=0.5)
        )
        self.variables = jax.jit(self.model.init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
        self.shapes = []
        self.apply = jax.jit(
            lambda tokens, segments, positions: self.model.apply(
                self.variables, tokens, segment_ids=segments, positions=positions
            )
        )

        self.unpadded = jax.jit(lambda tokens: self.model.apply(self.variables, tokens))

    def logits_fn(self, tokens, segment_ids, positions):
        self.shapes.append(tokens.shape)
        return self.apply(tokens, segment_ids, positions)

    def direct(self, context, continuation):
        tokens = np.array([*context, *continuation], np.int32)
        logits = np.asarray(self.unpadded(tokens[None, :-1])[0], np.float64)
        log_p = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
        rows = np.arange(len(context) - 1, len(tokens) - 1)
        total = sum(log_p[row, tokens[row + 1]] for row in rows)
        return total, all(np.argmax(log_p[row]) == tokens[row + 1] for row in rows)


@pytest.fixture(scope="module")
def network():
    return Network()


def random_requests(count, seed):
    rng = np.random.default_rng(seed)
    requests = []
    for _ in range(count):
        length = int(rng.choice([2, 7, 17, 18, 33]))
        cut = int(rng.integers(1, length))
        ids = rng.integers(0, VOCAB, length)
        requests.append((ids[:cut], ids[cut:]))
    return requests


def test_scores_equal_the_direct_computation(network):
    requests = random_requests(9, seed=0)
    scores = continuations.log_likelihoods(network.logits_fn, requests, Batching(CONTEXT, batch_size=4))
    for (context, continuation), score in zip(requests, scores, strict=True):
        expected, greedy = network.direct(context, continuation)
        assert score.log_likelihood == pytest.approx(expected, rel=1e-5)
        assert score.is_greedy == greedy
        assert (score.num_tokens, score.truncated) == (len(continuation), 0)


def test_greedy_text_is_recognized_as_greedy(network):
    tokens = [5, 9]
    for _ in range(6):
        logits = network.unpadded(np.array([tokens], np.int32))
        tokens.append(int(jnp.argmax(logits[0, -1])))
    wrong = [*tokens[:-1], (tokens[-1] + 1) % VOCAB]
    requests = [(tokens[:2], tokens[2:]), (tokens[:2], wrong[2:]), (tokens[:4], tokens[4:])]
    scores = continuations.log_likelihoods(network.logits_fn, requests, Batching(CONTEXT, batch_size=2))
    assert [score.is_greedy for score in scores] == [True, False, True]


@pytest.mark.parametrize("batch_size, buckets", [(1, ()), (3, (32,)), (16, (8, 16, 24, 32))])
def test_batching_and_padding_do_not_matter(network, batch_size, buckets):
    requests = random_requests(11, seed=1)
    reference = continuations.log_likelihoods(network.logits_fn, requests, Batching(CONTEXT, batch_size=5))
    scores = continuations.log_likelihoods(network.logits_fn, requests, Batching(CONTEXT, batch_size, buckets))
    for score, expected in zip(scores, reference, strict=True):
        assert score.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-5)
        assert score.is_greedy == expected.is_greedy


def test_the_network_is_called_with_one_shape_for_each_bucket(network):
    network.shapes.clear()
    continuations.log_likelihoods(network.logits_fn, random_requests(25, seed=2), Batching(CONTEXT, batch_size=4))
    assert set(network.shapes) == {(4, 16), (4, 32)}
    assert Batching(100).lengths == (16, 32, 64, 100)
    assert Batching(64).lengths == (16, 32, 64)
    assert Batching(7).lengths == (7,)


def test_a_long_context_loses_its_oldest_tokens_and_says_so(network):
    ids = np.random.default_rng(3).integers(0, VOCAB, CONTEXT + 10)
    (score,) = continuations.log_likelihoods(network.logits_fn, [(ids[:-4], ids[-4:])], Batching(CONTEXT))
    kept = ids[-(CONTEXT + 1) :]
    assert score.log_likelihood == pytest.approx(network.direct(kept[:-4], kept[-4:])[0], rel=1e-5)
    assert score.truncated == 9


def test_an_empty_context_is_the_prefix_token(network):
    batching = Batching(CONTEXT)
    (empty,) = continuations.log_likelihoods(network.logits_fn, [([], [4, 2])], batching, prefix_token=7)
    (given,) = continuations.log_likelihoods(network.logits_fn, [([7], [4, 2])], batching)
    assert empty == given


@pytest.mark.parametrize(
    "request_pair, message",
    [
        (([1], []), "request 0 has an empty continuation"),
        (([], [1]), "give a prefix_token"),
        (([1], [1] * (CONTEXT + 1)), "33 tokens, more than the 32"),
    ],
)
def test_requests_that_cannot_be_scored_are_named(network, request_pair, message):
    with pytest.raises(RequestError, match=message):
        continuations.log_likelihoods(network.logits_fn, [request_pair], Batching(CONTEXT))


def test_rolling_scores_every_token_once_in_disjoint_windows(network):
    rng = np.random.default_rng(4)
    documents = [rng.integers(0, VOCAB, n).tolist() for n in (0, 1, 32, 33, 70)]
    scores = continuations.rolling_log_likelihoods(network.logits_fn, documents, Batching(CONTEXT, batch_size=3), prefix_token=0)
    for document, score in zip(documents, scores, strict=True):
        expected = 0.0
        for start in range(0, len(document), CONTEXT):
            end = min(start + CONTEXT, len(document))
            # What precedes a window's first token: the prefix, or as much of the text as fits beside the window.
            before = document[max(0, end - CONTEXT - 1) : start] if start else [0]
            expected += network.direct(before, document[start:end])[0]
        assert score.log_likelihood == pytest.approx(expected, rel=1e-5, abs=1e-9)
        assert score.num_tokens == len(document)


def test_rolling_with_full_context_predicts_each_token_from_all_that_fit(network):
    document = np.random.default_rng(5).integers(0, VOCAB, 12).tolist()
    batching = Batching(8, batch_size=4)
    (score,) = continuations.rolling_log_likelihoods(network.logits_fn, [document], batching, prefix_token=3, context=8)
    tokens = [3, *document]
    expected = sum(network.direct(tokens[max(0, i - 8) : i], [tokens[i]])[0] for i in range(1, len(tokens)))
    assert score.log_likelihood == pytest.approx(expected, rel=1e-5)
    assert score.num_tokens == 12


def test_multiple_choice_with_and_without_length():
    choices = [[-4.0, -5.0, -9.0], [-2.0, -3.0], [-1.0, -1.0]]
    lengths = [[2, 10, 3], [4, 4], [5, 5]]
    sums = continuations.multiple_choice(choices, [1, 0, 1], lengths)
    # The likeliest are 0, 0 and (of equals the first) 0; for each byte 1 (-0.5 against -2 and -3), 0 and 0.
    assert sums == {"accuracy": (1.0, 3.0), "accuracy_normalized": (2.0, 3.0)}
    assert continuations.multiple_choice(choices, [0, 1, 0]) == {"accuracy": (2.0, 3.0)}


@pytest.mark.parametrize(
    "answers, lengths, message",
    [
        ([2], None, "the answer of question 0 is 2"),
        ([0, 1], None, "same questions"),
        ([0], [[1]], "same questions"),
        ([0], [[1, 0]], "no length"),
    ],
)
def test_questions_that_do_not_fit_their_answers_are_errors(answers, lengths, message):
    with pytest.raises(RequestError, match=message):
        continuations.multiple_choice([[-1.0, -2.0]], answers, lengths)


def test_a_pair_is_cut_from_the_tokens_of_the_whole():
    def encode(text):  # words with the space before them, as byte-level BPE cuts
        pieces = text.replace(" ", "\x00 ").split("\x00")
        return [hash(piece) for piece in pieces if piece]

    context, continuation = continuations.encode_pair(encode, "the cat ", "sat down")
    assert context == encode("the cat")
    assert continuation == encode(" sat down")
    assert continuations.encode_pair(encode, "", "sat") == ([], encode("sat"))

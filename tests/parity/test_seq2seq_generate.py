"""The task writes what transformers' generate() writes for T5, versions 1.0 and 1.1: greedy and with beams, in padded batches of
sources of different lengths, in float32."""

import functools

import jax
import numpy as np
import pytest
import torch

from genjax import decoding, tasks
from genjax.tasks import seq2seq
from genjax.tasks.seq2seq import Seq2SeqRequest
from tests.parity import encoder_decoders

EOS, LENGTHS, LONGEST = 1, (13, 1, 29, 6, 20), 24


class Numbers:
    """A tokenizer of ids written out: "5 7 9"."""

    bos_id, eos_id, vocab_size = None, EOS, 0

    def encode(self, text):
        return [int(word) for word in text.split()]

    def decode_bytes(self, ids):
        return b"".join(b"%d " % i for i in ids)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """case -> (torch model, our task, its variables for sampling, `sample` compiled)."""

    @functools.cache
    def get(case):
        model = encoder_decoders.build(case, talkative=True)
        folder = tmp_path_factory.mktemp(case)
        model.save_pretrained(folder)
        task = seq2seq.from_weights(folder, Numbers())
        return model, task, task.sampling_variables(tasks.weights_variables(folder, task)), jax.jit(task.sample)

    return get


def sources(model, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(2, model.config.vocab_size, n).tolist() for n in LENGTHS]


def ours(case, texts, **knobs):
    """(tokens, whether an end came, score or None) of each answer to each source."""
    _, task, variables, sample = case
    requests = [Seq2SeqRequest(prompt=" ".join(map(str, text)), max_new_tokens=LONGEST, **knobs) for text in texts]
    batches = task.prepare(requests)
    arrays = [sample(variables, batch, jax.random.key(0)) for batch in batches]
    found = decoding.collect(arrays, requests, task.info.tokenizer.decode_bytes)
    return [[(list(g.tokens), g.finish_reason == "eos", g.score) for g in answers] for answers in found]


def theirs(case, texts, returned=1, **knobs):
    model = case[0]
    width = max(map(len, texts)) + 1
    tokens = torch.tensor([text + [EOS] + [0] * (width - 1 - len(text)) for text in texts])
    mask = torch.tensor([[1] * (len(text) + 1) + [0] * (width - 1 - len(text)) for text in texts])
    result = model.generate(
        input_ids=tokens,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=LONGEST,
        num_return_sequences=returned,
        eos_token_id=EOS,
        pad_token_id=0,
        decoder_start_token_id=0,
        use_cache=False,  # its cache takes the decoder to be no deeper than the encoder
        return_dict_in_generate=True,
        output_scores=True,
        **knobs,
    )
    scores = getattr(result, "sequences_scores", None)
    answers = []
    for row, sequence in enumerate(result.sequences[:, 1:].tolist()):
        ended = EOS in sequence
        written = sequence[: sequence.index(EOS)] if ended else sequence
        answers.append((written, ended, None if scores is None else float(scores[row])))
    return [answers[i : i + returned] for i in range(0, len(answers), returned)]


def compare(found, expected):
    for mine, reference in zip(found, expected, strict=True):
        assert [answer[:2] for answer in mine] == [answer[:2] for answer in reference]
        for (_, _, score), (written, _, other) in zip(mine, reference, strict=True):
            # A score adds the log-probability of every token and of the end, in float32 from logits of some tens.
            assert score is None or score == pytest.approx(other, abs=1e-5 * (len(written) + 1))


@pytest.mark.parametrize("case", ("1.0-a", "1.1-b"))
def test_greedy(pair, case):
    """The models are random, but do not say one thing to all sources."""
    texts = sources(pair(case)[0])
    found = ours(pair(case), texts, temperature=0.0)
    compare(found, theirs(pair(case), texts))
    assert len({tuple(answer[0][0]) for answer in found}) > 2


@pytest.mark.parametrize("penalty", [1.0, 0.4])
@pytest.mark.parametrize("case", ("1.0-b", "1.1-a"))
def test_four_beams(pair, case, penalty):
    texts = sources(pair(case)[0], seed=1)
    found = ours(pair(case), texts, num_beams=4, num_samples=2, length_penalty=penalty)
    compare(found, theirs(pair(case), texts, returned=2, num_beams=4, length_penalty=penalty))

"""Whole batches through one program and through chunks."""

import jax
import numpy as np
import pytest

from genjax.decoding import ChunkedDecoder, Settings, collect, generate, make_batches
from tests.decoding.toy_network import Toy

VOCAB, CONTEXT, EOS = 30, 64, 29
TOY = Toy(VOCAB)
PROMPTS = [[5, 3, 9, 1], [7], [2, 2, 20, 4, 11, 6], [1, 0]]
CALLS = []


def decode_bytes(tokens):
    """Token 0 is "a", 1 is "b", ...: 26 letters, a space, and halves of "é"."""
    return b"".join(bytes([97 + t]) if t < 26 else [b" ", b"\xc3", b"\xa9", b""][t - 26] for t in tokens)


def program(batch, key):
    CALLS.append(batch["tokens"].shape)
    return generate(TOY.step, TOY.new_cache, batch, key)


JITTED = jax.jit(program)
CHUNKED = ChunkedDecoder(lambda variables: TOY.step, lambda variables, batch: TOY.new_cache)


def batches(prompts, wishes):
    return make_batches(prompts, wishes, context_length=CONTEXT, eos_ids=(EOS,))


def chunked(batch, key, decoder=CHUNKED, chunk=3):
    *_, last = decoder.stream(None, batch, key, decode_bytes, chunk)
    return {name: value for name, value in last.items() if name != "text"}


def run(prompts, wishes, seed=0):
    key = jax.random.key(seed)
    arrays = [chunked(batch, key) if "host" in batch else JITTED(batch, key) for batch in batches(prompts, wishes)]
    return collect(arrays, wishes, decode_bytes)


def test_each_prompt_alone_gives_what_it_gives_among_others():
    wishes = [
        Settings(max_new_tokens=12, temperature=0.8, log_probs=True),
        Settings(max_new_tokens=30, top_k=5, num_samples=3),
        Settings(max_new_tokens=9, num_beams=3, num_samples=2, length_penalty=0.6),
        Settings(max_new_tokens=12, temperature=0.0, repetition_penalty=1.3, ignore_eos=True),
    ]
    together = run(PROMPTS, wishes)
    assert [len(samples) for samples in together] == [1, 3, 2, 1]
    for prompt, wish, expected in zip(PROMPTS, wishes, together, strict=True):
        (alone,) = run([prompt], [wish])
        assert [g.tokens for g in alone] == [g.tokens for g in expected]
    assert run(PROMPTS, wishes, seed=1)[1] != together[1]


def test_eos_is_not_text_but_its_log_probability_counts():
    (samples,) = run([[7]], [Settings(max_new_tokens=40, num_samples=8, log_probs=True, temperature=3.0)])
    ended = [g for g in samples if g.finish_reason == "eos"]
    assert ended and all(EOS not in g.tokens and len(g.log_probs) == len(g.tokens) + 1 for g in ended)
    assert all(len(g.log_probs) == len(g.tokens) == 40 for g in samples if g.finish_reason == "length")
    (samples,) = run([[7]], [Settings(max_new_tokens=40, num_samples=8, ignore_eos=True, temperature=3.0)])
    assert all(g.finish_reason == "length" for g in samples)


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_pieces_of_a_stream_add_up_to_the_whole(chunk):
    wishes = [Settings(max_new_tokens=25, temperature=1.2, log_probs=True)] * 4
    whole = run(PROMPTS, wishes)
    (batch,) = batches(PROMPTS, wishes)
    texts, found = [""] * 4, []
    for piece in CHUNKED.stream(None, batch, jax.random.key(0), decode_bytes, chunk):
        found = collect([piece], wishes, decode_bytes)
        texts = [text + samples[0].text for text, samples in zip(texts, found, strict=True)]
    assert texts == [samples[0].text for samples in whole]
    assert [s[0].metadata for s in found] == [s[0].metadata for s in whole]


def test_stop_strings_cut_the_text_and_end_the_loop_early():
    free = run(PROMPTS, [Settings(max_new_tokens=50, temperature=0.0, ignore_eos=True)] * 4)
    stops = [sample[0].text[4:6] for sample in free]  # over a token border, as every token is a letter
    wishes = [Settings(max_new_tokens=50, temperature=0.0, ignore_eos=True, stop=(stop, "never")) for stop in stops]
    stopped = run(PROMPTS, wishes)
    for before, after, stop in zip(free, stopped, stops, strict=True):
        place = before[0].text.index(stop)
        assert after[0].text == before[0].text[:place] and after[0].finish_reason == "stop"
        assert after[0].tokens == before[0].tokens[: place + 2]
    (batch,) = batches(PROMPTS, wishes)
    arrays = chunked(batch, jax.random.key(0))
    assert max(arrays["num_tokens"]) <= 6 + 3


def test_a_row_that_stopped_does_not_hold_up_or_change_the_others():
    free = run(PROMPTS, [Settings(max_new_tokens=30, temperature=0.9)] * 4)
    stop = free[0][0].text[2:4]
    wishes = [Settings(max_new_tokens=30, temperature=0.9, stop=(stop if row == 0 else "#",)) for row in range(4)]
    found = run(PROMPTS, wishes)
    assert found[0][0].finish_reason == "stop"
    assert [s[0].tokens for s in found[1:]] == [s[0].tokens for s in free[1:]]


def test_nothing_within_a_bucket_compiles_again():
    JITTED.clear_cache(), CALLS.clear()
    run([[1, 2]], [Settings(max_new_tokens=20)])
    run([[3] * 15], [Settings(max_new_tokens=17, temperature=0.0, top_k=4, top_p=0.3, min_p=0.2, repetition_penalty=2.0)])
    run([[4]], [Settings(max_new_tokens=32, min_new_tokens=9, ignore_eos=True, log_probs=True)])
    assert len(CALLS) == 1
    decoder = ChunkedDecoder(lambda variables: TOY.step, lambda variables, batch: TOY.new_cache)
    for prompt, stop in (([1, 2], "ab"), ([3] * 9, "x y z")):
        (batch,) = batches([prompt], [Settings(max_new_tokens=20, stop=(stop,))])
        chunked(batch, jax.random.key(0), decoder, chunk=len(stop))
    assert decoder.compilations == 2


def test_beams_stream_in_one_piece():
    wishes = [Settings(max_new_tokens=9, num_beams=3)]
    (batch,) = batches([[1, 2]], wishes)
    pieces = list(CHUNKED.stream(None, batch, jax.random.key(0), decode_bytes))
    assert len(pieces) == 1
    assert collect(pieces, wishes, decode_bytes)[0][0].text == run([[1, 2]], wishes)[0][0].text
    assert np.isfinite(collect(pieces, wishes, decode_bytes)[0][0].score)

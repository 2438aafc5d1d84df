"""Buckets, batches of fixed shape, and their errors."""

import numpy as np
import pytest

from genjax.decoding.batches import collect, make_batches
from genjax.decoding.buckets import Bucket, bucket, half_step, power_of_two
from genjax.decoding.settings import Settings, check
from genjax.errors import RequestError


def test_buckets_are_steps_below_the_context():
    assert bucket(5, 40, 1024) == Bucket(16, 48)  # 64 slots
    assert bucket(16, 48, 1024) == Bucket(16, 48)
    assert bucket(16, 24, 1024) == Bucket(16, 32)  # 48 slots
    assert bucket(17, 48, 1024) == Bucket(32, 64)
    assert bucket(100, 900, 1024) == Bucket(124, 900)  # the prompt gets what the new tokens leave
    assert bucket(300, 200, 1024) == Bucket(512, 256)
    assert bucket(1023, 1, 1024) == Bucket(1023, 1)
    assert bucket(3, 5, 8) == Bucket(3, 5)


@pytest.mark.parametrize("context", [8, 100, 1024])
def test_every_bucket_holds_what_it_is_for_and_fits_the_context(context):
    for length in range(1, context, 7):
        for new in range(1, context - length + 1, 5):
            b = bucket(length, new, context)
            assert b.prompt >= length and b.capacity >= new and b.prompt + b.capacity <= context


def test_there_are_few_buckets():
    away_from_the_end = {bucket(length, new, 1024) for length in range(1, 257) for new in range(1, 257)}
    assert len(away_from_the_end) <= 5 * 10


@pytest.mark.parametrize("number,power", [(1, 1), (2, 2), (3, 4), (64, 64), (65, 128)])
def test_power_of_two(number, power):
    assert power_of_two(number) == power


def test_half_steps():
    assert [half_step(n) for n in (1, 4, 5, 6, 7, 9, 13, 48, 49, 160)] == [3, 4, 6, 6, 8, 12, 16, 48, 64, 192]


@pytest.mark.parametrize(
    "length,new,message",
    [
        (0, 1, "no tokens"),
        (64, 1, "the prompt has 64 tokens, but the model's context holds 64; shorten the prompt to at most 63"),
        (60, 5, "set max_new_tokens to at most 4, or shorten the prompt"),
    ],
)
def test_what_does_not_fit(length, new, message):
    with pytest.raises(RequestError, match=message):
        bucket(length, new, 64)


@pytest.mark.parametrize(
    "values,message",
    [
        ({"temperature": -1.0}, "temperature must be 0 or more, but is -1.0"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 1.5}, "top_p must be between 0 and 1, but is 1.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be above 0"),
        ({"num_samples": 0}, "num_samples must be 1 or more"),
        ({"min_new_tokens": 5, "max_new_tokens": 4}, "min_new_tokens 5 is above max_new_tokens 4"),
        ({"stop": ("a", "")}, "a stop text is empty"),
        ({"num_beams": 2, "num_samples": 3}, "num_samples 3 is above num_beams 2"),
        ({"num_beams": 2, "top_k": 5, "temperature": 0.5}, "top_k, temperature cannot be set together with num_beams 2"),
    ],
)
def test_knobs_out_of_range(values, message):
    with pytest.raises(RequestError, match=message):
        check(Settings(**values))


def test_the_request_that_is_wrong_is_named():
    with pytest.raises(RequestError, match="request 2: top_k"):
        make_batches([[1], [2]], [Settings(), Settings(top_k=-1)], context_length=32)
    with pytest.raises(RequestError, match="^top_k"):
        make_batches([[1]], [Settings(top_k=-1)], context_length=32)


def test_prompts_stand_at_the_right_and_rows_are_filled_up():
    (batch,) = make_batches([[1, 2, 3], [4], [5, 6]], [Settings(max_new_tokens=n) for n in (5, 7, 8)], context_length=64)
    assert batch["tokens"].shape == (4, 16) and batch["output"].shape == (4, 8)
    np.testing.assert_array_equal(batch["tokens"][:, -3:], [[1, 2, 3], [0, 0, 4], [0, 5, 6], [0, 0, 0]])
    assert not batch["tokens"][:, :-3].any()
    np.testing.assert_array_equal(batch["lengths"], [3, 1, 2, 1])
    np.testing.assert_array_equal(batch["owner"], [0, 1, 2, -1])
    np.testing.assert_array_equal(batch["controls"].max_new_tokens, [5, 7, 8, 0])


def test_requests_of_different_shape_go_to_different_batches():
    wishes = [
        Settings(max_new_tokens=8),
        Settings(max_new_tokens=8, num_samples=3),
        Settings(max_new_tokens=8, num_beams=2),
        Settings(max_new_tokens=8, stop=("x",)),
        Settings(max_new_tokens=50),
        Settings(max_new_tokens=7, temperature=0.0),
    ]
    batches = make_batches([[1]] * 6, wishes, context_length=64)
    owners = sorted(sorted({int(o) for o in b["owner"] if o >= 0}) for b in batches)
    assert owners == [[0, 5], [1], [2], [3], [4]]
    assert [("beam" in b, "host" in b) for b in batches].count((True, False)) == 1
    assert sum("host" in b for b in batches) == 1


def test_many_samples_are_spread_over_batches_with_streams_of_their_own():
    batches = make_batches([[1], [2]], [Settings(max_new_tokens=8, num_samples=10)] * 2, context_length=64, max_rows=4)
    assert all(len(b["owner"]) == 4 for b in batches)
    rows = [(int(o), int(s)) for b in batches for o, s in zip(b["owner"], b["sample"], strict=True) if o >= 0]
    assert sorted(rows) == [(o, s) for o in range(2) for s in range(10)]
    streams = {tuple(s) for b in batches for o, s in zip(b["owner"], b["streams"].tolist(), strict=True) if o >= 0}
    assert len(streams) == 20


def test_a_prompt_has_the_same_stream_wherever_it_stands_and_counts_on_when_repeated():
    stream = lambda prompts, row: make_batches(prompts, [Settings(max_new_tokens=4)] * len(prompts), context_length=64)[0][  # noqa: E731
        "streams"
    ][row].tolist()
    assert stream([[1, 2]], 0) == stream([[9], [1, 2]], 1)
    first, second = stream([[1, 2], [1, 2]], 0), stream([[1, 2], [1, 2]], 1)
    assert first[0] == second[0] and (first[1], second[1]) == (0, 1)


def test_results_come_back_in_the_order_of_requests_and_samples():
    wishes = [Settings(max_new_tokens=n, num_samples=2, log_probs=True) for n in (4, 40, 4)]
    arrays = []
    for batch in make_batches([[1], [2], [3]], wishes, context_length=64, max_rows=2):
        rows = len(batch["owner"])
        output = np.zeros((rows, 3), np.int32)
        output[:, 0], output[:, 1] = 97 + batch["owner"], 48 + batch["sample"]
        arrays.append(
            {
                "output": output,
                "num_tokens": np.full(rows, 3),
                "log_probs": np.full((rows, 3), -0.5),
                "ended": np.ones(rows, bool),
                "owner": batch["owner"],
                "sample": batch["sample"],
            }
        )
    found = collect(arrays, wishes, bytes)
    assert [[g.text for g in samples] for samples in found] == [["a0", "a1"], ["b0", "b1"], ["c0", "c1"]]
    one = found[0][1]
    assert one.metadata == {
        "num_tokens": 2, "finish_reason": "eos", "tokens": [97, 49], "log_probs": [-0.5] * 3, "log_prob": -1.5
    }  # fmt: skip

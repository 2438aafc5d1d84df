"""Stop strings and UTF-8 in a growing text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.decoding.stopping import TextStream, cut_text, find_stop, possible_stop


def decode_bytes(tokens):
    """Tokens are bytes, or for 256 + n a word of several."""
    words = [b"sto", b"p", "é".encode(), "\U0001f600".encode()[:2], "\U0001f600".encode()[2:], b"the ", b"END"]
    return b"".join(words[t - 256] if t >= 256 else bytes([t]) for t in tokens)


def pieces(tokens, stop=(), size=1):
    stream = TextStream(decode_bytes, stop)
    parts = [stream.push(tokens[i : i + size]) for i in range(0, len(tokens), size)]
    return [*parts, stream.finish()], stream


def test_a_stop_string_across_token_borders_is_cut_and_never_shown():
    tokens = list(b"go ") + [256, 257] + list(b" on")
    parts, stream = pieces(tokens, ["stop"])
    assert "".join(parts) == "go " and stream.stopped and stream.num_tokens == 5
    assert parts[:3] == ["g", "o", " "] and not any(parts[3:])


def test_text_that_only_began_like_a_stop_string_comes_later():
    parts, stream = pieces([*b"a", 256, *b"ne"], ["stop"])
    assert parts == ["a", "", "ston", "e", ""] and not stream.stopped


def test_text_held_at_the_end_is_released():
    assert pieces([*b"a", 256], ["stop"])[0] == ["a", "", "sto"]


def test_the_stop_string_that_is_complete_first_wins():
    assert find_stop(b"xabcd", [b"abcd", b"bc"]) == 2
    assert find_stop(b"xabcd", [b"bcd", b"abcd"]) == 1
    assert find_stop(b"xabcd", [b"z"]) is None


def test_how_much_of_the_end_may_become_a_stop_string():
    assert possible_stop(b"aab", [b"abc", b"baa"]) == 2
    assert possible_stop(b"abc", [b"abc"]) == 0
    assert possible_stop(b"", [b"abc"]) == 0


def test_characters_are_held_until_complete():
    parts, _ = pieces([258, 259, 260, *"ü".encode()])
    assert parts == ["é", "", "\U0001f600", "", "ü", ""]


def test_an_unfinished_character_becomes_a_replacement_character():
    assert pieces([*b"a", 259])[0] == ["a", "", "\ufffd"]
    assert cut_text(decode_bytes, [*b"a", 259, *b"END"], ["END"]) == ("a\ufffd", 5, True)


def test_a_stop_string_outside_ascii():
    assert cut_text(decode_bytes, [*b"ab", 259, 260, *b"c"], ["\U0001f600"]) == ("ab", 4, True)


odd = st.sampled_from([0xC3, 0xA9, 0xFF, 256, 257, 258, 259, 260])
tokens_strategy = st.lists(st.one_of(st.integers(97, 101), odd), max_size=30)
stops_strategy = st.lists(st.text("abcdeé", min_size=1, max_size=4), max_size=3)


@settings(max_examples=200, deadline=None)
@given(tokens_strategy, stops_strategy, st.integers(1, 7))
def test_in_pieces_as_in_one(tokens, stops, size):
    text, used, stopped = cut_text(decode_bytes, tokens, stops)
    parts, stream = pieces(tokens, stops, size)
    assert ("".join(parts), stream.stopped) == (text, stopped)
    assert stream.num_tokens == used
    raw = decode_bytes(tokens)
    if not stopped:
        assert text == raw.decode("utf-8", "replace") and used == len(tokens)
    else:
        assert not any(s in text for s in stops)
        # One token fewer does not complete a stop string.
        shorter, whole = decode_bytes(tokens[: used - 1]), decode_bytes(tokens[:used])
        assert not any(s.encode() in shorter for s in stops) and any(s.encode() in whole for s in stops)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_without_stop_strings_everything_passes(size):
    parts, stream = pieces(list("naïve 日本".encode()), size=size)
    assert "".join(parts) == "naïve 日本" and not stream.stopped

"""What a token can know: nothing after it, nothing of padding, nothing beyond its window."""

from dataclasses import replace

import numpy as np
import pytest

from tests.models.gpt_cases import CASES, GPT2, draw_tokens, parameters, run


def moved_logits(config, length, changed):
    """Which positions' logits move when the token at `changed` does."""
    tokens = draw_tokens(config, 1, length)
    other = tokens.copy()
    other[0, changed] = (other[0, changed] + 1) % config.vocab_size
    params = parameters(config)
    difference = np.abs(run(config, params, tokens) - run(config, params, other)).max((0, 2))
    return np.flatnonzero(difference)


@pytest.mark.parametrize("implementation", ["xla", "chunked"])
@pytest.mark.parametrize("case", CASES)
def test_a_token_moves_its_own_and_later_logits_only(case, implementation):
    """150 tokens lie in three blocks; 63, 64 and 127 are at their borders."""
    config = replace(CASES[case], attention=implementation)
    for changed in (0, 63, 64, 127, 149):
        np.testing.assert_array_equal(moved_logits(config, 150, changed), np.arange(changed, 150))


@pytest.mark.parametrize("implementation", ["xla", "chunked"])
@pytest.mark.parametrize("window", [1, 20])
def test_a_window_reaches_as_far_as_the_layers_carry_it(window, implementation):
    """Each of the two layers carries a token's news window - 1 tokens on."""
    config = replace(GPT2, sliding_window=window, attention=implementation)
    for changed in (0, 50, 100):
        np.testing.assert_array_equal(moved_logits(config, 150, changed), np.arange(changed, changed + 2 * (window - 1) + 1))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("case", CASES)
def test_a_row_alone_equals_the_row_among_padding(case, side):
    """With its own positions and segment 0 around it, whatever tokens the padding has."""
    config, lengths, width = CASES[case], (90, 130, 1), 150
    params = parameters(config)
    rows = [draw_tokens(config, 1, length, seed=length)[0] for length in lengths]
    tokens = draw_tokens(config, 3, width, seed=5)
    positions, ids = np.full((3, width), 7, np.int32), np.zeros((3, width), np.int32)
    spans = [slice(width - n, width) if side == "left" else slice(0, n) for n in lengths]
    for b, (row, span) in enumerate(zip(rows, spans, strict=True)):
        tokens[b, span], positions[b, span], ids[b, span] = row, np.arange(len(row)), 1
    padded = run(config, params, tokens, positions, ids)
    assert np.isfinite(padded).all()
    for b, (row, span) in enumerate(zip(rows, spans, strict=True)):
        np.testing.assert_allclose(padded[b, span], run(config, params, row[None])[0], atol=1e-5 * np.abs(padded).max())


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary"])
def test_positions_count_and_are_0_1_2_by_default(position):
    config = replace(GPT2, position=position)
    params, tokens = parameters(config), draw_tokens(config, 2, 20)
    counted = np.tile(np.arange(20, dtype=np.int32), (2, 1))
    np.testing.assert_array_equal(run(config, params, tokens), run(config, params, tokens, counted))
    moved = np.abs(run(config, params, tokens) - run(config, params, tokens, 2 * counted)).max()
    assert moved > 0.1
    shifted = np.abs(run(config, params, tokens) - run(config, params, tokens, counted + 3)).max()
    # Rotary positions are relative: only their differences count.
    assert shifted < 1e-4 if position == "rotary" else shifted > 0.1

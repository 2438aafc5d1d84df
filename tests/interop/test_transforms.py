"""Transforms: the layout that each side names, and that the two directions undo each other."""

import numpy as np
import pytest

from genjax.interop import lazy
from genjax.interop.transforms import Chain, Fused, Identity, Merge, Split, Transpose

RNG = np.random.default_rng(0)
LINEAR = RNG.normal(size=(12, 5)).astype(np.float32)  # torch Linear: (out, in)
CONV = RNG.normal(size=(6, 4, 3, 2)).astype(np.float32)  # torch Conv2d: (out, in, height, width)
FUSED = RNG.normal(size=(20, 5)).astype(np.float32)

CASES = {
    "identity": (Identity(), LINEAR, [LINEAR]),
    "linear": (Transpose(), LINEAR, [LINEAR.T]),
    "convolution": (Transpose((2, 3, 1, 0)), CONV, [CONV.transpose(2, 3, 1, 0)]),
    "transposed convolution": (Transpose((2, 3, 1, 0)), CONV.transpose(1, 0, 2, 3), [CONV.transpose(2, 3, 0, 1)]),
    "heads of an output": (Chain((Transpose(), Split(1, (-1, 4)))), LINEAR, [LINEAR.T.reshape(5, 3, 4)]),
    "heads of an input": (Chain((Transpose(), Split(0, (-1, 5)))), LINEAR, [LINEAR.T.reshape(1, 5, 12)]),
    "one by one convolution": (
        Chain((Transpose((2, 3, 1, 0)), Merge(0, (1, 1)), Merge(0, (1, 5)))),
        LINEAR[:, :, None, None],
        [LINEAR.T],
    ),
    "unequal parts": (
        Chain((Fused(0, (12, 4, 4)), Transpose(), Split(1, (-1, 4)))),
        FUSED,
        [FUSED[:12].T.reshape(5, 3, 4), FUSED[12:16].T.reshape(5, 1, 4), FUSED[16:].T.reshape(5, 1, 4)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_ours_and_theirs(name):
    transform, theirs, ours = CASES[name]
    arrays = transform.to_ours((lazy.of_array(theirs),))
    assert len(arrays) == len(ours)
    for array, expected in zip(arrays, ours, strict=True):
        assert array.shape == expected.shape
        np.testing.assert_array_equal(array.load(), expected)
    (back,) = transform.to_theirs(tuple(lazy.of_array(a) for a in ours))
    np.testing.assert_array_equal(back.load(), theirs)
    (lazily,) = transform.to_theirs(arrays)
    np.testing.assert_array_equal(lazily.load(), theirs)

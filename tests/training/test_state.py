"""A fresh state that begins with leaves from elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.training.state import TrainState, begun_with


def test_averages_begin_with_what_variables_begin_with():
    zero = jnp.zeros(())
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(0),
        variables={"first": {"params": {"a": zero, "b": zero}}, "second": {"params": {"c": zero}}},
        optimizers={},
        ema={"0.9": {"first": {"params": {"a": zero, "b": zero}}}},
        gradient_norms={},
    )
    loaded = {"first": {"params": {"b": jnp.asarray(2, jnp.bfloat16)}}, "second": {"params": {"c": jnp.asarray(3.0)}}}
    found = begun_with(state, loaded)
    np.testing.assert_equal(
        jax.tree.map(float, found.variables), {"first": {"params": {"a": 0, "b": 2}}, "second": {"params": {"c": 3}}}
    )
    np.testing.assert_equal(jax.tree.map(float, found.ema), {"0.9": {"first": {"params": {"a": 0, "b": 2}}}})
    assert found.ema["0.9"]["first"]["params"]["b"].dtype == jnp.float32
    again = begun_with(state, {"first": {"params": {"a": jnp.ones(())}}})
    buffers = {tree["first"]["params"]["a"].unsafe_buffer_pointer() for tree in (again.variables, again.ema["0.9"])}
    assert len(buffers) == 2  # a step is given both, and may write over each

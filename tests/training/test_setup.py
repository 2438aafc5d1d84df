"""What a plan works out once, and what it makes anew."""

import jax

from genjax.training import setup
from genjax.training.run_config import structure_run


def test_reports_begin_anew_without_tracing_the_step_again(monkeypatch):
    """Totals are donated to every step: each interval needs buffers of its own, and the names of its metrics only once."""
    traced, original = [], setup.metric_names
    monkeypatch.setattr(setup, "metric_names", lambda *arguments: traced.append(1) or original(*arguments))
    model = {"num_layers": 1, "num_heads": 1, "embed_dim": 8, "context_length": 8, "vocab_size": 257}
    run = {
        "task": {"name": "language_model", "model": model},
        "data": {"name": "text", "source": "stdlib", "batch_size": 2, "sequence_length": 8, "tokenizer": {"name": "byte"}},
        "train": {"steps": 2},
    }
    plan = setup.make_plan(structure_run(run), devices=jax.devices()[:1], with_data=False)
    totals = [plan.fresh_totals() for _ in range(3)]
    assert len(traced) == 1 and {"loss", "bad_step"} <= set(totals[0])
    leaves = [leaf for one in totals for leaf in jax.tree.leaves(one)]
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)

"""The sample loop on made-up tasks: order, compilations, streams, meshes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import decoding
from genjax.errors import RequestError
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.sampling.loop import Sampler, sample
from genjax.tasks.base import BaseTask, StepwiseSampling
from genjax.tasks.contract import Artifact
from tests.decoding.toy_network import Toy

TOY = Toy(26)


@dataclasses.dataclass(frozen=True)
class Request(decoding.Settings):
    prompt: str = "a"


class Letters(BaseTask):
    """Texts of letters from a toy network, whose logits the one variable scales."""

    request_type = Request

    def __init__(self):
        self.prepared = 0

    @staticmethod
    def decode_bytes(tokens):
        return bytes(97 + t for t in tokens)

    def _step(self, variables):
        def step(tokens, cache):
            logits, cache = TOY.step(tokens, cache)
            return logits * variables["toy"]["params"]["scale"], cache

        return step

    def sampling_variables(self, variables):
        self.prepared += 1
        return variables

    def prepare(self, requests):
        prompts = [[ord(c) - 97 for c in r.prompt] for r in requests]
        return decoding.make_batches(prompts, requests, context_length=64, max_rows=4)

    def sample(self, variables, batch, key):
        return decoding.generate(self._step(variables), TOY.new_cache, batch, key)

    def stream(self, variables, batch, key):
        return decoding.ChunkedDecoder(self._step, lambda variables, batch: TOY.new_cache).stream(
            variables, batch, key, self.decode_bytes
        )

    def present(self, requests, arrays):
        found = decoding.collect(arrays, requests, self.decode_bytes)
        return [
            Artifact("text", g.text, {"prompt": request.prompt, **g.metadata})
            for request, generations in zip(requests, found, strict=True)
            for g in generations
        ]


VARIABLES = {"toy": {"params": {"scale": jnp.ones(())}}}


def texts(artifacts):
    return [(a.metadata["prompt"], a.value) for a in artifacts]


def test_artifacts_come_in_the_order_of_the_requests():
    requests = [Request(prompt=p, max_new_tokens=n) for p, n in (("abc", 40), ("q", 3), ("zz", 40), ("b", 5))]
    artifacts = sample(Letters(), VARIABLES, requests)
    assert [(p, len(t)) for p, t in texts(artifacts)] == [("abc", 40), ("q", 3), ("zz", 40), ("b", 5)]


def test_the_same_seed_gives_the_same_whoever_else_asks():
    requests = [Request(prompt=p, max_new_tokens=20) for p in ("abc", "q", "zz", "b", "cc")]
    together = texts(sample(Letters(), VARIABLES, requests, seed=3))
    assert [texts(sample(Letters(), VARIABLES, [r], seed=3))[0] for r in requests] == together
    assert texts(sample(Letters(), VARIABLES, requests, seed=4)) != together


def test_one_compilation_for_each_shape_and_none_for_knobs_or_variables():
    task = Letters()
    sampler = Sampler(task)
    sampler(VARIABLES, [Request(prompt="ab", max_new_tokens=20)])
    assert sampler.compilations == 1
    knobs = {"temperature": 0.3, "top_k": 5, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2, "log_probs": True}
    sampler(
        {"toy": {"params": {"scale": jnp.asarray(0.5, jnp.float32)}}},
        [Request(prompt="other", max_new_tokens=31, **knobs)],
        seed=9,
    )
    assert sampler.compilations == 1
    sampler(VARIABLES, [Request(prompt=p, max_new_tokens=20) for p in "abcdefgh"])  # two batches of four rows
    assert sampler.compilations == 2
    sampler(VARIABLES, [Request(max_new_tokens=20, num_beams=2)])
    assert sampler.compilations == 3
    assert task.prepared == 4  # once a call, not once a batch


def test_the_variables_reach_the_network():
    flat = {"toy": {"params": {"scale": jnp.zeros(())}}}
    wish = Request(prompt="abc", max_new_tokens=8, log_probs=True)
    (artifact,) = sample(Letters(), flat, [wish])
    np.testing.assert_allclose(artifact.metadata["log_probs"], -np.log(26), rtol=1e-5)


def test_stop_strings_end_the_text():
    (free,) = sample(Letters(), VARIABLES, [Request(max_new_tokens=30, temperature=0.0)])
    stop = free.value[5:8]
    requests = [Request(max_new_tokens=30, temperature=0.0, stop=(stop,)), Request(max_new_tokens=30, temperature=0.0)]
    stopped, whole = sample(Letters(), VARIABLES, requests)
    assert stopped.value == free.value[: free.value.index(stop)] and stopped.metadata["finish_reason"] == "stop"
    assert whole.value == free.value


@pytest.mark.parametrize("knobs", [{}, {"stop": ("e",)}, {"num_beams": 3}])
def test_pieces_of_a_stream_concatenate_to_the_whole(knobs):
    request = Request(prompt="abc", max_new_tokens=25, **knobs)
    (whole,) = sample(Letters(), VARIABLES, [request], seed=5)
    pieces = list(Sampler(Letters()).stream(VARIABLES, request, seed=5))
    assert "".join(piece.value for piece in pieces) == whole.value
    assert pieces[-1].metadata == whole.metadata
    assert len(pieces) > 1 or knobs


@pytest.mark.parametrize("samples", [2, 9])
def test_several_texts_cannot_be_streamed(samples):
    with pytest.raises(RequestError, match="only one text can be streamed at a time"):
        list(Sampler(Letters()).stream(VARIABLES, Request(max_new_tokens=4, num_samples=samples)))


def test_a_request_that_cannot_be_served_is_refused_before_anything_is_compiled():
    sampler = Sampler(Letters())
    with pytest.raises(RequestError, match="request 2: the prompt has 64 tokens"):
        sampler(VARIABLES, [Request(), Request(prompt="a" * 64)])
    assert sampler.compilations == 0 and sampler.task.prepared == 0


def test_on_a_mesh_as_on_one_device(cpu_devices):
    requests = [Request(prompt=p, max_new_tokens=20, num_samples=2, log_probs=True) for p in ("abc", "q", "zz")]
    requests.append(Request(prompt="b", max_new_tokens=20, stop=("xq",)))
    alone = sample(Letters(), VARIABLES, requests)
    spread = sample(Letters(), VARIABLES, requests, mesh=make_mesh(MeshConfig(data=2, tensor=2), cpu_devices[:4]))
    assert texts(spread) == texts(alone)


def test_progress_counts_batches(capsys):
    sample(Letters(), VARIABLES, [Request(prompt=p, max_new_tokens=4) for p in "abcdef"], progress=True)
    err = capsys.readouterr().err
    assert "2/2" in err and "batch" in err
    sample(Letters(), VARIABLES, [Request(max_new_tokens=4)], progress=False)
    assert capsys.readouterr().err == ""


def test_steps_are_shown_and_give_the_same(capsys, cpu_devices):
    class Walk(StepwiseSampling, BaseTask):
        """So many random steps, each from the place before."""

        def prepare(self, requests):
            return [{"steps": np.int32(steps), "start": np.zeros(3, np.float32)} for steps in requests]

        def sampling_steps(self, batch):
            return int(batch["steps"])

        def begin(self, variables, batch, key):
            return batch["start"], jnp.zeros((), jnp.int32), key

        def advance(self, variables, batch, state, steps):
            def step(number, state):
                x, _, key = state
                return 0.5 * x + jax.random.normal(jax.random.fold_in(key, number), x.shape), number + 1, key

            return jax.lax.fori_loop(state[1], jnp.minimum(state[1] + steps, batch["steps"]), step, state)

        def finish(self, variables, batch, state):
            return {"place": state[0]}

        def present(self, requests, arrays):
            return [Artifact("image", a["place"], {}) for a in arrays]

    asked = [7, 120, 1]
    sampler = Sampler(Walk())
    silent = [a.value for a in sampler({}, asked)]
    assert capsys.readouterr().err == "" and sampler.compilations == 1
    shown = [a.value for a in sampler({}, asked, progress=True)]
    np.testing.assert_array_equal(shown, silent)
    assert sampler.compilations == 2  # one more for any number of steps
    told = capsys.readouterr().err
    assert "128/128" in told and "step/s" in told and "batch" not in told
    mesh = make_mesh(MeshConfig(data=2), cpu_devices[:2])
    np.testing.assert_array_equal([a.value for a in sample(Walk(), {}, asked, mesh=mesh, progress=True)], silent)


def test_a_task_that_streams_by_the_default_gives_one_piece():
    class Pictures(BaseTask):
        def prepare(self, requests):
            return [{"value": np.array([r], np.float32)} for r in requests]

        def sample(self, variables, batch, key):
            return {"image": batch["value"] * jnp.ones((2, 2))}

        def present(self, requests, arrays):
            return [Artifact("image", a["image"], {}) for a in arrays]

    sampler = Sampler(Pictures())
    assert [a.value[0, 0] for a in sampler({}, [1, 2, 3])] == [1, 2, 3] and sampler.compilations == 1
    (piece,) = sampler.stream({}, 7)
    assert piece.value[0, 0] == 7


def test_variables_on_a_mesh_stay_there(cpu_devices):
    mesh = make_mesh(MeshConfig(data=-1), cpu_devices)
    everywhere = jax.device_put(VARIABLES, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    requests = [Request(prompt="abc", max_new_tokens=9)]
    assert texts(sample(Letters(), everywhere, requests, mesh=mesh)) == texts(sample(Letters(), VARIABLES, requests))


class Steps(BaseTask):
    """Long work that tells how far it is, with a component that all batches share."""

    def __init__(self):
        self.shares = 0

    def prepare(self, requests):
        return [{"host": request} for request in requests]

    def shared(self, variables, batches):
        self.shares += 1
        return {"count": len(batches)}

    def stream(self, variables, batch, key):
        yield {"progress": (2, 3)}
        yield {"progress": (3, 3)}
        yield {"found": batch["host"] + variables["scale"] * variables["count"]}

    def present(self, requests, arrays):
        return [Artifact("text", str(batch["found"])) for batch in arrays]


def test_long_work_tells_its_steps_and_shares_what_all_batches_need(capsys):
    task = Steps()
    found = sample(task, {"scale": 10}, [1, 2], progress=True)
    assert [a.value for a in found] == ["21", "22"] and task.shares == 1
    told = capsys.readouterr().err
    assert "3/3" in told and "step/s" in told
    assert [a.value for a in Sampler(task).stream({"scale": 10}, 1)] == ["11"]
    assert capsys.readouterr().err == ""

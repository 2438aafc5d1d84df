"""Checkpoints: what is restored is bit for bit what was saved, on any mesh, and a damaged one is never taken for good."""

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax.errors import CheckpointError
from genjax.training.checkpoints import Checkpoints

META = {"config": {"seed": 1, "rates": [0.1, 1e-30]}, "data": {"position": 12}}


def mesh_of(count):
    return Mesh(np.array(jax.devices("cpu")[:count]).reshape(-1, 1 if count == 1 else 2), ("data", "tensor"))


def make_state(seed, count=8):
    """A state with every kind of leaf: sharded, replicated, bf16, bool, int, typed keys, optax's tuples with masked holes."""
    mesh = mesh_of(count)
    place = lambda x, *spec: jax.device_put(x, NamedSharding(mesh, PartitionSpec(*spec)))  # noqa: E731
    keys = jax.random.split(jax.random.key(seed), 4)
    params = {
        "kernel": place(jax.random.normal(keys[0], (64, 256)), "data", "tensor"),
        "low": place(jax.random.normal(keys[1], (32, 8), jnp.bfloat16), "tensor"),
        "bias": place(jnp.arange(5.0) * seed),
    }
    mask = {"kernel": True, "low": False, "bias": True}
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.masked(optax.adam(1e-3), mask))
    return {
        "step": place(jnp.int32(seed)),
        "key": place(jax.random.key(seed)),
        "variables": {"gpt": {"params": params, "batch_stats": {"seen": place(jnp.array([True, False, True]))}}},
        "optimizers": {"optimizer": jax.tree.map(place, optimizer.init(params))},
        "streams": place(jax.random.split(jax.random.key(seed, impl="rbg"), 3)),
        "ema": {},
    }


def abstract_of(state, count=8):
    """`state` as shapes on a mesh of `count` devices, sharded wherever the dimension allows it."""
    mesh = mesh_of(count)

    def one(leaf):
        spec = PartitionSpec("data") if leaf.ndim and leaf.shape[0] % mesh.shape["data"] == 0 else PartitionSpec()
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(one, state)


def bits(state):
    plain = jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, state)
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(plain)]


def assert_same(restored, saved):
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    assert [(x.dtype, x.shape) for x in jax.tree.leaves(restored)] == [(x.dtype, x.shape) for x in jax.tree.leaves(saved)]
    assert bits(restored) == bits(saved)


@pytest.fixture
def said():
    return []


@pytest.fixture
def saved(tmp_path, said):
    """Three steps on disk, and the object that saved them."""
    with Checkpoints(tmp_path / "checkpoints", report=said.append) as checkpoints:
        for step in (10, 20, 30):
            checkpoints.save(step, make_state(step), {**META, "step": step})
        checkpoints.wait()
        yield checkpoints


@pytest.mark.parametrize("asynchronous", [True, False])
def test_restores_every_bit(tmp_path, asynchronous):
    state = make_state(3)
    with Checkpoints(tmp_path, asynchronous=asynchronous) as checkpoints:
        assert checkpoints.latest_step() is None
        checkpoints.save(7, state, META)
        checkpoints.wait()
    with Checkpoints(tmp_path) as checkpoints:
        restored, meta, step = checkpoints.restore(abstract_of(state))
    assert_same(restored, state)
    assert (meta, step) == (META, 7)
    assert jnp.array_equal(jax.random.normal(restored["key"], (3,)), jax.random.normal(state["key"], (3,)))
    assert jax.random.key_impl(restored["streams"]) == "rbg"


@pytest.mark.parametrize("count", [4, 2, 1])
def test_restores_onto_fewer_devices_and_back(tmp_path, count):
    state = make_state(5)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, META)
        fewer, _, _ = checkpoints.restore(abstract_of(state, count))
        assert_same(fewer, state)
        kernel = fewer["variables"]["gpt"]["params"]["kernel"]
        assert kernel.sharding == abstract_of(state, count)["variables"]["gpt"]["params"]["kernel"].sharding
        assert len(kernel.sharding.device_set) == count
        checkpoints.save(2, fewer, META)
        back, _, step = checkpoints.restore(abstract_of(state, 8))
    assert step == 2
    assert_same(back, state)


def test_donated_arrays_do_not_reach_a_save_in_flight(tmp_path):
    step_on = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = jnp.zeros((256, 1024))
    with Checkpoints(tmp_path, keep=10) as checkpoints:
        for step in range(4):
            checkpoints.save(step, {"x": x}, {})
            x = step_on(x)
        for step in range(4):
            restored, _, _ = checkpoints.restore({"x": jax.ShapeDtypeStruct(x.shape, x.dtype)}, step)
            assert np.unique(restored["x"]).tolist() == [step]


def test_keeps_the_newest_and_every_nth(tmp_path):
    with Checkpoints(tmp_path, keep=2, keep_every=30) as checkpoints:
        for step in range(10, 101, 10):
            checkpoints.save(step, {"x": jnp.full((4,), step)}, {})
        checkpoints.wait()
        assert checkpoints.all_steps() == [30, 60, 90, 100]
        assert checkpoints.latest_step() == 100
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(110, {"x": jnp.zeros(4)}, {})
        checkpoints.wait()
        assert checkpoints.all_steps() == [110]


def test_layout(saved):
    step = saved.directory / "30"
    assert {p.name for p in step.iterdir() if p.is_dir()} == {"state", "meta", "manifest"}
    assert json.loads((step / "meta" / "metadata").read_text()) == {**META, "step": 30}
    leaves = json.loads((step / "manifest" / "metadata").read_text())["leaves"]
    assert leaves["variables/gpt/params/low"].items() >= {"shape": [32, 8], "dtype": "bfloat16"}.items()


def biggest(folder):
    """A file with chunks of the kernel, which Orbax's own format does not checksum."""
    path = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    assert path.parent.name == "d" and path.stat().st_size > 5_000
    return path


def flip(path, offset=0.6):
    content = bytearray(path.read_bytes())
    content[int(len(content) * offset)] ^= 0x10
    path.write_bytes(content)


def change_json(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGE = {
    "array file cut": lambda d: biggest(d / "state").write_bytes(biggest(d / "state").read_bytes()[:1000]),
    "array file gone": lambda d: biggest(d / "state").unlink(),
    "array file garbage": lambda d: biggest(d / "state").write_bytes(b"\x07garbage" * 500),
    "array file zeros": lambda d: biggest(d / "state").write_bytes(bytes(biggest(d / "state").stat().st_size)),
    "one bit flipped": lambda d: flip(biggest(d / "state")),
    "database root cut": lambda d: (d / "state" / "manifest.ocdbt").write_bytes(b""),
    "database root garbage": lambda d: flip(d / "state" / "manifest.ocdbt"),
    "state gone": lambda d: shutil.rmtree(d / "state"),
    "state of another step": lambda d: (
        shutil.rmtree(d / "state"),
        shutil.copytree(d.parent / "20" / "state", d / "state"),
    ),
    "all files empty": lambda d: [p.write_bytes(b"") for p in d.rglob("*") if p.is_file()],
    "folder empty": lambda d: (shutil.rmtree(d), d.mkdir()),
    "a file instead": lambda d: (shutil.rmtree(d), d.write_text("x")),
    "tree metadata garbage": lambda d: (d / "state" / "_METADATA").write_text("{"),
    "meta cut": lambda d: (d / "meta" / "metadata").write_text('{"config": {'),
    "meta other number": lambda d: change_json(d / "meta" / "metadata", '"position": 12', '"position": 13'),
    "manifest gone": lambda d: (d / "manifest" / "metadata").unlink(),
    "manifest not an object": lambda d: (d / "manifest" / "metadata").write_text("[1, 2]"),
}


REASONS = {
    "array file cut": r"variables\.gpt\.params\.kernel/\d\.\d: Requested byte range \[\d+, \d+\) is not valid .* size 1000",
    "one bit flipped": r"the checksum of variables/gpt/params/kernel does not match|variables\.gpt\.params\.kernel/.*",
    "tree metadata garbage": "the description of its arrays cannot be read: JSONDecodeError: .*",
    "meta cut": r"meta is not JSON: .*",
    "manifest gone": "manifest is missing",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_newest_falls_back_and_says_so(saved, said, kind):
    folder = saved.directory / "30"
    DAMAGE[kind](folder)
    state, meta, step = saved.restore(abstract_of(make_state(20)))
    assert (step, meta["step"]) == (20, 20)
    assert_same(state, make_state(20))
    assert len(said) == 1 and "\n" not in said[0]
    assert re.match(rf"checkpoint 30 is damaged \((?:{REASONS.get(kind, '.+')})\); going on from step 20\.", said[0]), said[0]
    assert saved.all_steps() == [10, 20]
    assert str(saved.directory / "30.damaged") in said[0] and (saved.directory / "30.damaged").exists()
    # The step can be saved again, and then is the newest good one.
    assert saved.save(30, make_state(31), META)
    again, _, step = saved.restore(abstract_of(make_state(31)))
    assert step == 30
    assert_same(again, make_state(31))
    assert len(said) == 1


def test_two_damaged_then_a_good_one(saved, said):
    for step in ("20", "30"):
        flip(biggest(saved.directory / step / "state"))
    _, _, step = saved.restore(abstract_of(make_state(10)))
    assert step == 10
    assert [line.split(" is damaged")[0] for line in said] == ["checkpoint 30", "checkpoint 20"]
    assert all("going on from step 10" in line for line in said)


def test_all_damaged_is_an_error_and_nothing_is_moved(saved, said):
    for step in saved.all_steps():
        biggest(saved.directory / str(step) / "state").unlink()
    with pytest.raises(CheckpointError, match=r"every checkpoint in .* is damaged \(step 30: .*; step 20: .*; step 10: "):
        saved.restore(abstract_of(make_state(10)))
    assert saved.all_steps() == [10, 20, 30]
    assert said == []


def test_an_explicit_step_does_not_fall_back(saved):
    flip(biggest(saved.directory / "20" / "state"))
    assert saved.restore(abstract_of(make_state(10)), step=10)[2] == 10
    with pytest.raises(CheckpointError, match=r"checkpoint 20 in .* is damaged \(.*\); other steps: 10, 30\."):
        saved.restore(abstract_of(make_state(20)), step=20)
    with pytest.raises(CheckpointError, match="no checkpoint of step 25 in .*; there are: 10, 20, 30"):
        saved.restore(abstract_of(make_state(20)), step=25)


def test_nothing_to_restore(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in .*nowhere; there are: none"):
        Checkpoints(tmp_path / "nowhere").restore({"x": jax.ShapeDtypeStruct((), jnp.float32)})
    assert not (tmp_path / "nowhere").exists()


def test_another_model_is_not_damage(saved, said):
    other = abstract_of(make_state(30))
    params = other["variables"]["gpt"]["params"]
    params["kernel"] = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    params["low"] = jax.ShapeDtypeStruct((32, 8), jnp.float32)
    params["scale"] = params.pop("bias")
    with pytest.raises(CheckpointError) as caught:
        saved.restore(other)
    lines = str(caught.value).splitlines()
    assert "checkpoint 30 in" in lines[0] and "4 leaves differ" in lines[0]
    assert lines[1:5] == [
        "  variables/gpt/params/bias: float32[5] in the checkpoint, absent from the model",
        "  variables/gpt/params/kernel: float32[64,256] in the checkpoint, float32[64,64] in the model",
        "  variables/gpt/params/low: bfloat16[32,8] in the checkpoint, float32[32,8] in the model",
        "  variables/gpt/params/scale: absent from the checkpoint, float32[5] in the model",
    ]
    assert "another workdir, or the config" in lines[5]
    assert saved.all_steps() == [10, 20, 30] and said == []


def test_another_key_type_is_another_model(saved):
    other = abstract_of(make_state(30))
    other["key"] = jax.eval_shape(lambda: jax.random.key(0, impl="rbg"))
    with pytest.raises(CheckpointError, match=r"key: key<fry>\[\] in the checkpoint, key<rbg>\[\] in the model"):
        saved.restore(other)


def test_a_long_list_of_differences_is_cut(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {f"leaf{i:02}": jnp.zeros(2) for i in range(60)}, {})
        with pytest.raises(CheckpointError, match=r"60 leaves differ(?s:.*)leaf39(?s:.*)\.\.\. and 20 more"):
            checkpoints.restore({f"leaf{i:02}": jax.ShapeDtypeStruct((3,), jnp.float32) for i in range(60)})


def test_unreadable_for_want_of_permission_is_not_damage(saved, said, monkeypatch):
    import orbax.checkpoint as ocp

    def refuse(*_, **__):
        raise ValueError("PERMISSION_DENIED: Error opening local file")

    monkeypatch.setattr(ocp.StandardCheckpointHandler, "restore", refuse)
    with pytest.raises(CheckpointError, match="checkpoint 30 in .* cannot be read: PERMISSION_DENIED"):
        saved.restore(abstract_of(make_state(30)))
    assert saved.all_steps() == [10, 20, 30] and said == []


def test_saving_the_restored_step_again_writes_nothing(tmp_path, saved):
    before = (saved.directory / "30" / "state" / "_METADATA").stat().st_mtime_ns
    with Checkpoints(saved.directory) as checkpoints:
        state, meta, _ = checkpoints.restore(abstract_of(make_state(30)))
        assert checkpoints.save(30, state, meta)
    assert (saved.directory / "30" / "state" / "_METADATA").stat().st_mtime_ns == before


def test_steps_of_an_abandoned_branch_are_moved_aside(saved, said):
    with Checkpoints(saved.directory, report=said.append) as checkpoints:
        checkpoints.restore(abstract_of(make_state(10)), step=10)
        checkpoints.save(20, make_state(21), META)
        checkpoints.wait()
        assert checkpoints.all_steps() == [10, 20]
        assert_same(checkpoints.restore(abstract_of(make_state(21)))[0], make_state(21))
    assert [line.split(" is now")[0] for line in said] == [f"step {s} of an abandoned branch of this run" for s in (20, 30)]
    assert (saved.directory / "20.abandoned").is_dir() and (saved.directory / "30.abandoned").is_dir()


def test_leftovers_of_a_killed_save_are_removed_by_the_next(saved):
    leftover = saved.directory / "40.orbax-checkpoint-tmp"
    shutil.copytree(saved.directory / "30", leftover)
    with Checkpoints(saved.directory) as checkpoints:
        assert checkpoints.latest_step() == 30
        assert leftover.exists(), "reading must not delete what another process may be writing"
        checkpoints.restore(abstract_of(make_state(30)))
        checkpoints.save(40, make_state(40), META)
        checkpoints.wait()
        assert checkpoints.all_steps() == [20, 30, 40]
    assert not leftover.exists()


def test_check_reports_success_without_waiting(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.check()
        checkpoints.save(1, {"x": jnp.zeros((512, 512))}, {})
        assert checkpoints.check()
        checkpoints.wait()
        assert checkpoints.check() and checkpoints.all_steps() == [1]

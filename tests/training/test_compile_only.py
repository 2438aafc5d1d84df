"""Compiling a config for TPU slices on this machine: what it reports, and the sentences when something cannot be."""

import re

import pytest

from genjax.config import apply_overrides, load_file
from genjax.errors import ConfigError
from genjax.training.compile_only import compile_only, count_collectives

pytest.importorskip("libtpu", reason="libtpu compiles for TPU slices; it comes with the extra `test` or `tpu`")
pytestmark = pytest.mark.tpu_compile


@pytest.fixture(scope="module")
def recipe(request):
    """A Llama-type shape with grouped-query attention, packed documents and tensor parallelism, but small."""
    path = request.config.rootpath / "configs" / "gpt" / "llama_70b.py"
    small = {"num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "embed_dim": 256, "mlp_dim": 512, "head_dim": 128}
    arguments = [f"--config.task.model.{name}={value}" for name, value in small.items()]
    arguments += ["--config.data.sequence_length=512", "--config.data.batch_size=8", "--config.mesh.data=1"]
    return apply_overrides(load_file(path), [*arguments, "--config.mesh.fsdp=2", "--config.mesh.tensor=2"])


def test_a_small_llama_compiles_for_four_chips_with_the_splash_kernel(recipe):
    made = compile_only(recipe, "v5e:2x2")
    text = str(made)
    assert "4 x TPU v5 lite, mesh data=1 fsdp=2 sequence=1 tensor=2" in text
    assert made.kernels >= 2  # attention forward and backward
    assert {"all-gather", "all-reduce"} & set(made.collectives)
    assert 0 < made.bytes_needed < made.bytes_available == 15.75 * 2**30
    assert re.search(r"memory +\d+\.\d\d of 15\.75 GiB on each device", text)


def test_a_step_that_does_not_fit_says_by_how_much(recipe):
    too_much = apply_overrides(recipe, ["--config.data.batch_size=65536", "--config.task.model.remat=none"])
    with pytest.raises(ConfigError) as caught:
        compile_only(too_much, "v5e:2x2")
    found = re.search(r"it needs ([\d.]+) GiB and the chip has ([\d.]+) GiB: ([\d.]+) GiB too much", str(caught.value))
    assert found, str(caught.value)
    needs, has, excess = map(float, found.groups())
    assert needs > has and excess == pytest.approx(needs - has, abs=0.02)
    assert "data.batch_size" in str(caught.value)


def test_a_step_in_parts_needs_what_its_largest_part_needs(request):
    """A GAN whose generator's turn comes every fifth step."""
    made = compile_only(load_file(request.config.rootpath / "configs" / "gan" / "ring.py"), "v5e:2x2")
    assert [part.part.turns for part in made.parts] == [("discriminator",), ("generator",), ()]
    assert made.bytes_needed == max(part.bytes_needed for part in made.parts) > made.parts[-1].bytes_needed
    reduced = [part.collectives.get("all-reduce", 0) for part in made.parts]
    assert made.collectives["all-reduce"] == sum(reduced) and reduced[0] and not reduced[2]
    lines = re.findall(r"^part +(.*): \d+\.\d\d GiB, (.*)$", str(made), re.MULTILINE)
    assert [name for name, _ in lines] == ["discriminator", "generator, every 5 steps", "averages"]
    assert lines[2][1] == "none"


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v5e", "topology 'v5e' is not known; write a TPU slice such as v5e:16x16"),
        ("h100:8", "topology 'h100:8' is not known"),
        ("v5e:3x5", "topology 'v5e:3x5' cannot be described here"),
    ],
)
def test_unknown_topologies(recipe, topology, message):
    with pytest.raises(ConfigError, match=message):
        compile_only(recipe, topology)


def test_a_mesh_that_does_not_fit_the_slice(recipe):
    with pytest.raises(ConfigError, match="needs 4 devices, but there are 8"):
        compile_only(recipe, "v5e:2x4")


def test_collectives_are_counted_once_each():
    hlo = """
      %all-gather-start.1 = (f32[2], f32[4]) all-gather-start(%p), channel_id=1
      %all-gather-done.1 = f32[4] all-gather-done(%all-gather-start.1)
      %all-reduce.7 = (f32[], /*index=1*/f32[]) all-reduce(%a, %b), to_apply=%add
      ROOT %x = f32[4] fusion(%all-gather-done.1, %all-reduce.7)
    """
    assert count_collectives(hlo) == {"all-gather": 1, "all-reduce": 1}

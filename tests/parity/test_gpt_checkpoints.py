"""GPT-2 and Llama folders between transformers and genjax: the same bits in both directions, in every form they come in."""

import dataclasses
import json

import jax
import ml_dtypes
import numpy as np
import pytest
import torch
import transformers
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch_file

from genjax.errors import CheckpointError
from genjax.interop import huggingface
from genjax.models.gpt import GPT
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import tree_shardings
from tests.parity import parity_models


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """case -> (torch model, folder that transformers wrote, in shards of 20 kB)."""
    built = {}

    def get(case):
        if case not in built:
            folder = tmp_path_factory.mktemp(case)
            model = parity_models.build(case)
            model.save_pretrained(folder, max_shard_size=20000)
            assert (folder / "model.safetensors.index.json").exists()
            built[case] = model, folder
        return built[case]

    return get


def assert_same_tree(one, other):
    one, other = flatten_dict(one, sep="/"), flatten_dict(other, sep="/")
    assert one.keys() == other.keys()
    for path in one:
        assert one[path].dtype == other[path].dtype
        np.testing.assert_array_equal(np.asarray(one[path]), np.asarray(other[path]), err_msg=path)


def reopened(model, folder):
    """What transformers reads from a folder, with nothing missing, left over or mis-shaped."""
    again, report = type(model).from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return again


@pytest.mark.parametrize(
    ("scan_layers", "max_shard_bytes"), [(False, 10**9), (True, 9000)], ids=["unrolled-single", "scanned-sharded"]
)
@pytest.mark.parametrize("case", parity_models.CASES)
def test_import_and_export_keep_every_bit(saved, tmp_path, case, scan_layers, max_shard_bytes):
    model, folder = saved(case)
    family, config = huggingface.read_config(folder)
    params = huggingface.load(folder, scan_layers=scan_layers)
    huggingface.save(tmp_path / "out", params, config, max_shard_bytes=max_shard_bytes)
    assert (tmp_path / "out" / "model.safetensors").exists() == (max_shard_bytes == 10**9)
    again = reopened(model, tmp_path / "out").state_dict()
    assert again.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, again[key]), key
    assert_same_tree(huggingface.load(tmp_path / "out", scan_layers=scan_layers), params)
    # Dropout of attention weights is the one setting without a counterpart; the defaults of GPT-2 have it.
    assert huggingface.read_config(tmp_path / "out") == (family, config)


@pytest.mark.parametrize("case", parity_models.CASES)
def test_the_exported_config_describes_the_same_network(saved, tmp_path, case):
    model, folder = saved(case)
    _, config = huggingface.read_config(folder)
    huggingface.save(tmp_path / "out", huggingface.load(folder), config)
    again = transformers.AutoConfig.from_pretrained(tmp_path / "out").to_dict()
    before = model.config.to_dict()
    if before.get("activation_function") == "gelu_pytorch_tanh":
        before["activation_function"] = "gelu_new"  # two names of one function
    different = {key for key, value in before.items() if again.get(key) != value}
    assert different <= {"attn_pdrop", "bos_token_id", "eos_token_id", "_name_or_path", "transformers_version", "dtype"}


@pytest.mark.parametrize("kind, cls", [("gpt2", transformers.GPT2Config), ("llama", transformers.LlamaConfig)])
def test_absent_settings_have_the_defaults_of_transformers(tmp_path, kind, cls):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    absent = huggingface.read_config(tmp_path)
    cls().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(cls().to_dict()))
    assert huggingface.read_config(tmp_path) == absent
    assert absent[0] == kind


MESHES = [MeshConfig(fsdp=8), MeshConfig(tensor=2, fsdp=2), MeshConfig(tensor=4)]


def sharded_load(folder, mesh_config, devices, scan_layers):
    config = dataclasses.replace(huggingface.read_config(folder)[1], scan_layers=scan_layers)
    abstract = jax.eval_shape(lambda: GPT(config).init(jax.random.key(0), np.zeros((1, 4), np.int32)))
    shardings = tree_shardings(abstract["params"], make_mesh(mesh_config, devices))
    return huggingface.load(folder, shardings=shardings, config=config), shardings


@pytest.mark.parametrize("mesh_config", MESHES, ids=lambda m: f"fsdp{m.fsdp}tensor{m.tensor}")
@pytest.mark.parametrize("kind, scan_layers", [("gpt2", False), ("llama", True), ("llama", False)])
def test_loading_onto_a_mesh_equals_the_plain_load(tmp_path, cpu_devices, kind, scan_layers, mesh_config):
    model = parity_models.build_divisible(kind)
    model.save_pretrained(tmp_path / "in", max_shard_size=20000)
    params, shardings = sharded_load(tmp_path / "in", mesh_config, cpu_devices, scan_layers)
    assert_same_tree(params, huggingface.load(tmp_path / "in", scan_layers=scan_layers))
    flat = flatten_dict(params, sep="/")
    assert {path: leaf.sharding for path, leaf in flat.items()} == flatten_dict(shardings, sep="/")
    ways = mesh_config.fsdp * mesh_config.tensor
    query = flat["blocks/attention/query/kernel" if scan_layers else "blocks_0/attention/query/kernel"]
    assert query.addressable_shards[0].data.size * ways == query.size
    # and what lies on the mesh is written as the same bits
    huggingface.save(tmp_path / "out", params, huggingface.read_config(tmp_path / "in")[1])
    again = reopened(model, tmp_path / "out").state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_files_keep_their_bits_or_are_cast_exactly(tmp_path, dtype):
    model = parity_models.build("gqa-llama3").to(dtype)
    model.save_pretrained(tmp_path / "in")
    _, config = huggingface.read_config(tmp_path / "in")
    kept, cast = huggingface.load(tmp_path / "in"), huggingface.load(tmp_path / "in", dtype="float32")
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(kept)} == {str(dtype).removeprefix("torch.")}
    for half, full in zip(jax.tree.leaves(kept), jax.tree.leaves(cast), strict=True):
        assert full.dtype == np.float32
        np.testing.assert_array_equal(np.asarray(half).astype(np.float32), np.asarray(full))
    huggingface.save(tmp_path / "out", kept, config)
    again = reopened(model, tmp_path / "out")
    assert again.dtype == dtype
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def test_exporting_in_bfloat16_rounds_as_torch_does(saved, tmp_path):
    model, folder = saved("gpt2-1")
    huggingface.save(tmp_path / "out", huggingface.load(folder), huggingface.read_config(folder)[1], dtype="bfloat16")
    written = load_torch_file(tmp_path / "out" / "model.safetensors")
    for key, value in written.items():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, model.state_dict()[key].to(torch.bfloat16)), key


def rewrite(folder, out, change):
    """The folder's tensors as one file, after `change` has had them."""
    out.mkdir()
    tensors = {}
    for shard in folder.glob("*.safetensors"):
        tensors |= load_file(shard)
    (out / "config.json").write_text((folder / "config.json").read_text())
    save_file(change(tensors), out / "model.safetensors")
    return out


def test_the_published_form_of_gpt2_without_prefix_and_with_masks_is_read(saved, tmp_path):
    _, folder = saved("gpt2-1")

    def published(tensors):
        tensors = {key.removeprefix("transformer."): value for key, value in tensors.items()}
        for layer in range(huggingface.read_config(folder)[1].num_layers):
            tensors[f"h.{layer}.attn.bias"] = np.tril(np.ones((1, 1, 9, 9), np.float32))
            tensors[f"h.{layer}.attn.masked_bias"] = np.array(-1e4, np.float32)
        return tensors

    assert_same_tree(huggingface.load(rewrite(folder, tmp_path / "published", published)), huggingface.load(folder))


@pytest.mark.parametrize("case", ["gpt2-0", "mqa-tied"])
def test_a_tied_head_may_be_saved_as_well_but_must_be_equal(saved, tmp_path, case):
    _, folder = saved(case)
    table = "transformer.wte.weight" if case == "gpt2-0" else "model.embed_tokens.weight"
    both = rewrite(folder, tmp_path / "both", lambda t: t | {"lm_head.weight": t[table].copy()})
    assert_same_tree(huggingface.load(both), huggingface.load(folder))
    # Where they differ transformers warns and does not tie, against its config; here it is an error that names the setting.
    other = rewrite(folder, tmp_path / "other", lambda t: t | {"lm_head.weight": t[table] + 1})
    with pytest.raises(CheckpointError, match=f"lm_head.weight differs from {table}, although tie_word_embeddings is true"):
        huggingface.load(other)


@pytest.mark.parametrize("section", ["rope_scaling", "rope_scaling with type"])
def test_the_rope_settings_of_transformers_4_are_read(saved, section):
    _, folder = saved("gqa-llama3")
    values = json.loads((folder / "config.json").read_text())
    rope = dict(values.pop("rope_parameters"))
    values |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    if section == "rope_scaling with type":
        rope["type"] = rope.pop("rope_type")
    found = huggingface.FAMILIES["llama"].from_json(values, "config.json")
    assert found == huggingface.read_config(folder)[1]
    reference = transformers.LlamaConfig.from_dict(values)
    assert found.rope_theta == reference.rope_parameters["rope_theta"]
    assert found.rope_scaling.factor == reference.rope_parameters["factor"]
    assert found.rope_scaling.original_context_length == reference.rope_parameters["original_max_position_embeddings"]


def test_every_tensor_that_does_not_fit_is_listed(saved, tmp_path):
    _, folder = saved("gqa-llama3")

    def spoil(tensors):
        del tensors["model.norm.weight"], tensors["model.layers.1.mlp.up_proj.weight"]
        tensors["model.layers.0.self_attn.k_proj.weight"] = tensors["model.layers.0.self_attn.k_proj.weight"][:-1].copy()
        tensors["model.layers.0.self_attn.q_proj.bias"] = np.zeros(3, ml_dtypes.bfloat16)
        return tensors

    with pytest.raises(CheckpointError) as error:
        huggingface.load(rewrite(folder, tmp_path / "bad", spoil))
    message = str(error.value)
    assert "(4 tensors)" in message
    config = huggingface.read_config(folder)[1]
    width, keys = config.embed_dim, config.kv_heads * config.head_width
    for line in (
        f"missing: model.norm.weight, expected ({width},)",
        f"missing: model.layers.1.mlp.up_proj.weight, expected ({config.hidden_width}, {width})",
        f"wrong shape: model.layers.0.self_attn.k_proj.weight is ({keys - 1}, {width}), expected ({keys}, {width})",
        "left over: model.layers.0.self_attn.q_proj.bias (3,)",
    ):
        assert line in message


def test_a_truncated_shard_is_named(saved, tmp_path):
    _, folder = saved("gpt2-0")
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=f"{shard.name} is not a complete safetensors file"):
        huggingface.load(tmp_path)


def test_a_folder_with_a_pickle_only_is_refused(saved, tmp_path):
    model, folder = saved("gpt2-0")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pickle only \(pytorch_model.bin\).*convert it to safetensors"):
        huggingface.load(tmp_path)

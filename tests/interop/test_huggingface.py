"""Folders as a person meets them, without transformers: written, read, overwritten, and wrong."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax.errors import CheckpointError
from genjax.interop import gpt, huggingface, llama
from genjax.interop.family import Family
from genjax.interop.names import Table
from genjax.models.gpt import GPT, GPTConfig
from genjax.models.transformer import stack_blocks

CONFIG = GPTConfig(
    vocab_size=11,
    context_length=8,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    embed_dim=16,
    mlp_dim=24,
    position="rotary",
    norm="rmsnorm",
    activation="silu",
    gated=True,
    use_bias=False,
    tie_embeddings=False,
)


class Tokens:
    """The part of a tokenizer that `save` needs."""

    bos_id, eos_id = 3, 5

    def save(self, folder):
        (folder / "genjax_tokenizer.json").write_text('{"kind": "byte"}')


@pytest.fixture(scope="module")
def params():
    return nn.unbox(jax.jit(GPT(CONFIG).init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32)))["params"]


def assert_same(one, other):
    one, other = flatten_dict(one, sep="/"), flatten_dict(other, sep="/")
    assert one.keys() == other.keys()
    for path in one:
        np.testing.assert_array_equal(np.asarray(one[path]), np.asarray(other[path]), err_msg=path)


def test_what_is_saved_is_read_in_either_layout(params, tmp_path):
    huggingface.save(tmp_path / "w", params, CONFIG)
    assert huggingface.read_config(tmp_path / "w") == ("llama", CONFIG)
    assert_same(huggingface.load(tmp_path / "w"), params)
    assert_same(huggingface.load(tmp_path / "w", scan_layers=True), stack_blocks(params))
    huggingface.save(tmp_path / "again", huggingface.load(tmp_path / "w", scan_layers=True), CONFIG)
    assert_same(huggingface.load(tmp_path / "again"), params)


def test_boxed_parameters_are_saved_as_they_are(params, tmp_path):
    boxed = jax.jit(GPT(CONFIG).init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    assert isinstance(boxed["token_embed"]["embedding"], nn.Partitioned)
    huggingface.save(tmp_path / "w", boxed, CONFIG)
    assert_same(huggingface.load(tmp_path / "w"), params)


def test_the_tokenizer_and_its_ids_travel_along(params, tmp_path):
    huggingface.save(tmp_path / "w", params, CONFIG, Tokens())
    values = json.loads((tmp_path / "w" / "config.json").read_text())
    assert (values["bos_token_id"], values["eos_token_id"]) == (3, 5)
    assert (values["model_type"], values["architectures"], values["torch_dtype"]) == ("llama", ["LlamaForCausalLM"], "float32")
    assert sorted(p.name for p in (tmp_path / "w").iterdir()) == ["config.json", "genjax_tokenizer.json", "model.safetensors"]


def test_overwriting_replaces_what_is_ours(params, tmp_path):
    huggingface.save(tmp_path / "w", params, CONFIG, Tokens(), max_shard_bytes=2000)
    (tmp_path / "w" / "README.md").write_text("mine")
    with pytest.raises(CheckpointError, match="already holds files"):
        huggingface.save(tmp_path / "w", params, CONFIG)
    doubled = jax.tree.map(lambda x: x * 2, params)
    huggingface.save(tmp_path / "w", doubled, CONFIG, overwrite=True)
    names = sorted(p.name for p in (tmp_path / "w").iterdir())
    assert names == ["README.md", "config.json", "genjax_tokenizer.json", "model.safetensors"]
    assert_same(huggingface.load(tmp_path / "w"), doubled)


def test_a_save_that_fails_leaves_nothing(params, tmp_path):
    class Broken(Tokens):
        def save(self, folder):
            raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match="w could not be written: No space left on device"):
        huggingface.save(tmp_path / "w", params, CONFIG, Broken())
    assert list(tmp_path.iterdir()) == []


def test_parameters_of_another_config_are_refused_before_anything_is_written(params, tmp_path):
    with pytest.raises(CheckpointError) as error:
        huggingface.save(tmp_path / "w", params, dataclasses.replace(CONFIG, num_layers=4, vocab_size=12))
    assert "missing: blocks_3/attention/key/kernel, expected (16, 2, 4)" in str(error.value)
    assert "wrong shape: token_embed/embedding is (11, 16), expected (12, 16)" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_model_is_refused(params, tmp_path):
    huggingface.save(tmp_path / "w", params, CONFIG)
    with pytest.raises(CheckpointError) as error:
        huggingface.load(tmp_path / "w", config=dataclasses.replace(CONFIG, num_layers=2, tie_embeddings=True))
    message = str(error.value)
    assert "not tied: lm_head.weight differs from model.embed_tokens.weight, although tie_word_embeddings is true" in message
    assert message.count("left over: model.layers.2.") == 9


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_heads": 8, "num_kv_heads": 4, "head_dim": 2}, "num_heads is 4 there and 8 here, kv_heads is 2 there and 4 here"),
        ({"rope_theta": 5e5}, "rope_theta is 10000.0 there and 500000.0 here"),
        ({"norm_epsilon": 1e-6}, "norm_epsilon is 1e-05 there and 1e-06 here"),
        ({"activation": "gelu"}, "activation is 'silu' there and 'gelu' here"),
        ({"position": "learned", "norm": "layernorm", "gated": False}, "position is 'rotary' there and 'learned' here"),
    ],
)
def test_a_folder_whose_tensors_mean_something_else_is_refused(params, tmp_path, changes, message):
    """All but the last have the same tensors in the file, so that shapes alone would let them pass."""
    huggingface.save(tmp_path / "w", params, CONFIG)
    with pytest.raises(CheckpointError, match=f"w is another model: {message}"):
        huggingface.load(tmp_path / "w", config=dataclasses.replace(CONFIG, **changes))


@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_a_larger_vocabulary_begins_as_the_mean_of_the_old(tmp_path, tie_embeddings):
    """Sentinels for a checkpoint that has none: everything else stays bit for bit."""
    config = dataclasses.replace(CONFIG, tie_embeddings=tie_embeddings)
    old = nn.unbox(jax.jit(GPT(config).init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32)))["params"]
    huggingface.save(tmp_path / "w", old, config)
    new = huggingface.load(tmp_path / "w", config=dataclasses.replace(config, vocab_size=16))
    tables = [("token_embed", "embedding", 0)] + ([] if tie_embeddings else [("head", "kernel", 1)])
    for module, name, axis in tables:
        before, after = np.asarray(old[module][name]), np.asarray(new[module].pop(name))
        np.testing.assert_array_equal(np.take(after, range(11), axis), before)
        expected = np.broadcast_to(before.mean(axis, keepdims=True), np.take(after, range(11, 16), axis).shape)
        np.testing.assert_allclose(np.take(after, range(11, 16), axis), expected, rtol=1e-5, atol=1e-7)
        del old[module][name]
    assert_same(new, old)
    with pytest.raises(CheckpointError, match="wrong shape: model.embed_tokens.weight"):
        huggingface.load(tmp_path / "w", config=dataclasses.replace(config, vocab_size=10))


@dataclasses.dataclass(frozen=True)
class TowersConfig:
    """A config of two networks that are saved as one."""

    text: GPTConfig
    pixels: GPTConfig
    width: int = 4


def test_a_config_of_another_type_is_refused(params, tmp_path):
    huggingface.save(tmp_path / "w", params, CONFIG)
    towers = TowersConfig(CONFIG, CONFIG)
    with pytest.raises(CheckpointError, match="w holds a llama, which GPTConfig describes, but a TowersConfig was given"):
        huggingface.load(tmp_path / "w", config=towers)
    with pytest.raises(CheckpointError, match="no Hugging Face family has models of TowersConfig; known: GPTConfig"):
        huggingface.save(tmp_path / "other", params, towers)


def test_configs_within_a_config_keep_their_own_layers_and_vocabularies(params, tmp_path, monkeypatch):
    """Two towers in one tree, each with a vocabulary; the layers of both are stacked or not."""
    shapes = gpt.shapes

    def both(config):
        towers = {"text": config.text, "pixels": config.pixels}
        return {f"{name}/{path}": shape for name, tower in towers.items() for path, shape in shapes(tower).items()}

    def table(config):
        rows = []
        for name, tower in (("text", config.text), ("pixels", config.pixels)):
            for row in llama.table(tower).rows:
                rows.append(dataclasses.replace(row, theirs=f"{name}.{row.theirs}", ours=tuple(f"{name}/{o}" for o in row.ours)))
        return Table(tuple(rows))

    family = Family(
        "towers",
        "Towers",
        lambda values, where: TowersConfig(*(llama.from_json(values[name], where) for name in ("text", "pixels"))),
        lambda config: {"text": llama.to_json(config.text), "pixels": llama.to_json(config.pixels)},
        lambda config: [],
        table,
        both,
        lambda found, wanted: [],
        TowersConfig,
    )
    monkeypatch.setattr(huggingface, "FAMILIES", {"towers": family})
    config = TowersConfig(CONFIG, dataclasses.replace(CONFIG, vocab_size=7, num_layers=1))
    pixels = nn.unbox(jax.jit(GPT(config.pixels).init)(jax.random.key(1), jnp.zeros((1, 4), jnp.int32)))["params"]
    huggingface.save(tmp_path / "w", {"text": params, "pixels": pixels}, config)
    assert huggingface.read_config(tmp_path / "w") == ("towers", config)
    larger = dataclasses.replace(config, text=dataclasses.replace(CONFIG, vocab_size=20))
    stacked = huggingface.load(tmp_path / "w", scan_layers=True, config=larger)
    assert stacked["text"]["token_embed"]["embedding"].shape == (20, 16)
    assert_same(stacked["pixels"], stack_blocks(pixels))
    huggingface.save(tmp_path / "again", huggingface.load(tmp_path / "w", scan_layers=True), config)
    assert_same(huggingface.load(tmp_path / "again"), {"text": params, "pixels": pixels})


def test_what_is_free_to_choose_may_differ(params, tmp_path):
    huggingface.save(tmp_path / "w", params, CONFIG)
    free = dataclasses.replace(CONFIG, context_length=16, dropout=0.1, dtype="bfloat16", remat="full", attention="xla")
    assert_same(huggingface.load(tmp_path / "w", config=free), params)


def test_one_sharding_serves_all_and_a_strange_tree_is_refused(params, tmp_path, cpu_devices):
    huggingface.save(tmp_path / "w", params, CONFIG)
    replicated = NamedSharding(Mesh(np.array(cpu_devices), ("data",)), PartitionSpec())
    loaded = huggingface.load(tmp_path / "w", shardings=replicated)
    assert all(leaf.sharding == replicated for leaf in jax.tree.leaves(loaded))
    assert_same(loaded, params)
    paths = flatten_dict(params, sep="/")
    tree = unflatten_dict({path: replicated for path in list(paths)[1:]}, sep="/")
    with pytest.raises(CheckpointError, match=f"{next(iter(paths))} are in one tree only"):
        huggingface.load(tmp_path / "w", shardings=tree)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtype_is_that_of_the_file_unless_asked(params, tmp_path, dtype):
    huggingface.save(tmp_path / "w", params, CONFIG, dtype=dtype)
    assert json.loads((tmp_path / "w" / "config.json").read_text())["torch_dtype"] == dtype
    kept = huggingface.load(tmp_path / "w")
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(kept)} == {dtype}
    assert_same(kept, jax.tree.map(lambda x: x.astype(dtype), params))
    assert_same(huggingface.load(tmp_path / "w", dtype="float32"), jax.tree.map(lambda x: x.astype(jnp.float32), kept))


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "has no config.json"),
        ("{", "config.json is not readable JSON"),
        ('{"vocab_size": 3}', "has model_type None; genjax reads 'gpt2', 'llama'"),
        ('{"model_type": "mamba"}', "has model_type 'mamba'; genjax reads 'gpt2', 'llama'"),
    ],
)
def test_a_config_that_cannot_be_read_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        huggingface.read_config(tmp_path)


def test_a_missing_folder_and_an_unknown_dtype_are_named(params, tmp_path):
    with pytest.raises(CheckpointError, match="there is no folder"):
        huggingface.load(tmp_path / "nowhere")
    for attempt in (huggingface.save, lambda folder, *_, dtype: huggingface.load(folder, dtype=dtype)):
        with pytest.raises(CheckpointError, match="dtype 'int8' is not one that parameters can have: float32, bfloat16, float16"):
            attempt(tmp_path / "w", params, CONFIG, dtype="int8")

"""Our T5 computes what transformers' does, versions 1.0 and 1.1: logits, gradients, padded and packed batches, in float32;
folders go both ways bit for bit."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers.models.t5.modeling_t5 import T5Attention

from genjax.decoding.cache_rows import repeat_rows
from genjax.errors import CheckpointError
from genjax.interop import huggingface
from genjax.layers.relative_bias import relative_buckets
from genjax.models.encoder_decoder import EncoderDecoder
from tests.parity import encoder_decoders

CASES = encoder_decoders.T5_CASES
LOGIT_TOLERANCE, GRADIENT_TOLERANCE, PADDING_TOLERANCE = 1e-4, 1e-3, 1e-5
BATCH, SOURCE, TARGET = 4, 29, 23


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """case -> (torch model, our config, folder)."""

    @functools.cache
    def get(case, talkative=False):
        folder = tmp_path_factory.mktemp(case)
        model = encoder_decoders.build(case, talkative)
        model.save_pretrained(folder)
        return model, huggingface.read_config(folder)[1], folder

    return get


def draw(model, seed=0, batch=BATCH):
    """(source, its mask, target): sources of different lengths."""
    rng = np.random.default_rng(seed)
    size = model.config.vocab_size
    lengths = np.array([SOURCE, 1, 12, 20, 25, 7])[:batch]
    mask = (np.arange(SOURCE) < lengths[:, None]).astype(np.int32)
    source = rng.integers(1, size, (batch, SOURCE)).astype(np.int32) * mask
    return source, mask, rng.integers(0, size, (batch, TARGET)).astype(np.int32)


def torch_logits(model, source, mask, target):
    long = lambda x: torch.tensor(x, dtype=torch.long)  # noqa: E731
    return model(input_ids=long(source), attention_mask=long(mask), decoder_input_ids=long(target)).logits


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (32, 20), (8, 17), (4, 9), (12, 100), (64, 1000)])
def test_buckets_of_distances(num_buckets, max_distance, bidirectional):
    """All of them, also where a distance lies on the border of two buckets."""
    distances = np.arange(-1500, 1501)
    expected = T5Attention._relative_position_bucket(torch.tensor(distances), bidirectional, num_buckets, max_distance)
    found = relative_buckets(distances, num_buckets, max_distance, bidirectional)
    np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("case", CASES)
def test_logits_and_gradients(loaded, case):
    """Gradients of a weighted mean of log-probabilities for every parameter."""
    model, config, folder = loaded(case)
    source, mask, target = draw(model)
    assert config.tie_embeddings == config.scale_logits == case.startswith("1.0") != config.gated
    weights = np.random.default_rng(2).uniform(size=(BATCH, TARGET - 1)).astype(np.float32)

    model.zero_grad()
    expected = torch_logits(model, source, mask, target)
    log_p = torch.log_softmax(expected[:, :-1], -1).gather(-1, torch.tensor(target[:, 1:, None], dtype=torch.long))[..., 0]
    (-(log_p * torch.tensor(weights)).sum() / weights.sum()).backward()

    def loss(params):
        logits = EncoderDecoder(config).apply({"params": params}, source, target, input_segment_ids=mask)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), target[:, 1:, None], axis=-1)[..., 0]
        return -jnp.sum(log_p * weights) / weights.sum(), logits

    gradients, logits = jax.jit(jax.grad(loss, has_aux=True))(huggingface.load(folder))
    assert expected.abs().max() > 1
    assert np.abs(np.asarray(logits) - expected.detach().numpy()).max() < LOGIT_TOLERANCE
    encoder_decoders.compare_gradients(model, config, gradients, GRADIENT_TOLERANCE)


@pytest.mark.parametrize("case", ["1.0-b", "1.1-b"])
def test_logits_of_scanned_layers(loaded, case):
    model, config, folder = loaded(case)
    source, mask, target = draw(model)
    config = dataclasses.replace(config, scan_layers=True, remat="full")
    params = huggingface.load(folder, config=config)
    assert "blocks" in params["encoder"] and "blocks" in params["decoder"]
    found = jax.jit(EncoderDecoder(config).apply)({"params": params}, source, target, input_segment_ids=mask)
    with torch.no_grad():
        assert np.abs(np.asarray(found) - torch_logits(model, source, mask, target).numpy()).max() < LOGIT_TOLERANCE


@pytest.mark.parametrize("scan_layers", [False, True], ids=["unrolled", "scanned"])
@pytest.mark.parametrize("case", ["1.0-a", "1.1-a"])
def test_import_and_export_keep_every_bit(loaded, tmp_path, case, scan_layers):
    model, config, folder = loaded(case)
    params = huggingface.load(folder, scan_layers=scan_layers)
    huggingface.save(tmp_path / "out", params, config)
    assert huggingface.read_config(tmp_path / "out")[1] == config
    again, report = type(model).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    arguments = draw(model)
    with torch.no_grad():
        assert torch.equal(torch_logits(model, *arguments), torch_logits(again.eval(), *arguments))


def test_old_files_have_copies_of_the_table_and_a_bias_that_nothing_reads(loaded, tmp_path):
    _, config, folder = loaded("1.0-a")
    tensors = load_file(folder / "model.safetensors")
    for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = tensors["shared.weight"]
    unread = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    tensors[unread] = np.ones((config.relative_buckets, config.num_heads), np.float32)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    save_file(tensors, tmp_path / "model.safetensors")
    ours, old = huggingface.load(folder), huggingface.load(tmp_path)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), ours, old))


def test_a_config_that_cannot_be_honoured_is_named(loaded, tmp_path):
    values = json.loads((loaded("1.0-a")[2] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"feed_forward_proj": "mish", "is_encoder_decoder": False}))
    with pytest.raises(CheckpointError, match=r"(?s)is_encoder_decoder is False.*feed_forward_proj is 'mish'"):
        huggingface.read_config(tmp_path)
    config = dataclasses.replace(loaded("1.0-a")[1], scale_logits=False)
    with pytest.raises(CheckpointError, match="scale_logits is False"):
        huggingface.save(tmp_path / "out", {}, config)


@pytest.mark.parametrize("case", ["1.0-c", "1.1-c"])
def test_padding_changes_nothing(loaded, case):
    """Sources and targets padded on the right or on the left: each pair computes what it computes alone."""
    model, config, folder = loaded(case)
    source, mask, target = draw(model)
    apply = jax.jit(functools.partial(EncoderDecoder(config).apply, {"params": huggingface.load(folder)}))
    target_mask = (np.arange(TARGET) < np.array([9, TARGET, 1, 15])[:, None]).astype(np.int32)
    for flip in (lambda x: x, lambda x: x[:, ::-1]):
        padded = [flip(x) for x in (source, target, mask, target_mask)]
        found = apply(*padded[:2], input_segment_ids=padded[2], target_segment_ids=padded[3])
        for row in range(BATCH):
            own, own_target = padded[2][row] == 1, padded[3][row] == 1
            alone = apply(padded[0][row : row + 1, own], padded[1][row : row + 1, own_target])
            assert np.abs(np.asarray(found)[row, own_target] - np.asarray(alone)[0]).max() < PADDING_TOLERANCE


def test_packed_pairs_do_not_see_each_other(loaded):
    model, config, folder = loaded("1.0-c")
    source, _, target = draw(model, batch=1)
    apply = jax.jit(functools.partial(EncoderDecoder(config).apply, {"params": huggingface.load(folder)}))
    source_ids = np.repeat([1, 2, 3, 0], [12, 8, 6, SOURCE - 26])[None].astype(np.int32)
    target_ids = np.repeat([1, 2, 3, 0], [4, 11, 5, TARGET - 20])[None].astype(np.int32)
    packed = np.asarray(apply(source, target, input_segment_ids=source_ids, target_segment_ids=target_ids))
    for pair in (1, 2, 3):
        alone = apply(source[source_ids == pair][None], target[target_ids == pair][None])
        assert np.abs(packed[0, target_ids[0] == pair] - np.asarray(alone)[0]).max() < PADDING_TOLERANCE


@pytest.mark.parametrize("scan_layers", [False, True], ids=["unrolled", "scanned"])
def test_a_cache_computes_what_the_whole_does(loaded, scan_layers):
    """In pieces, for rows that begin at different slots, two rows to a source."""
    model, config, folder = loaded("1.1-a")
    config = dataclasses.replace(config, scan_layers=scan_layers)
    source, mask, _ = draw(model)
    target = np.random.default_rng(5).integers(0, config.vocab_size, (2 * BATCH, TARGET)).astype(np.int32)
    start = np.array([0, 3, 5, 0, 1, 2, 0, 4], np.int32)
    variables, network = {"params": huggingface.load(folder, config=config)}, EncoderDecoder(config)

    @jax.jit
    def run(source, target):
        context = network.apply(variables, source, segment_ids=mask, method="encode")
        cache = network.apply(variables, context, mask, TARGET + 2, method="start_cache")
        cache = repeat_rows(cache, 2).replace(start=start)
        parts = []
        for piece in (slice(0, 7), slice(7, 8), slice(8, TARGET)):
            hidden, cache = network.apply(variables, target[:, piece], cache=cache, method="decode")
            parts.append(network.apply(variables, hidden, method="logits"))
        return jnp.concatenate(parts, axis=1)

    found = np.asarray(run(source, target))
    segments = (np.arange(TARGET) >= start[:, None]).astype(np.int32)
    twice = [np.repeat(x, 2, axis=0) for x in (source, mask)]
    whole = np.asarray(
        jax.jit(network.apply)(variables, twice[0], target, input_segment_ids=twice[1], target_segment_ids=segments)
    )
    assert np.abs(found - whole)[segments == 1].max() < PADDING_TOLERANCE

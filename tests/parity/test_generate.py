"""Greedy and beam search write what transformers' generate() writes, on batches of prompts of different lengths, in float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from genjax.decoding import Settings, collect, generate, make_batches
from genjax.interop import huggingface
from genjax.layers.cache import init_cache
from genjax.models.gpt import GPT
from tests.parity import parity_models

VOCAB, CONTEXT = 61, 128
EOS = (3, 10, 17, 24, 31)  # several, so that many of the random models' texts end


def gpt2():
    shape = {"vocab_size": VOCAB, "n_positions": CONTEXT, "n_embd": 36, "n_layer": 3, "n_head": 3}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, bos_token_id=0, eos_token_id=0))


def llama(**rope):
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCAB,
            max_position_embeddings=CONTEXT,
            hidden_size=48,
            intermediate_size=50,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4} | rope,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MODELS = {"gpt2": gpt2, "llama": llama, "llama3": lambda: llama(**LLAMA3)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """name -> (torch model, our jitted generate)."""

    @functools.cache
    def get(name):
        with parity_models.seeded(len(name)):
            model = MODELS[name]().eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    # Wide enough that the models' preferences are their own, and not one token again and again.
                    parameter.add_(0.5 * torch.randn_like(parameter))
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        config = huggingface.read_config(folder)[1]
        params, network = huggingface.load(folder), GPT(config)

        def step(tokens, cache):
            hidden, cache = network.apply({"params": params}, tokens, cache=cache, method="hidden")
            return network.apply({"params": params}, hidden[:, -1:], method="logits"), cache

        def new_cache(rows, slots):
            return init_cache(config.num_layers, rows, slots, config.kv_heads, config.head_width)

        return model, jax.jit(functools.partial(generate, step, new_cache))

    return get


def prompts(seed=0, lengths=(3, 17, 1, 9)):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCAB, n).tolist() for n in lengths]


def ours(run, texts, **knobs):
    """(tokens without eos, whether there was one, score or None) of each sample of each prompt."""
    settings = [Settings(**knobs)] * len(texts)
    batches = make_batches(texts, settings, context_length=CONTEXT, eos_ids=EOS)
    results = collect([run(batch, jax.random.key(0)) for batch in batches], settings, bytes)
    return [[(list(g.tokens), g.finish_reason == "eos", g.score) for g in samples] for samples in results]


def theirs(model, texts, returned=1, eos=EOS, **knobs):
    width = max(map(len, texts))
    pad = lambda text, fill: [fill] * (width - len(text))  # noqa: E731
    tokens = torch.tensor([pad(t, 0) + t for t in texts])
    mask = torch.tensor([pad(t, 0) + [1] * len(t) for t in texts])
    with torch.no_grad():
        out = model.generate(
            tokens,
            attention_mask=mask,
            do_sample=False,
            num_return_sequences=returned,
            pad_token_id=0,
            eos_token_id=eos and list(eos),
            return_dict_in_generate=True,
            output_scores=True,
            **knobs,
        )
    rows = [row[width:].tolist() for row in out.sequences]
    ends = [next((i for i, token in enumerate(row) if token in (eos or ())), None) for row in rows]
    scores = out.sequences_scores.tolist() if "sequences_scores" in out else [None] * len(rows)
    found = [(row[:end], end is not None, score) for row, end, score in zip(rows, ends, scores, strict=True)]
    return [found[i : i + returned] for i in range(0, len(found), returned)]


@pytest.mark.parametrize("name", MODELS)
def test_greedy_writes_the_same_64_tokens(pair, name):
    model, run = pair(name)
    texts = prompts()
    found = ours(run, texts, max_new_tokens=64, temperature=0.0, ignore_eos=True)
    assert found == theirs(model, texts, eos=None, max_new_tokens=64)
    assert all(len(tokens) == 64 for ((tokens, *_),) in found)
    assert sum(len(set(tokens)) for ((tokens, *_),) in found) > 30


@pytest.mark.parametrize("name", MODELS)
def test_greedy_with_eos_penalty_and_minimal_length(pair, name):
    model, run = pair(name)
    texts = prompts(1, (5, 2, 11, 30, 7, 7, 7, 7))
    knobs = {"max_new_tokens": 40, "min_new_tokens": 4, "repetition_penalty": 1.4}
    found = ours(run, texts, temperature=0.0, **knobs)
    assert found == theirs(model, texts, **knobs)
    assert len({len(tokens) for ((tokens, ended, _),) in found if ended}) >= 3


EARLY = {"heuristic": False, "full": True, "never": "never"}


@pytest.mark.parametrize("early_stopping", EARLY)
@pytest.mark.parametrize("length_penalty", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("name", MODELS)
def test_beam_search_finds_the_same_sequences(pair, name, length_penalty, early_stopping):
    model, run = pair(name)
    texts = prompts(2, (4, 13, 1, 8, 8, 8))
    knobs = {"max_new_tokens": 24, "num_beams": 4, "length_penalty": length_penalty}
    found = ours(run, texts, num_samples=3, early_stopping=early_stopping, **knobs)
    expected = theirs(model, texts, returned=3, early_stopping=EARLY[early_stopping], **knobs)
    texts_of = lambda rows: [[sample[:2] for sample in row] for row in rows]  # noqa: E731
    scores_of = lambda rows: [[sample[2] for sample in row] for row in rows]  # noqa: E731
    assert texts_of(found) == texts_of(expected)
    np.testing.assert_allclose(scores_of(found), scores_of(expected), atol=1e-4)  # sums of up to 24, logits of order 10
    assert any(ended for row in found for _, ended, _ in row) or length_penalty == 2.0  # which favours what never ends


def test_beam_search_without_eos_with_penalty_and_minimal_length(pair):
    model, run = pair("gpt2")
    texts = prompts(3)
    knobs = {"max_new_tokens": 20, "num_beams": 4, "length_penalty": 1.0, "repetition_penalty": 1.3}
    for extra in ({"ignore_eos": True}, {"min_new_tokens": 6}):
        found = ours(run, texts, **knobs, **extra)
        expected = theirs(model, texts, **knobs, **({"eos": None} if "ignore_eos" in extra else extra))
        assert [row[0][0] for row in found] == [row[0][0] for row in expected]


def test_log_probabilities_are_those_of_the_torch_model(pair):
    model, run = pair("llama")
    (text,) = prompts(4, (6,))
    settings = [Settings(max_new_tokens=20, temperature=1.3, top_k=20, log_probs=True, ignore_eos=True)]
    (batch,) = make_batches([text], settings, context_length=CONTEXT)
    ((sample,),) = collect([run(batch, jax.random.key(1))], settings, bytes)
    with torch.no_grad():
        logits = model(torch.tensor([text + list(sample.tokens)])).logits[0, len(text) - 1 : -1]
    expected = torch.log_softmax(logits, -1)[torch.arange(20), torch.tensor(sample.tokens)].numpy()
    np.testing.assert_allclose(np.asarray(sample.log_probs), expected, atol=jnp.float32(5e-5))

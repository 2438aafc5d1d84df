"""Sentinels: found under the names that published models give them, kept by files, and laid out as the paper says."""

import json
from functools import partial

import numpy as np
import pytest
import sentencepiece
import tokenizers as library

from genjax.data.text_config import TokenizerConfig
from genjax.data.tokenizers.bpe_training import train_bpe
from genjax.data.tokenizers.build import given_tokenizer
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.data.tokenizers.fim import Sentinels, encode_inside, find_sentinels, infill_prompt
from genjax.data.tokenizers.load import load_tokenizer
from genjax.data.tokenizers.sentencepiece import load_sentencepiece, train_sentencepiece
from genjax.errors import ConfigError, DataError

CORPUS = ["def f(x):\n        return x + 1  # one more\n" * 40]
# Of the published tokenizers: added tokens, whether they are special there, and which are prefix, middle, suffix, padding, end.
PUBLISHED = {
    "StarCoder": (["<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"], True, (1, 2, 3, 4, None)),
    "SantaCoder": (["<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>"], True, (1, 2, 3, 4, None)),
    "Qwen2.5-Coder": (
        ["<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>"],
        False,
        (1, 2, 3, 4, None),
    ),
    "CodeLlama": (["</s>", "\u2581<PRE>", "\u2581<MID>", "\u2581<SUF>", "\u2581<EOT>"], True, (1, 2, 3, None, 4)),
    "DeepSeek-Coder": (
        ["<｜end▁of▁sentence｜>", "<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>"],
        False,
        (2, 3, 1, None, None),
    ),
}


def published(folder, names, special):
    """A tokenizer.json with these added tokens in a byte-level vocabulary, and their ids; the first is the end of text."""
    folder.mkdir()
    made = library.Tokenizer.from_str(train_bpe(CORPUS, 300).serialized)
    tokens = [library.AddedToken(name, special=special, normalized=False) for name in names]
    made.add_special_tokens(names[:1])
    (made.add_special_tokens if special else made.add_tokens)(tokens[1:])
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": names[0]}))
    return [made.token_to_id(name) for name in names]


@pytest.mark.parametrize("model", PUBLISHED)
def test_sentinels_of_published_models(model, tmp_path):
    names, special, places = PUBLISHED[model]
    ids = published(tmp_path / "model", names, special)
    tokenizer = load_tokenizer(tmp_path / "model")
    expected = [None if place is None else ids[place] for place in places]
    assert find_sentinels(tokenizer) == Sentinels(*expected)
    tokenizer.save(tmp_path / "again")
    again = load_tokenizer(tmp_path / "again")
    assert find_sentinels(again) == Sentinels(*expected) and again.fingerprint == tokenizer.fingerprint
    for i in filter(None, expected):
        assert tokenizer.decode([i]) == "" and tokenizer.token_bytes[i] == 0
    hostile = f"x = '{names[1]}'\n"
    assert not set(ids) & set(tokenizer.encode(hostile).tolist()) and tokenizer.decode(tokenizer.encode(hostile)) == hostile


def test_tokenizers_without_sentinels():
    assert find_sentinels(ByteTokenizer()) is None
    assert find_sentinels(train_bpe(CORPUS, 300)) is None
    assert find_sentinels(ByteTokenizer(fim_tokens=True)) == Sentinels(257, 258, 259, 260)


def test_the_key_fim_tokens_of_a_loaded_tokenizer(tmp_path):
    def given(tokenizer, name):
        tokenizer.save(tmp_path / name)
        return given_tokenizer(TokenizerConfig("pretrained", str(tmp_path / name), fim_tokens=True))

    plain, ours = train_bpe(CORPUS, 300), train_bpe(CORPUS, 310, fim_tokens=True)
    size = plain.vocab_size
    assert find_sentinels(given(plain, "plain")) == Sentinels(size, size + 1, size + 2, size + 3)
    assert given(ours, "ours").fingerprint == ours.fingerprint
    assert given(ByteTokenizer(), "byte") == ByteTokenizer(fim_tokens=True)
    with pytest.raises(ConfigError, match="has no sentinels of fill-in-the-middle and cannot get them; use a byte-level one"):
        given(train_sentencepiece(CORPUS, 278), "sentencepiece")


def test_keys_that_came_later_leave_the_fingerprints_of_earlier_runs():
    earlier = {
        "name": "bpe",
        "path": "",
        "vocab_size": 300,
        "add_eos": False,
        "model_type": "unigram",
        "train_characters": 30_000_000,
    }
    assert TokenizerConfig("bpe", vocab_size=300).settings == earlier
    assert TokenizerConfig("bpe", vocab_size=300, words="code").settings == earlier | {"words": "code"}
    assert TokenizerConfig("bpe", vocab_size=300, fim_tokens=True).settings == earlier | {"fim_tokens": True}


def test_sentinels_in_gpt2s_files(tmp_path):
    """As SantaCoder's and StarCoder's slow tokenizers keep them: within vocab.json, or after it in added_tokens.json."""
    model = json.loads(train_bpe(CORPUS, 300).serialized)["model"]
    (tmp_path / "merges.txt").write_text("\n".join(" ".join(merge) for merge in model["merges"]))
    names = ["<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>"]
    size = len(model["vocab"])
    added = {name: size + n for n, name in enumerate(names)}
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"] | added))
    within = find_sentinels(load_tokenizer(tmp_path))
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "added_tokens.json").write_text(json.dumps(dict(reversed(added.items()))))
    tokenizer = load_tokenizer(tmp_path)
    assert within == find_sentinels(tokenizer) == Sentinels(size, size + 1, size + 2, size + 3)
    assert "<fim-prefix>" in tokenizer.decode(tokenizer.encode("<fim-prefix>"))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<fim-prefix>": size + 7}))
    with pytest.raises(DataError, match=f"gives '<fim-prefix>' the id {size + 7}, but {size} is the next after vocab.json"):
        load_tokenizer(tmp_path)


def test_sentinels_of_a_sentencepiece_model(tmp_path):
    """CodeLlama's tokenizer.model."""
    names = ["\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>", "\u2581<EOT>"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=280,
        byte_fallback=True,
        control_symbols=names,
        minloglevel=2,
    )
    tokenizer = load_sentencepiece(tmp_path / "tokenizer.model")
    sentinels = find_sentinels(tokenizer)
    prefix, suffix, middle, end = (tokenizer.token_id(name) for name in names)
    assert sentinels == Sentinels(prefix, middle, suffix, None, end)
    assert tokenizer.decode([prefix, *tokenizer.encode("def f"), suffix]) == "def f"
    # CodeLlama's own code: the prefix as any text, the suffix without the space that begins a text.
    prompt = infill_prompt(tokenizer.encode, sentinels, "def f", "return", encode_suffix=partial(encode_inside, tokenizer))
    assert prompt[0] == prefix and prompt[-1] == middle
    assert tokenizer.decode_bytes(prompt[: prompt.index(suffix)]) == b" def f"
    assert tokenizer.decode_bytes(prompt[prompt.index(suffix) :]) == b"return"


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(fim_tokens=True), train_bpe(CORPUS, 320, "code", fim_tokens=True)])
def test_prompts(tokenizer):
    s = find_sentinels(tokenizer)
    p, q = "def f(x):\n    ", "\n    return y\n"
    before, after = tokenizer.encode(p).tolist(), tokenizer.encode(q).tolist()
    assert infill_prompt(tokenizer.encode, s, p, q) == [s.prefix, *before, s.suffix, *after, s.middle]
    assert infill_prompt(tokenizer.encode, s, p, q, "spm") == [s.prefix, s.suffix, *after, s.middle, *before]
    assert infill_prompt(tokenizer.encode, s, "", "", "psm") == [s.prefix, s.suffix, s.middle]
    assert all(type(i) is int for i in infill_prompt(tokenizer.encode, s, p, q))
    assert encode_inside(tokenizer, q) == after


@pytest.mark.parametrize("words", ["gpt2", "code"])
def test_transformers_sees_the_same_sentinels(words, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = train_bpe(CORPUS, 400, words, fim_tokens=True)
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    names = ["<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"]
    assert theirs.convert_tokens_to_ids(names) == [tokenizer.token_id(name) for name in names] == [0, 1, 2, 3, 4]
    assert set(theirs.all_special_tokens) == set(names)
    assert theirs.eos_token == "<|endoftext|>" and len(theirs) == tokenizer.vocab_size
    assert theirs.decode([1, 2, 3, 4, *tokenizer.encode("x = 1")], skip_special_tokens=True) == "x = 1"
    s = find_sentinels(tokenizer)
    text = "<fim_prefix>def f(x):\n        return<fim_suffix>\n\t\t\tx  \n<fim_middle>"
    expected = infill_prompt(tokenizer.encode, s, "def f(x):\n        return", "\n\t\t\tx  \n")
    assert theirs(text)["input_ids"] == expected
    theirs.save_pretrained(tmp_path / "theirs")
    back = load_tokenizer(tmp_path / "theirs")
    assert find_sentinels(back) == s and back.eos_id == 0
    assert np.array_equal(back.encode(text), tokenizer.encode(text))


def test_sentinels_stay_in_an_exported_model(tmp_path):
    import jax

    from genjax.interop import huggingface
    from genjax.models.gpt import GPT, GPTConfig

    tokenizer = train_bpe(CORPUS, 320, "code", fim_tokens=True)
    config = GPTConfig(vocab_size=320, context_length=16, num_layers=1, num_heads=2, embed_dim=8)
    shapes = jax.eval_shape(GPT(config).init, jax.random.key(0), np.zeros((1, 4), np.int32))["params"]
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    huggingface.save(tmp_path / "model", params, config, tokenizer)
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert theirs.convert_tokens_to_ids("<fim_middle>") == 2 and "<fim_middle>" in theirs.all_special_tokens
    opened = load_tokenizer(tmp_path / "model")
    assert find_sentinels(opened) == Sentinels(1, 2, 3, 4) and opened.fingerprint == tokenizer.fingerprint

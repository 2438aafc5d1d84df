"""Tokenizer files of Hugging Face folders give the ids that transformers gives."""

import json

import pytest
import tokenizers as library
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.data.sources.stdlib import StandardLibrary
from genjax.data.tokenizers import bpe
from genjax.data.tokenizers.load import load_tokenizer

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(alphabet="abc def'stll  \n\t0123.,!?é日😀"),
    st.sampled_from(
        [
            "Hello world",
            " leading",
            "trailing ",
            "it's we'll I'd",
            "a\n\n\nb",
            "  two",
            "1234567",
            "naïve",
            "<s>",
            "<|endoftext|>a",
        ]
    ),
)

# A special token's name within a text is ordinary text to genjax; transformers does so when told.
PLAIN = {"add_special_tokens": False, "split_special_tokens": True}


def corpus():
    return [document.text for document in StandardLibrary() if document.name.startswith(("json/", "email/"))]


@pytest.fixture(scope="module")
def gpt2_folder(tmp_path_factory):
    """vocab.json and merges.txt as GPT-2 has them, the separator last."""
    folder = tmp_path_factory.mktemp("gpt2")
    made = library.ByteLevelBPETokenizer()
    made.train_from_iterator(corpus(), vocab_size=1500, show_progress=False)
    made.save_model(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text())
    vocabulary["<|endoftext|>"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    return folder


@pytest.fixture(scope="module")
def gpt2(gpt2_folder):
    from transformers import GPT2Tokenizer

    theirs = GPT2Tokenizer(vocab=str(gpt2_folder / "vocab.json"), merges=str(gpt2_folder / "merges.txt"))
    return load_tokenizer(gpt2_folder), theirs


@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
def test_gpt2_vocabulary_and_merges(gpt2, text):
    ours, theirs = gpt2
    ids = ours.encode(text).tolist()
    assert ids == theirs(text, **PLAIN)["input_ids"]
    assert ours.decode(ids) == theirs.decode(ids) == text


def test_gpt2_ends_and_size(gpt2):
    ours, theirs = gpt2
    assert ours.vocab_size == len(theirs) == 1501
    assert ours.eos_id == ours.bos_id == theirs.eos_token_id == 1500
    assert not ours.adds_bos and ours.token_bytes[1500] == 0


def test_a_saved_transformers_folder(gpt2, tmp_path):
    ours, theirs = gpt2
    theirs.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert (loaded.bos_id, loaded.eos_id, loaded.adds_bos) == (ours.bos_id, ours.eos_id, False)
    text = "def f(x):\n    return {'a': x}\n"
    assert loaded.encode(text).tolist() == ours.encode(text).tolist() == theirs(text)["input_ids"]


def test_our_folder_opens_in_transformers(gpt2, tmp_path):
    from transformers import AutoTokenizer

    ours, _ = gpt2
    ours.save(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    text = "class A:\n    pass  # it's 12\n"
    assert opened(text)["input_ids"] == ours.encode(text).tolist()
    assert opened.decode(opened(text)["input_ids"]) == text
    assert opened.eos_token_id == ours.eos_id


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A tokenizer.json in the manner of Llama 2: pieces with a space in front, bytes for the unknown, bos before each text."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("llama")
    made = library.Tokenizer(library.models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    made.normalizer = library.normalizers.Sequence(
        [library.normalizers.Prepend("\u2581"), library.normalizers.Replace(" ", "\u2581")]
    )
    steps = [library.decoders.Replace("\u2581", " "), library.decoders.ByteFallback(), library.decoders.Fuse()]
    made.decoder = library.decoders.Sequence([*steps, library.decoders.Strip(" ", 1, 0)])
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    lines = [line for text in corpus() for line in text.splitlines()[:40]]
    made.train_from_iterator(lines, library.trainers.BpeTrainer(vocab_size=900, special_tokens=specials, show_progress=False))
    made.post_processor = library.processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B:1", special_tokens=[("<s>", 1)])
    description = json.loads(made.to_str())
    description["added_tokens"] = [token for token in description["added_tokens"] if token["id"] < 3]
    (folder / "tokenizer.json").write_text(json.dumps(description))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": {"__type": "AddedToken", "content": "<s>"},
        "eos_token": "</s>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_llama_tokenizer_json(llama, text):
    ours, theirs = llama
    ids = ours.encode(text).tolist()
    assert ids == theirs(text, **PLAIN)["input_ids"]
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert ours.decode_bytes(ids) == b"".join(ours.decode_bytes([i]) for i in ids)
    if "\u2581" not in text:
        assert ours.decode_bytes(ids).decode() == (" " + text if text else "")


def test_llama_ends(llama):
    ours, theirs = llama
    assert (ours.bos_id, ours.eos_id) == (theirs.bos_token_id, theirs.eos_token_id) == (1, 2)
    assert ours.adds_bos and theirs("a")["input_ids"][0] == 1


LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.fixture(scope="module")
def llama3(tmp_path_factory):
    """A tokenizer.json in the manner of Llama 3: byte-level, its own word pattern, bos before each text, more specials."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("llama3")
    made = library.Tokenizer(library.models.BPE())
    words = library.pre_tokenizers.Split(library.Regex(LLAMA3_WORDS), behavior="isolated")
    byte_level = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = library.pre_tokenizers.Sequence([words, byte_level])
    made.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        corpus(), library.trainers.BpeTrainer(vocab_size=1000, initial_alphabet=alphabet, show_progress=False)
    )
    made.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    bos = made.token_to_id("<|begin_of_text|>")
    template = {"single": "<|begin_of_text|> $A", "pair": "<|begin_of_text|> $A $B:1"}
    made.post_processor = library.processors.TemplateProcessing(**template, special_tokens=[("<|begin_of_text|>", bos)])
    made.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_llama3_tokenizer_json(llama3, text):
    ours, theirs = llama3
    ids = ours.encode(text).tolist()
    assert ids == theirs(text, **PLAIN)["input_ids"]
    assert ours.decode(ids) == text


def test_llama3_ends_and_long_texts(llama3, monkeypatch):
    ours, theirs = llama3
    assert ours.adds_bos and (ours.bos_id, ours.eos_id) == (theirs.bos_token_id, theirs.eos_token_id) == (1000, 1001)
    assert ours.vocab_size == 1003 and (ours.token_bytes[1000:] == 0).all()
    text = "".join(corpus()) + "a.\nb\n\n c\r\nd!\n\t\ne"
    whole = theirs(text, **PLAIN)["input_ids"]
    monkeypatch.setattr(bpe, "LONG", 50)
    assert len(list(bpe._parts(text))) > 300
    assert ours.encode(text).tolist() == whole

"""Tokenizer files of Hugging Face folders give the ids that transformers gives."""

import json

import pytest
import tokenizers as library
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.data.sources.stdlib import StandardLibrary
from genjax.data.tokenizers.load import load_tokenizer

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(alphabet="abc def'stll  \n\t0123.,!?é日😀"),
    st.sampled_from(["Hello world", " leading", "trailing ", "it's we'll I'd", "a\n\n\nb", "  two", "1234567", "naïve"]),
)


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
    assert ids == theirs(text)["input_ids"]
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
    assert ids == theirs(text, add_special_tokens=False)["input_ids"]
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert ours.decode_bytes(ids) == b"".join(ours.decode_bytes([i]) for i in ids)
    if "\u2581" not in text:
        assert ours.decode_bytes(ids).decode() == (" " + text if text else "")


def test_llama_ends(llama):
    ours, theirs = llama
    assert (ours.bos_id, ours.eos_id) == (theirs.bos_token_id, theirs.eos_token_id) == (1, 2)
    assert ours.adds_bos and theirs("a")["input_ids"][0] == 1

"""Each kind gives back every text, streams piece by piece, counts its bytes, and survives saving."""

import inspect
import pickle
import re
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.data.tokenizers import bpe
from genjax.data.tokenizers.base import MANIFEST
from genjax.data.tokenizers.bpe_training import train_bpe
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.data.tokenizers.character import CharacterTokenizer, train_character
from genjax.data.tokenizers.load import load_tokenizer
from genjax.data.tokenizers.sentencepiece import train_sentencepiece
from genjax.errors import ConfigError, DataError

CORPUS = [
    inspect.getsource(textwrap),
    "The quick brown fox jumps over the lazy dog.\n" * 30,
    "naïve café, 1,234 times — «oui»\n\tdef f(x):\n        return x\n" * 30,
]
# Texts that tokenizers are known to lose: their own space and specials, line ends, bytes written out, combining characters.
AWKWARD = [
    "\u2581",
    " \u2581\u2581 a",
    "<s></s><unk>",
    "<|endoftext|>",
    "<0x41>",
    "\r\n\r",
    " ",
    "  a  ",
    "\0",
    "\ufffd",
    "e\u0301",
    "\n \n",
]
BYTE_KINDS = ["byte", "byte-fim", "bpe", "bpe-code"]
KINDS = ["sentencepiece", "sentencepiece-bpe", *BYTE_KINDS]


@pytest.fixture(scope="module")
def tokenizers():
    return {
        "byte": ByteTokenizer(),
        "byte-fim": ByteTokenizer(fim_tokens=True),
        "character": train_character(CORPUS),
        "character-eos": train_character(CORPUS, add_eos=True),
        "sentencepiece": train_sentencepiece(CORPUS, 500),
        "sentencepiece-bpe": train_sentencepiece(CORPUS, 450, "bpe"),
        "bpe": train_bpe(CORPUS, 400),
        "bpe-code": train_bpe(CORPUS, 420, "code", fim_tokens=True),
    }


def check_text(tokenizer, text):
    ids = tokenizer.encode(text)
    content = text.encode()
    assert ids.dtype == np.int32 and ids.ndim == 1
    assert tokenizer.decode(ids) == text and tokenizer.decode_bytes(ids) == content
    assert tokenizer.token_bytes[ids].sum() == len(content)
    assert b"".join(tokenizer.decode_bytes([i]) for i in ids) == content
    specials = {tokenizer.bos_id, tokenizer.eos_id} - {None}
    assert not specials & set(ids.tolist()) and all(0 <= i < tokenizer.vocab_size for i in ids)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.text(), st.text(alphabet=" \u2581\n\tae<>s/|0x1\0\u0301"), st.sampled_from(AWKWARD)))
def test_every_text_comes_back(tokenizers, kind, text):
    check_text(tokenizers[kind], text)


@pytest.mark.parametrize("kind", ["character", "character-eos"])
@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet=sorted(set("".join(CORPUS)))))
def test_every_text_of_known_characters_comes_back(tokenizers, kind, text):
    check_text(tokenizers[kind], text)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(content=st.binary())
def test_every_sequence_of_bytes_can_be_written(tokenizers, kind, content):
    """A sampler may write any token after any other: bytes that are not UTF-8 are shown as U+FFFD, and none is lost."""
    tokenizer = tokenizers[kind]
    one_byte = {tokenizer.decode_bytes([i]): i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes[i] == 1}
    ids = [one_byte[bytes([byte])] for byte in content]
    assert tokenizer.decode_bytes(ids) == content
    assert tokenizer.decode(ids) == content.decode("utf-8", "replace")


@pytest.mark.parametrize("kind", BYTE_KINDS)
@settings(max_examples=100, deadline=None)
@given(
    content=st.one_of(
        st.binary(), st.text().map(str.encode), st.lists(st.sampled_from([b"\xe2\x96", b"ab ", b"\x81\xff"])).map(b"".join)
    )
)
def test_every_sequence_of_bytes_is_encoded(tokenizers, kind, content):
    tokenizer = tokenizers[kind]
    ids = tokenizer.encode_bytes(content)
    assert ids.dtype == np.int32 and tokenizer.decode_bytes(ids) == content
    try:
        assert ids.tolist() == tokenizer.encode(content.decode()).tolist()
    except UnicodeDecodeError:
        assert (tokenizer.token_bytes[ids] > 0).all()


@pytest.mark.parametrize("kind", ["sentencepiece", "character"])
def test_kinds_without_a_token_for_each_byte(tokenizers, kind):
    with pytest.raises(
        ConfigError, match=f"a {kind} tokenizer has no token for each byte.*use data.tokenizer.name 'bpe' or 'byte'"
    ):
        tokenizers[kind].encode_bytes(b"a")


def test_ids_of_specials_by_name(tokenizers):
    names = ["<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"]
    assert [tokenizers["byte-fim"].token_id(name) for name in names] == [257, 258, 259, 260]
    assert [tokenizers["bpe-code"].token_id(name) for name in ["<|endoftext|>", *names]] == [0, 1, 2, 3, 4]
    assert tokenizers["bpe"].token_id("<|endoftext|>") == 0
    assert [tokenizers["sentencepiece"].token_id(name) for name in ("<unk>", "<s>", "</s>")] == [None, 1, 2]
    for tokenizer in tokenizers.values():
        assert tokenizer.token_id("<no_such_token>") is None
    assert [tokenizers[kind].token_id("<fim_prefix>") for kind in ("byte", "bpe", "character", "sentencepiece")] == [None] * 4


@pytest.mark.parametrize("kind", [*KINDS, "character", "character-eos"])
def test_batches_are_encoded_as_single_texts_are(tokenizers, kind):
    texts = [*CORPUS, "", "The dog", CORPUS[2][:77]]
    batch = tokenizers[kind].encode_batch(texts)
    assert [ids.tolist() for ids in batch] == [tokenizers[kind].encode(text).tolist() for text in texts]


@pytest.mark.parametrize("kind", [*KINDS, "character", "character-eos"])
def test_saved_and_loaded(tokenizers, kind, tmp_path):
    tokenizer = tokenizers[kind]
    tokenizer.save(tmp_path / "made" / "here")
    loaded = load_tokenizer(tmp_path / "made" / "here")
    assert loaded.fingerprint == tokenizer.fingerprint
    assert (loaded.vocab_size, loaded.bos_id, loaded.eos_id, loaded.adds_bos) == (
        tokenizer.vocab_size,
        tokenizer.bos_id,
        tokenizer.eos_id,
        tokenizer.adds_bos,
    )
    assert (loaded.encode(CORPUS[1]) == tokenizer.encode(CORPUS[1])).all()
    assert (loaded.token_bytes == tokenizer.token_bytes).all()


@pytest.mark.parametrize("kind", [*KINDS, "character", "character-eos"])
def test_a_worker_process_encodes_alike(tokenizers, kind):
    tokenizer = tokenizers[kind]
    text = "<|endoftext|> The <fim_prefix>" if "character" not in kind else "The dog"
    expected = tokenizer.encode(text).tolist()
    assert pickle.loads(pickle.dumps(tokenizer)).encode(text).tolist() == expected


def test_fingerprints_tell_tokenizers_apart(tokenizers):
    others = [train_bpe(CORPUS, 300), train_sentencepiece(CORPUS, 490), train_character(CORPUS[1:2])]
    everything = [*tokenizers.values(), *others]
    assert len({tokenizer.fingerprint for tokenizer in everything}) == len(everything)


@pytest.mark.parametrize("train", [lambda: train_bpe(CORPUS, 400), lambda: train_sentencepiece(CORPUS, 500)])
def test_training_is_deterministic(train):
    assert train() == train()


def test_specials(tokenizers):
    assert ByteTokenizer().bos_id == ByteTokenizer().eos_id == 256 and ByteTokenizer().vocab_size == 257
    assert (tokenizers["character"].eos_id, tokenizers["character"].bos_id) == (None, None)
    characters = len(set("".join(CORPUS)))
    assert tokenizers["character"].vocab_size == characters
    assert tokenizers["character-eos"].eos_id == tokenizers["character-eos"].bos_id == characters
    assert (tokenizers["sentencepiece"].bos_id, tokenizers["sentencepiece"].eos_id) == (1, 2)
    assert tokenizers["bpe"].bos_id == tokenizers["bpe"].eos_id == 0
    for tokenizer in tokenizers.values():
        for special in {tokenizer.bos_id, tokenizer.eos_id} - {None}:
            assert tokenizer.token_bytes[special] == 0 and tokenizer.decode([special]) == ""


def test_ids_of_a_padded_embedding_stand_for_nothing(tokenizers):
    for tokenizer in tokenizers.values():
        ids = [*tokenizer.encode("The"), tokenizer.vocab_size + 5]
        assert tokenizer.decode(ids) == "The" and tokenizer.decode_bytes(ids) == b"The"


def test_a_long_byte_level_text_is_encoded_in_parts_as_it_is_whole(monkeypatch, tokenizers):
    text = "".join(CORPUS[1:]) + "\n\n  x\n\t \ny\r\n" * 20 + "end\n"
    whole = tokenizers["bpe"]._tokenizer.encode(text, add_special_tokens=False).ids
    monkeypatch.setattr(bpe, "LONG", 10)
    assert len(list(bpe._parts(text))) > 40 and "".join(bpe._parts(text)) == text
    assert tokenizers["bpe"].encode(text).tolist() == whole


def test_half_a_surrogate_pair_does_not_stop_a_prompt(tokenizers):
    kinds = ("byte", "sentencepiece", "sentencepiece-bpe", "bpe")
    written = {kind: tokenizers[kind].decode(tokenizers[kind].encode("a\ud800b")) for kind in kinds}
    assert written == {"byte": "a\ufffd\ufffd\ufffdb", "sentencepiece": "a?b", "sentencepiece-bpe": "a?b", "bpe": "a?b"}


def test_an_unknown_character_is_named_with_its_place(tokenizers):
    with pytest.raises(DataError, match=re.escape("the character 'ß' (U+00DF, character 3 of the text) is not among the")):
        tokenizers["character"].encode("dogß")
    with pytest.raises(DataError, match="U\\+1F600.*tokenizer.name='byte'"):
        CharacterTokenizer("abc").encode("😀")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (lambda: train_bpe(CORPUS, 256), "vocab_size is 256, but byte-level BPE needs at least 257"),
        (
            lambda: train_sentencepiece(CORPUS, 100),
            "vocab_size 100 cannot be trained from this text: bytes, specials and the text's characters need",
        ),
        (
            lambda: train_sentencepiece(CORPUS, 90_000),
            "vocab_size 90000 cannot be trained from this text: it has pieces for",
        ),
    ],
)
def test_vocabularies_that_cannot_be(train, message):
    with pytest.raises(ConfigError, match=message):
        train()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {},
            "holds no tokenizer; expected genjax_tokenizer.json, spiece.model, tokenizer.json, vocab.json with merges.txt, "
            "vocab.txt, or tokenizer.model",
        ),
        ({MANIFEST: "{"}, "genjax_tokenizer.json is not a readable JSON file"),
        ({MANIFEST: '{"kind": "character"}'}, "lacks 'characters'"),
        ({MANIFEST: '{"kind": "word"}'}, "names the kind 'word'; known: byte, character, sentencepiece, bpe, wordpiece"),
        ({MANIFEST: '{"kind": "sentencepiece"}'}, "tokenizer.model cannot be read: No such file"),
        ({"tokenizer.model": "not a model"}, "is not a SentencePiece model"),
        ({"tokenizer.json": "{}"}, "is not a tokenizer.json that the tokenizers library reads"),
        ({"vocab.json": "{}", "merges.txt": "a b\n"}, "are not a BPE vocabulary with its merges"),
    ],
)
def test_folders_that_hold_no_tokenizer(files, message, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=re.escape(message)):
        load_tokenizer(tmp_path)


def test_a_missing_folder_and_a_tokenizer_of_words(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        load_tokenizer(tmp_path / "nowhere")
    import tokenizers as library

    words = library.Tokenizer(library.models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    words.decoder = library.decoders.WordPiece()
    words.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(DataError, match="holds a WordLevel tokenizer with the decoder WordPiece; genjax reads byte-level BPE"):
        load_tokenizer(tmp_path)

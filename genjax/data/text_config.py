"""The config section `data` of a text dataset (`data.name = "text"`)."""

from dataclasses import dataclass, field
from typing import Any, Literal

from genjax.data.checks import check_limits
from genjax.data.sources.document import EncodingErrors
from genjax.errors import ConfigError

LATER = {"words": "gpt2", "fim_tokens": False, "lowercase": True}


@dataclass(frozen=True)
class TokenizerConfig:
    """Which tokenizer. With a `path` it is loaded, without one it is trained from the corpus ("byte" needs neither)."""

    # pretrained: whatever `path` holds
    name: Literal["byte", "character", "sentencepiece", "bpe", "wordpiece", "pretrained"] = "byte"
    path: str = ""  # a folder (a run's tokenizer, a Hugging Face model) or a .model, vocab.txt or tokenizer.json file
    vocab_size: int = 0  # of a trained sentencepiece, bpe or wordpiece tokenizer, specials included; 0: 8,192
    add_eos: bool = False  # character: one more id that separates documents
    model_type: Literal["unigram", "bpe"] = "unigram"  # sentencepiece
    words: Literal["gpt2", "code"] = "gpt2"  # bpe, trained: "code" has one token for every run of up to 32 spaces or 8 tabs
    fim_tokens: bool = False  # bpe, byte: the sentinels of fill-in-the-middle; a loaded tokenizer that has none gets them
    lowercase: bool = True  # wordpiece, trained: letters lose their case and their accents
    train_characters: int = 30_000_000  # sentencepiece, bpe and wordpiece are trained on at most this much text, taken evenly

    def __post_init__(self):
        if self.name == "pretrained" and not self.path:
            raise ConfigError("data.tokenizer.name is 'pretrained', but data.tokenizer.path is empty; give it a folder or file.")
        if self.fim_tokens and self.name not in ("byte", "bpe", "pretrained"):
            raise ConfigError(
                f"data.tokenizer.fim_tokens does not go with data.tokenizer.name '{self.name}'; use 'bpe' or 'byte', whose "
                "tokens can begin and end at any character."
            )
        if self.vocab_size < 0:
            raise ConfigError(f"data.tokenizer.vocab_size is {self.vocab_size}; it must be positive, or 0 for the default.")
        if self.train_characters < 1:
            raise ConfigError(f"data.tokenizer.train_characters is {self.train_characters}; it must be positive.")

    @property
    def settings(self) -> dict[str, Any]:
        """What decides a trained tokenizer, for fingerprints. Keys that came later are there only when they are set: runs from
        before keep their fingerprint."""
        return {name: value for name, value in vars(self).items() if name not in LATER or value != LATER[name]}


@dataclass(frozen=True)
class TextDataConfig:
    """Text, from its source to the rows of a batch."""

    name: str = "text"
    # Where the documents come from.
    source: Literal["files", "jsonl", "tfds", "stdlib"] = "files"
    path: str = ""  # files, jsonl: a file, folder or glob ($NAME and ~ are expanded); tfds: the data_dir ("" : TFDS' default)
    document_separator: str = ""  # files: text that ends a document within a file; "" : a file is a document
    text_field: str = "text"  # jsonl, tfds: the field that holds the text
    tfds_name: str = ""  # tfds: the dataset, for example "lm1b"
    tfds_split: str = "train"  # tfds: also slices such as "train[:50%]"
    include_tests: bool = False  # stdlib: also the library's own tests
    encoding_errors: EncodingErrors = "raise"  # bytes that are not UTF-8: an error, or U+FFFD
    # What is held out: a part of the documents (chosen by hash; the end of a single one), or another place altogether.
    evaluation_fraction: float = 0.1
    evaluation_path: str = ""  # files, jsonl: takes the place of evaluation_fraction
    evaluation_tfds_split: str = ""  # tfds: the same
    # How text becomes rows.
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    batch_size: int = 32  # rows of a global batch, over all processes
    sequence_length: int = 256  # predictions of a row
    mode: Literal["pack", "window"] = "pack"  # documents packed with segment ids, or the stream of tokens cut into windows
    continue_positions: bool = False  # pack: a later piece of a document goes on counting (positions then pass sequence_length)
    bidirectional: bool = False  # for models that read both ways: documents with their ends, each token its own target
    shuffle: bool = True  # rows in an order drawn from the seed, another one each epoch
    # How it is read. None of these changes a batch.
    num_threads: int = 2  # threads that make batches ahead; 0: made when asked for
    num_workers: int = 0  # processes that do so, for datasets whose rows are costly
    prefetch: int = 8  # batches made ahead
    cache_dir: str = ""  # a folder for tokenized text that runs share; "" : the one that the run gives

    def __post_init__(self):
        check_limits(self, positive=("sequence_length",))
        if self.source == "tfds" and not self.tfds_name:
            raise ConfigError("data.source is 'tfds', but data.tfds_name is empty; name the dataset, for example 'lm1b'.")
        if self.evaluation_path and self.source not in ("files", "jsonl"):
            other = "data.evaluation_tfds_split" if self.source == "tfds" else "data.evaluation_fraction"
            raise ConfigError(f"data.evaluation_path does not go with data.source='{self.source}'; use {other}.")
        if self.evaluation_tfds_split and self.source != "tfds":
            raise ConfigError(
                f"data.evaluation_tfds_split does not go with data.source='{self.source}'; use data.evaluation_path."
            )

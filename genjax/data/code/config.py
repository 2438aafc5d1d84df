"""The config section `data` of a dataset of code (`data.name = "code"`)."""

from dataclasses import dataclass, field
from typing import Literal

from genjax.data.checks import check_limits
from genjax.data.code.filters import CodeFilters
from genjax.data.fim_rows import FimConfig
from genjax.data.sources.document import CodeEncodingErrors
from genjax.data.text_config import TextDataConfig
from genjax.errors import ConfigError


@dataclass(frozen=True)
class DuplicatesConfig:
    """The config section `data.duplicates`."""

    exact: bool = True  # of texts that differ in white space at line ends alone, only the first is kept
    # Near duplicates: only the first of a cluster is kept; or all are, on one side of the held-out split; or nobody looks.
    near: Literal["remove", "keep_together", "ignore"] = "remove"
    threshold: float = 0.7  # Jaccard similarity of two texts' sets of shingles from which on they are near duplicates
    shingle: int = 5  # words in a row that make a shingle
    permutations: int = 128  # of MinHash; the standard error of an estimated similarity s is sqrt(s (1 - s) / permutations)

    def __post_init__(self):
        if not 0.2 <= self.threshold < 1:
            raise ConfigError(f"data.duplicates.threshold is {self.threshold}; it must be at least 0.2 and below 1.")
        if self.shingle < 1:
            raise ConfigError(f"data.duplicates.shingle is {self.shingle}; it must be at least 1.")
        if not 16 <= self.permutations <= 4096:
            raise ConfigError(f"data.duplicates.permutations is {self.permutations}; it must be between 16 and 4,096.")


@dataclass(frozen=True)
class CodeDataConfig(TextDataConfig):
    """Code, from its source to the rows of a batch. What is not said here is as for text."""

    name: str = "code"
    # files: source files in folders and archives, by their names. installed: the packages beside this Python.
    source: Literal["files", "jsonl", "tfds", "stdlib", "installed", "stdlib+installed"] = "files"
    encoding_errors: CodeEncodingErrors = "leave_out"  # files that are not text: left out (and counted), an error, or U+FFFD
    repository_depth: int = 1  # files: folders of a path that name its repository; 0: all that is found is one
    # jsonl, tfds: fields beside text_field; a record may lack them. The language is else taken from the path.
    language_field: str = "language"
    licence_field: str = "license"
    path_field: str = "path"
    repository_field: str = "repo_name"
    # What is kept.
    filters: CodeFilters = field(default_factory=CodeFilters)
    duplicates: DuplicatesConfig = field(default_factory=DuplicatesConfig)
    # What is held out: evaluation_fraction or evaluation_path as for text, by repository on request; or named repositories.
    group_by_repository: bool = False  # a repository is held out as a whole, or not at all
    evaluation_repositories: tuple[str, ...] = ()  # names or patterns ("google-*"); takes the place of evaluation_fraction
    # How it is written.
    language_tag: bool = False  # the first line of a document is a comment that names its language
    document_order: Literal["source", "repository"] = "source"  # window mode: files of one repository follow each other
    fim: FimConfig | None = None  # fill-in-the-middle: a part of the training rows' pieces is rewritten

    def __post_init__(self):
        super().__post_init__()
        if self.document_separator:
            raise ConfigError(
                "data.document_separator does not go with data.name='code': a file is a document there; leave it empty."
            )
        check_limits(self, optional=("repository_depth",))
        if self.evaluation_repositories and (self.evaluation_path or self.evaluation_tfds_split):
            raise ConfigError("data.evaluation_repositories and another place for held-out text were given; use one of them.")
        if self.document_order == "repository" and self.mode == "pack":
            raise ConfigError(
                "data.document_order='repository' changes nothing in data.mode='pack', where no document sees another; "
                "use data.mode='window', or leave the order."
            )

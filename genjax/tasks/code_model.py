"""A code model: GPT's task with requests of its own, which fill in the middle, write functions and rank their samples."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from genjax import decoding
from genjax.data import DataInfo
from genjax.data.code.languages import canonical
from genjax.data.tokenizers.fim import FIM_TOKENS, Sentinels, encode_inside, find_sentinels, infill_prompt
from genjax.decoding.batches import DEFAULT_NEW_TOKENS
from genjax.errors import RequestError
from genjax.evaluation.code.problems import HUMAN_EVAL_STOP
from genjax.tasks import language_model
from genjax.tasks.contract import Artifact
from genjax.tasks.language_model import LanguageModel, LanguageModelConfig
from genjax.tasks.text_sampling import TextRequest

# Where a function at the left margin is over: also at the next one's decorator.
FUNCTION_STOP = (*HUMAN_EVAL_STOP, "\n@")


def _knob(default: Any, help: str, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": help, **metadata})


@dataclass(frozen=True)
class CodeRequest(TextRequest):
    """A prompt to continue, or a gap to fill in: between `prefix` and `suffix`, or at the marker in a file.

    `file` is the text of the file; on the command line and in prompt files it is given by its path.
    """

    prefix: str = _knob("", "fill in: the code before the gap")
    suffix: str = _knob("", "fill in: the code after the gap")
    file: str = _knob("", "fill in: a file with the marker where the gap is", from_file=True)
    marker: str = _knob("<FILL>", "what marks the gap in the file")
    infill_order: Literal["", "psm", "spm"] = _knob("", "the model reads prefix, suffix (psm) or suffix, prefix (spm)")
    function: bool = _knob(False, "the prompt is a signature with its docstring: write the function and end where it ends")
    trim: bool = _knob(True, "a context that is too long loses what is farthest from the new code; off: it is an error")
    rank: bool = _knob(False, "order the samples of a prompt by their mean log-probability, the best first")
    findings: bool = _knob(False, "with each text: does it parse, security and lint issues, verbatim repeats of training data")
    language: str = _knob("python", "what the code is written in; only Python is parsed and linted for its findings")


@dataclass(frozen=True)
class CodeModelConfig(LanguageModelConfig):
    """The section `config.task`."""

    name: str = "code_model"
    infill_order: Literal["psm", "spm"] = "psm"  # of requests that name none: what `data.fim.spm_rate` taught best


@dataclass(frozen=True)
class CodeModel(LanguageModel):
    """A GPT over code: the loss is the language model's; the data decide whether it learns to fill in the middle."""

    config: CodeModelConfig

    request_type = CodeRequest
    config_type = CodeModelConfig

    @functools.cached_property
    def sentinels(self) -> Sentinels | None:
        """The tokens that ask for a middle; None where the tokenizer has none."""
        return None if self.info.tokenizer is None else find_sentinels(self.info.tokenizer)

    def _prompt_tokens(self, request: CodeRequest) -> list[int]:
        return self._fitted(request)[0]

    def _settings(self, request: CodeRequest) -> CodeRequest:
        stop = request.stop + (FUNCTION_STOP if request.function else ())
        return dataclasses.replace(request, stop=stop, log_probs=request.log_probs or request.rank)

    def _artifacts(self, request: CodeRequest, generations: Sequence[decoding.Generation]) -> list[Artifact]:
        gap = _gap(request)
        context = {"prompt": _prompt(request)} if gap is None else {"prefix": gap[0], "suffix": gap[1]}
        if trimmed := self._fitted(request)[1]:
            context["trimmed_tokens"] = trimmed
        if request.findings:
            context |= {"findings": None, "language": canonical(request.language)}  # sampling/findings.py puts them in
        made = [
            Artifact("text", generation.text, {**context, "sample": number, **_metadata(request, generation)})
            for number, generation in enumerate(generations)
        ]
        return sorted(made, key=lambda a: -a.metadata.get("mean_log_prob", 0.0)) if request.rank else made

    def _fitted(self, request: CodeRequest) -> tuple[list[int], int]:
        """What the model reads, and how many tokens of the request it does not, because they do not fit."""
        context = self.model_config.context_length
        room = context - (request.max_new_tokens or min(DEFAULT_NEW_TOKENS, context // 4))
        gap = _gap(request)
        if gap is None:
            tokens = self._encode(_prompt(request))
            excess = len(tokens) - room
            if not request.trim or excess <= 0 or room < 2:
                return tokens, 0
            start = int(self._tokenizer.adds_bos)
            return tokens[:start] + tokens[start + excess :], excess
        if self.sentinels is None:
            raise RequestError(
                f"this model cannot fill in: its tokenizer has no sentinel tokens such as {', '.join(FIM_TOKENS[:3])}. Give a "
                "prompt to continue, or train with data.tokenizer.fim_tokens and data.fim."
            )
        tokenizer = self._tokenizer
        start = [tokenizer.bos_id] if tokenizer.adds_bos else []
        prefix, suffix = list(tokenizer.encode(gap[0])), encode_inside(tokenizer, gap[1])
        room -= len(start) + len(infill_prompt(list, self.sentinels, "", ""))
        excess = len(prefix) + len(suffix) - room
        if request.trim and excess > 0 and room > 1:
            kept = min(len(suffix), max(room // 2, room - len(prefix)))
            prefix, suffix = prefix[max(len(prefix) - (room - kept), 0) :], suffix[:kept]
        else:
            excess = 0
        order = request.infill_order or self.config.infill_order
        return start + infill_prompt(lambda _: prefix, self.sentinels, "", "", order, lambda _: suffix), excess

    @property
    def _eos_ids(self) -> tuple[int, ...]:
        """A sentinel is no code: whatever a model means by it, the text is over."""
        sentinels = () if self.sentinels is None else dataclasses.astuple(self.sentinels)
        return tuple(dict.fromkeys(i for i in (*super()._eos_ids, *sentinels) if i is not None))


def _gap(request: CodeRequest) -> tuple[str, str] | None:
    """The code before and after the gap; None where a prompt is to be continued.

    Raises:
        RequestError: wishes that exclude each other, or a file without exactly one marker.
    """
    if not (request.prefix or request.suffix or request.file):
        return None
    if request.prompt:
        raise RequestError("a prompt is continued, a gap (prefix and suffix, or a file with a marker) filled in; give one.")
    if request.function:
        raise RequestError("function goes with a prompt of signature and docstring, not with prefix, suffix or file.")
    if not request.file:
        return request.prefix, request.suffix
    if request.prefix or request.suffix:
        raise RequestError("the file holds the code before and after the gap; give the file alone, or prefix and suffix.")
    found = request.file.count(request.marker) if request.marker else 0
    if found != 1:
        how = "write it where the gap is" if not found else "leave it in one place, or choose another --marker"
        raise RequestError(f"the file must have the marker {request.marker!r} once, but has it {found} times; {how}.")
    prefix, _, suffix = request.file.partition(request.marker)
    return prefix, suffix


def _prompt(request: CodeRequest) -> str:
    """The prompt; that of a function ends with the line, as those do that models were measured with."""
    if not request.function:
        return request.prompt
    if not request.prompt.strip():
        raise RequestError("function needs a prompt: the signature, and best a docstring.")
    return request.prompt if request.prompt.endswith("\n") else request.prompt + "\n"


def _metadata(request: CodeRequest, generation: decoding.Generation) -> Mapping[str, Any]:
    values = generation.metadata
    if generation.log_probs and request.rank:
        values["mean_log_prob"] = values["log_prob"] / len(generation.log_probs)
    if not request.log_probs:
        values = {name: value for name, value in values.items() if name not in ("tokens", "log_probs", "log_prob")}
    return values


def as_code_model(task: Any) -> CodeModel:
    """The task itself, or the code model with the network and tokenizer of a language model.

    Raises:
        RequestError: a task of another family.
    """
    if not isinstance(task, LanguageModel):
        raise RequestError(f"{type(task).__name__} does not write code; name a run or weights of a language or code model.")
    if isinstance(task, CodeModel):
        return task
    return CodeModel(task.model_config, task.info, CodeModelConfig(**{**vars(task.config), "name": CodeModelConfig.name}))


def from_weights(folder: Path, tokenizer: Any, dtype: str = "float32") -> CodeModel:
    """The task for a Hugging Face folder of a GPT-2 or Llama whose tokenizer has sentinels."""
    return language_model.from_weights(folder, tokenizer, dtype, kind=CodeModel)


def build(section: Mapping[str, Any], info: DataInfo) -> CodeModel:
    """The task from `config.task` and what the data knows of itself."""
    return language_model.build(section, info, kind=CodeModel)

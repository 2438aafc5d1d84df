"""Options and prompt files to requests, and what is said where they do not fit."""

import json
from dataclasses import dataclass, field
from typing import Literal

import pytest

from genjax.decoding import Settings
from genjax.errors import RequestError
from genjax.sampling.requests import help_text, make_requests, parse_options


@dataclass(frozen=True)
class Request(Settings):
    prompt: str = field(default="", metadata={"help": "what to continue"})


@dataclass(frozen=True)
class Picture:
    label: int = field(metadata={"help": "class of the picture"})
    guidance_scale: float = 4.0
    size: Literal[32, 64] = 32
    seed: int | None = None


def test_a_short_name_of_the_count():
    assert parse_options(Request, ["--num", "3"]) == parse_options(Request, ["--num_samples=3"]) == {"num_samples": 3}


def test_options_take_the_types_of_the_fields():
    words = "--temperature 0.5 --top-k=7 --stop a --stop=b=c --log_probs --no-ignore-eos --early_stopping full"
    assert parse_options(Request, [*words.split(), "--length_penalty", "-1"]) == {
        "temperature": 0.5,
        "top_k": 7,
        "stop": ("a", "b=c"),
        "log_probs": True,
        "ignore_eos": False,
        "early_stopping": "full",
        "length_penalty": -1.0,
    }
    assert parse_options(Request, ["--log_probs=false"]) == {"log_probs": False}
    assert parse_options(Picture, ["--size", "64", "--seed=none"]) == {"size": 64, "seed": None}
    assert parse_options(Picture, ["--seed=3"]) == {"seed": 3}


@pytest.mark.parametrize(
    "words,message",
    [
        ("--temprature 1", "unknown option --temprature; did you mean --temperature"),
        ("--promts f", "did you mean --prompts"),
        ("--zzz 1", "unknown option --zzz; known here: .*temperature"),
        ("--top_k", "--top_k has no value; write --top_k=NUMBER"),
        ("--top_k --log_probs", "--top_k has no value"),
        ("--top_k 2.5", "--top_k must be NUMBER, but is '2.5'"),
        ("--temperature hot", "--temperature must be NUMBER, but is 'hot'"),
        ("--log_probs=perhaps", "--log_probs must be true|false, but is 'perhaps'"),
        ("hello", "do not know what to do with 'hello'"),
    ],
)
def test_options_that_do_not_fit(words, message):
    with pytest.raises(RequestError, match=message.replace("|", r"\|")):
        parse_options(Request, words.split(), others=("prompts", "workdir"))


def test_a_literal_that_is_not_known_is_named_when_the_request_is_made():
    with pytest.raises(RequestError, match="request.early_stopping is 'fulll'; did you mean 'full'"):
        make_requests(Request, parse_options(Request, ["--early_stopping=fulll"]))


def test_one_request_for_each_prompt_and_one_without_any():
    made = make_requests(Request, {"top_k": 3}, ["a", "b"])
    assert made == [Request(prompt="a", top_k=3), Request(prompt="b", top_k=3)]
    assert make_requests(Picture, {"label": 3}) == [Picture(3)]


def test_a_text_file_has_a_prompt_on_each_line(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffone\r\n\n  two\u2028 \n".encode())
    assert [r.prompt for r in make_requests(Request, {}, ["zero"], file)] == ["zero", "one", "  two\u2028 "]


def test_a_jsonl_file_has_a_request_on_each_line_that_wins_over_the_common_knobs(tmp_path):
    file = tmp_path / "requests.jsonl"
    rows = [{"prompt": "a"}, {"prompt": "b", "temperature": 0, "stop": ["x"]}]
    file.write_text("\n".join(map(json.dumps, rows)))
    made = make_requests(Request, {"temperature": 0.5, "top_k": 2}, (), file)
    assert made == [Request(prompt="a", temperature=0.5, top_k=2), Request(prompt="b", temperature=0.0, top_k=2, stop=("x",))]


@pytest.mark.parametrize(
    "name,content,message",
    [
        ("missing.txt", None, "there is no file .*missing.txt"),
        ("empty.txt", b"\n \n", "empty.txt holds no prompts"),
        ("latin.txt", b"caf\xe9", "latin.txt is not UTF-8 text .byte 3.; convert it"),
        ("bad.jsonl", b'{"prompt": "a"}\n{"prompt": ', "bad.jsonl:2 is not JSON"),
        ("list.jsonl", b'["a"]', 'list.jsonl:1 must be an object such as {"prompt": "..."}'),
        ("key.jsonl", b'{"prompt": "a", "topk": 3}', "unknown key .*key.jsonl:1.topk; did you mean .*top_k"),
        ("type.jsonl", b'\n{"prompt": "a", "top_k": "3"}', "type.jsonl:2.top_k must be a whole number, but is '3'"),
    ],
)
def test_files_that_do_not_fit(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=message):
        make_requests(Request, {}, (), tmp_path / name)


def test_what_is_missing_or_out_of_place():
    with pytest.raises(RequestError, match="request has no label; give it with --label"):
        make_requests(Picture, {})
    with pytest.raises(RequestError, match="this model takes no prompt; its options are --guidance_scale, --label"):
        make_requests(Picture, {"label": 1}, ["a cat"])
    with pytest.raises(RequestError, match="prompt is not UTF-8 text"):
        make_requests(Request, {}, ["caf\udce9"])


def test_help_has_a_line_for_each_field():
    lines = help_text(Request).splitlines()
    assert len(lines) == len(Request.__dataclass_fields__)
    (line,) = [line for line in lines if "--temperature" in line]
    assert line.split()[1] == "NUMBER" and line.endswith("(default 1.0)")
    assert any("--early_stopping heuristic|full|never" in line for line in lines)
    assert any(line.startswith("  --stop TEXT") and "repeatable" in line for line in lines)


def test_what_is_on_by_default_is_listed_with_the_option_that_turns_it_off():
    @dataclass(frozen=True)
    class Switches:
        trim: bool = True
        rank: bool = False

    assert [line.strip() for line in help_text(Switches).splitlines()] == ["--trim, --no-trim   (default True)", "--rank"]

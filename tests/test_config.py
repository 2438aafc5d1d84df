"""Config files, overrides and sections, and the sentences for what is wrong with them."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from genjax.config import apply_overrides, choose, config_hash, differences, load_file, structure
from genjax.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    peak_lr: float = 1e-3
    name: Literal["adamw", "lion"] = "adamw"
    betas: tuple[float, ...] = (0.9, 0.95)


@dataclass(frozen=True)
class Outer:
    steps: int
    optimizer: Inner = field(default_factory=Inner)
    label: str | None = None
    flag: bool = False


def test_a_section_becomes_its_dataclass():
    made = structure(Outer, {"steps": 3, "optimizer": {"peak_lr": 1, "betas": [1, 0.5]}})
    assert made == Outer(3, Inner(peak_lr=1.0, betas=(1.0, 0.5)))
    assert isinstance(made.optimizer.peak_lr, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 1, "optimiser": {}}, r"unknown key config\.optimiser; did you mean config\.optimizer\?"),
        (
            {"steps": 1, "optimizer": {"peek_lr": 1}},
            r"unknown key config\.optimizer\.peek_lr; did you mean config\.optimizer\.peak_lr\?",
        ),
        ({"steps": 1, "zzz": 1}, r"unknown key config\.zzz; known here: flag, label, optimizer, steps"),
        ({}, r"config lacks steps; set config\.steps"),
        ({"steps": "ten"}, r"config\.steps must be a whole number, but is 'ten' \(str\)"),
        ({"steps": 1.5}, r"config\.steps must be a whole number"),
        ({"steps": True}, r"config\.steps must be a whole number"),
        ({"steps": 1, "flag": 1}, r"config\.flag must be True or False"),
        ({"steps": 1, "optimizer": {"name": "adamm"}}, r"config\.optimizer\.name is 'adamm'; did you mean 'adamw'\?"),
        ({"steps": 1, "optimizer": 3}, r"config\.optimizer must be a section"),
        ({"steps": 1, "optimizer": {"betas": 0.9}}, r"config\.optimizer\.betas must be a tuple"),
    ],
)
def test_a_wrong_section_is_a_sentence(values, message):
    with pytest.raises(ConfigError, match=message):
        structure(Outer, values)


def test_overrides_are_literals_or_text():
    config = {"train": {"steps": 1}, "label": "a"}
    made = apply_overrides(
        config,
        [
            "--config.train.steps=20",
            "--config.optimizer.peak_lr",
            "3e-4",
            "--config.label=runs/x",
            "--config.mesh=(1, 2)",
            "--config.flag=true",
        ],
    )
    assert made == {"train": {"steps": 20}, "optimizer": {"peak_lr": 3e-4}, "label": "runs/x", "mesh": (1, 2), "flag": True}
    assert config == {"train": {"steps": 1}, "label": "a"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps=3"], "unknown argument --steps=3"),
        (["--config.train.steps"], "has no value"),
        (["--config.label.x=3"], "label is not a section"),
    ],
)
def test_wrong_overrides_are_sentences(arguments, message):
    with pytest.raises(ConfigError, match=message):
        apply_overrides({"label": "a"}, arguments)


def test_config_files(tmp_path):
    (tmp_path / "tiny.py").write_text(
        "import ml_collections\ndef get_config():\n    return ml_collections.ConfigDict({'a': {'b': [1, 2]}})\n"
    )
    assert load_file(tmp_path / "tiny.py") == {"a": {"b": (1, 2)}}
    with pytest.raises(ConfigError, match=r"no config file .*tinny\.py; did you mean .*tiny\.py\?"):
        load_file(tmp_path / "tinny.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ConfigError, match=r"has no function get_config\(\)"):
        load_file(tmp_path / "empty.py")
    (tmp_path / "broken.py").write_text("def get_config():\n    return 1 / 0\n")
    with pytest.raises(ConfigError, match="cannot be read as a config: ZeroDivisionError"):
        load_file(tmp_path / "broken.py")


def test_differences_and_hash():
    old, new = {"a": {"b": 1, "c": (1, 2)}}, {"a": {"b": 2, "c": [1, 2]}, "d": 0}
    assert differences(old, new) == ["config.a.b: 1 -> 2", "config.d: None -> 0"]
    assert config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1}) != config_hash({"a": 1})


def test_choose_names_the_nearest():
    with pytest.raises(
        ConfigError, match=r"task 'language_modl' is not known; did you mean 'language_model'\? Known: gan, language_model"
    ):
        choose("task", "language_modl", {"language_model": 1, "gan": 2})

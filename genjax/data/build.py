"""From the config section `data` to datasets."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from genjax.config import choose, structure
from genjax.data.captioned_shapes import build_captioned_shapes, describe_captioned_shapes
from genjax.data.code.build import build_code, describe_code
from genjax.data.dataset import Datasets
from genjax.data.image_codes import CodesConfig, described, plain_section, with_codes
from genjax.data.image_pairs import build_image_pairs, describe_image_pairs
from genjax.data.image_questions import build_image_questions, describe_image_questions
from genjax.data.image_texts import build_image_texts, describe_image_texts
from genjax.data.images import build_images, describe_images
from genjax.data.latents import build_latents, describe_latents
from genjax.data.line_pairs import build_line_pairs, describe_line_pairs
from genjax.data.mixture import build_mixture, describe_mixture
from genjax.data.pairs import build_pairs, describe_pairs
from genjax.data.shapes import build_shapes, describe_shapes
from genjax.data.sounds import build_sounds, describe_sounds
from genjax.data.speech import build_speech, describe_speech
from genjax.data.text import build_text, describe_text
from genjax.errors import ConfigError

DATASETS = {
    "text": build_text,
    "code": build_code,
    "pairs": build_pairs,
    "line_pairs": build_line_pairs,
    "speech": build_speech,
    "sounds": build_sounds,
    "image_questions": build_image_questions,
    "images": build_images,
    "image_texts": build_image_texts,
    "image_pairs": build_image_pairs,
    "latents": build_latents,
    "mixture": build_mixture,
    "shapes": build_shapes,
    "captioned_shapes": build_captioned_shapes,
}
DESCRIPTIONS = {
    "text": describe_text,
    "code": describe_code,
    "pairs": describe_pairs,
    "line_pairs": describe_line_pairs,
    "speech": describe_speech,
    "sounds": describe_sounds,
    "image_questions": describe_image_questions,
    "images": describe_images,
    "image_texts": describe_image_texts,
    "image_pairs": describe_image_pairs,
    "latents": describe_latents,
    "mixture": describe_mixture,
    "shapes": describe_shapes,
    "captioned_shapes": describe_captioned_shapes,
}


def build(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """The datasets of a run.

    Args:
        config: the section `data`; `name` chooses the kind, whose dataclass describes the rest (`TextDataConfig`,
            `CodeDataConfig`, `PairsDataConfig`, `LinePairsDataConfig`, `SpeechDataConfig`, `SoundsDataConfig`,
            `ImagesDataConfig`, `ImageTextsDataConfig`, `ImageQuestionsConfig`, `LatentsDataConfig`, `ShapesDataConfig`,
            `CaptionedShapesConfig`, `ImagePairsConfig`, `MixtureDataConfig`).
        seed: decides the order of the rows.
        cache_dir: where tokenized text and decoded images are kept; None keeps them in memory. `config["cache_dir"]` goes
            before it.

    Raises:
        ConfigError: unknown or wrong key, or values that do not go together.
        DataError: data that is missing, empty, too short or not what it should be.
    """
    kind = choose("data.name", config.get("name", "text"), DATASETS)
    if not config.get("codes"):
        return kind(config, seed=seed, cache_dir=cache_dir)
    if config.get("augmentation"):
        raise ConfigError("data.augmentation changes images, and data.codes are of images as they are; leave one of both out.")
    section = {name: value for name, value in config.items() if name != "codes"}
    plain = kind(plain_section(config), seed=0, cache_dir=cache_dir)
    return with_codes(kind(section, seed=seed, cache_dir=cache_dir), plain, _codes(config))


def describe(config: Mapping[str, Any], tokenizer: Any = None) -> Any:
    """What `build` would say of the training data (`.info`) as far as the config and a tokenizer tell: nothing is read.

    For compiling a step without its data, and for sampling from a run whose data is elsewhere.

    Raises:
        ConfigError: unknown or wrong key.
    """
    kind = choose("data.name", config.get("name", "text"), DESCRIPTIONS)
    if not config.get("codes"):
        return kind(config, tokenizer)
    section = {name: value for name, value in config.items() if name != "codes"}
    return replace(kind(section, tokenizer), codes=described(_codes(config)))


def _codes(config: Mapping[str, Any]) -> CodesConfig:
    return structure(CodesConfig, config["codes"], "config.data.codes")

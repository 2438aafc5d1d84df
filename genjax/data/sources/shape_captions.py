"""Captions of scenes of shapes, by a small grammar: said in several ways, and understood again.

caption  = [opening] group [place] | place [","] [opening] group | [opening] group (relation | "and") group
group    = [count] [size] [color] shape
"""

import difflib
import re
from collections.abc import Sequence

from genjax.data.sources.shapes import COLORS, COUNTS, OF_GROUP, PLACES, RELATIONS, SHAPES, Group, Scene
from genjax.errors import DataError

# How captions say it; the first is the plain one.
PHRASES = {
    **{word: (word,) for word in (*COLORS, *SHAPES, *COUNTS)},
    "one": ("a", "one"),
    "small": ("small", "little"),
    "large": ("large", "big"),
    **{"left": ("at the left", "on the left"), "right": ("at the right", "on the right")},
    **{"top": ("at the top",), "bottom": ("at the bottom",), "middle": ("in the middle", "in the center")},
    **{"left of": ("left of", "to the left of"), "right of": ("right of", "to the right of")},
    **{"above": ("above",), "below": ("below", "under")},
}
PLURALS = {shape: "crosses" if shape == "cross" else f"{shape}s" for shape in SHAPES}
# Understood, but never said.
OTHERS = {"an": "one", "1": "one", "2": "two", "3": "three", "in the centre": "middle", "over": "above", "beneath": "below"}
AND = "and"  # between two groups, where their relation is left open
OPENINGS = ("there is", "there are", "a picture of")
FORMS = ("{what}", "there {be} {what}", "a picture of {what}")
FORMS_WITH_PLACE = (*(f"{form} {{place}}" for form in FORMS), "{place}, {what}", "{place} there {be} {what}")
DRAWS = 2 + 2 * (len(OF_GROUP) - 1)  # numbers that choose: a form, a place or relation, and the words of two groups
EXAMPLE = "'two small red circles at the left' or 'a large blue square above three black crosses'"
Said = tuple[str, str]  # what it is about (an attribute; "plural" of a shape; "opening"), and its value


def caption(scene: Scene, draws: Sequence[float] = (0.0,) * DRAWS) -> str:
    """One of the ways to say a scene, chosen by numbers in [0, 1); zeros give the plain one. What is None is left out."""
    numbers = iter(draws)

    def choose(options: Sequence[str]) -> str:
        return options[int(next(numbers) * len(options))]

    form = choose(FORMS_WITH_PLACE if scene.where in PLACES else FORMS)
    where = choose(PHRASES[scene.where] if scene.where else (AND,))
    groups = []
    for group in scene.groups:
        words = [choose(PHRASES[word]) for word in (group.count, group.size, group.color) if word]
        groups.append(" ".join([*words, group.shape if group.count == "one" else PLURALS[group.shape]]))
    be = "is" if scene.groups[0].count == "one" else "are"
    return form.format(what=f" {where} ".join(groups), be=be, place=where)


def parse(text: str) -> Scene:
    """The scene that a caption asks for, None where it leaves something open: 'red circles' says no count, size and place.

    Raises:
        DataError: a word that is not known, no shape, or things that do not go together.
    """
    said = [(kind, value) for kind, value in _understood(text) if kind != "opening"]
    wheres = [i for i, (kind, _) in enumerate(said) if kind in ("place", "relation")]
    if len(wheres) > 1:
        words = " and ".join(repr(said[i][1]) for i in wheres)
        raise DataError(f"the caption {text!r} says {words}; it can say one place of one group, or one relation of two.")
    kind, where = said[wheres[0]] if wheres else ("", None)
    if kind == "relation":
        groups = _group(said[: wheres[0]], text), _group(said[wheres[0] + 1 :], text)
        if (groups[0].color, groups[0].shape) == (groups[1].color, groups[1].shape):
            raise DataError(f"the caption {text!r} has two groups of one color and shape, which a picture could not tell apart.")
        return Scene(groups, None if where == AND else where)
    return Scene((_group([one for one in said if one[0] != "place"], text),), where)


def _group(said: Sequence[Said], text: str) -> Group:
    """The group that words which stand together describe."""
    nouns = [(kind, value) for kind, value in said if kind in ("shape", "plural")]
    if not nouns:
        raise DataError(f"the caption {text!r} lacks a shape ({', '.join(SHAPES)}); say it as {EXAMPLE}.")
    if len(nouns) > 1:
        raise DataError(
            f"the caption {text!r} says {nouns[0][1]!r} and {nouns[1][1]!r}, but not how they lie to each other "
            f"({', '.join(RELATIONS)}); say it as {EXAMPLE}."
        )
    ((number, shape),) = nouns
    values = {"shape": shape}
    for kind, value in said:
        if values.setdefault(kind, value) != value or said.count((kind, value)) > 1:
            raise DataError(f"the caption {text!r} says {values[kind]!r} and {value!r} of one group; say it as {EXAMPLE}.")
    if number == "shape":
        values.setdefault("count", "one")
    return Group(*(values.get(name) for name, _ in OF_GROUP))


def _understood(text: str) -> list[Said]:
    """The caption's phrases, the longest one that is known at each place."""
    words, said, start = re.findall(r"\w+", text.lower()), [], 0
    while start < len(words):
        ends = range(min(len(words), start + LONGEST), start, -1)
        end = next((end for end in ends if " ".join(words[start:end]) in KNOWN), None)
        if end is None:
            near = difflib.get_close_matches(words[start], {word for phrase in KNOWN for word in phrase.split()}, n=1)
            hint = f"; did you mean {near[0]!r}?" if near and near[0] != words[start] else f"; say it as {EXAMPLE}."
            raise DataError(f"the caption {text!r} is not understood from {words[start]!r} on{hint}")
        said.append(KNOWN[" ".join(words[start:end])])
        start = end
    return said


def _known() -> dict[str, Said]:
    """Every phrase with what it says."""
    columns = (*OF_GROUP, ("place", PLACES), ("relation", RELATIONS))
    kinds = {value: name for name, values in columns for value in values}
    known = {phrase: (kinds[value], value) for value, phrases in PHRASES.items() for phrase in phrases}
    known |= {phrase: (kinds[value], value) for phrase, value in OTHERS.items()}
    known |= {plural: ("plural", shape) for shape, plural in PLURALS.items()}
    return known | {opening: ("opening", opening) for opening in OPENINGS} | {AND: ("relation", AND)}


KNOWN = _known()
LONGEST = max(len(phrase.split()) for phrase in KNOWN)  # words of a phrase

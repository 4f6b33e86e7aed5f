"""What the text tower is asked in zero-shot classification: prompts for every class, by protocol (evaluation of Stage II)."""

import re
import string
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from finevit.suggest import did_you_mean

_FOLDER = Path(__file__).parent
SCENES = ("a {}", "a picture of a {}", "the object that fills most of the frame: the {}", "first in size comes the {}")
"""Prompts for the largest object of an embedded scene, in the words of its captions."""
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Protocol(NamedTuple):
    """``id`` goes with every number. ``templates`` have ``{}`` in place of the class. ``canonical``: as SigLIP evaluates, templates
    and names are lower case without punctuation, and of several names, with commas between them, the first counts."""

    id: str
    templates: tuple[str, ...]
    canonical: bool = False


@cache
def protocols() -> dict[str, Protocol]:
    """The protocols that need nothing of the data set but its classes."""
    openai = tuple(_lines("openai80.txt"))
    return {
        "openai80": Protocol("zero-shot/openai80-v1", openai),
        "siglip81-canonical": Protocol("zero-shot/siglip81-canonical-v1", (*openai, "{}"), canonical=True),
        "scenes": Protocol("zero-shot/scenes-v1", SCENES),
    }


def find_protocol(name: str, own: Sequence[str] = ()) -> Protocol:
    """The protocol of that name; ``own`` are the templates that the data set brings along, with ``{c}`` for the class.

    Raises ``ValueError`` for an unknown name, and for ``own`` where the data set has none.
    """
    if name == "own" and own:
        return Protocol("zero-shot/own-prompts-v1", tuple(template.replace("{c}", "{}") for template in own))
    if name == "own":
        raise ValueError(f"protocol 'own': the data set brings no prompts along; choose one of {', '.join(protocols())}")
    if name not in protocols():
        known = (*protocols(), "own")
        raise ValueError(f"protocol {name!r} is unknown{did_you_mean(name, known)}; choose one of {', '.join(known)}")
    return protocols()[name]


def prompts(protocol: Protocol, names: Sequence[str]) -> list[list[str]]:
    """All prompts of each class."""
    templates: Iterable[str] = protocol.templates
    if protocol.canonical:
        templates = [canonical(template, keep="{}") for template in templates]
        names = [canonical(name, keep=",").split(",")[0] for name in names]
    return [[template.replace("{}", name) for template in templates] for name in names]


def canonical(text: str, *, keep: str) -> str:
    """Lower case, no punctuation but ``keep``, underscores and runs of white space as one space."""
    parts = text.replace("_", " ").split(keep)
    return " ".join(keep.join(part.translate(_PUNCTUATION) for part in parts).lower().split())


def readable(classes: Sequence[str]) -> list[str]:
    """Names of classes; where they are WordNet ids, as ImageNet's folders are, OpenAI's names of these classes.

    Raises ``ValueError`` for ids that are not among the 1,000 of ILSVRC 2012.
    """
    if not all(re.fullmatch(r"n\d{8}", name) for name in classes):
        return list(classes)
    known = imagenet()
    if unknown := [name for name in classes if name not in known]:
        raise ValueError(
            f"{len(unknown)} of {len(classes)} WordNet ids have no name here ({', '.join(unknown[:3])}): only the 1,000 classes of "
            "ILSVRC 2012 do; name the classes by ZeroShot.class_names, in the order of their ids"
        )
    return [known[name] for name in classes]


@cache
def imagenet() -> dict[str, str]:
    """WordNet id -> OpenAI's name of the 1,000 classes, in the order of their labels."""
    rows = (line.partition("\t") for line in _lines("imagenet_classes.tsv"))
    return {identity: name for identity, _, name in rows}


def _lines(name: str) -> list[str]:
    return [line for line in (_FOLDER / name).read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]

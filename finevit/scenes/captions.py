"""Captions: true sentences about a scene, picked, ordered and worded at random."""

from collections import Counter
from collections.abc import Callable
from functools import partial

from finevit.scenes import templates
from finevit.scenes.backgrounds import Background
from finevit.scenes.ground_truth import Line, Relation, Told, Truth
from finevit.scenes.layout import SceneLayout
from finevit.scenes.rng import Dice
from finevit.scenes.vocabulary import is_plural, listing, plural, with_article

FEWEST_WORDS, MOST_WORDS = 60, 200
"""Bounds of a long caption."""
_DESCRIBED = (4, 10)
"""How many objects get a sentence of their own."""


def write_captions(dice: Dice, truth: Truth) -> dict[str, str]:
    """``long``: a dense caption of 60 to 200 words. ``short``: one sentence."""
    return {"long": _long(dice, truth), "short": _short(dice, truth)}


def _long(dice: Dice, truth: Truth) -> str:
    """An opening, then the objects, then other truths, until a random length is reached."""
    sentences = [_opening(dice, truth)]
    length, goal = len(sentences[0].split()), dice.integer(FEWEST_WORDS + 10, MOST_WORDS - 50)
    objects, others = _object_writers(dice, truth), dice.shuffled(_other_writers(dice, truth))
    for write in dice.shuffled(objects + others) if dice.chance(0.4) else objects + others:
        if length >= goal:
            break
        sentence = write()
        if length + len(sentence.split()) <= MOST_WORDS:
            sentences.append(sentence)
            length += len(sentence.split())
    return " ".join(sentences)


def _short(dice: Dice, truth: Truth) -> str:
    writing = ""
    if truth.lines:
        writing = dice.pick((" with the text “{}”", " and the words “{}”", ", labelled “{}”")).format(truth.lines[0].text)
    return _fill(
        dice.pick(templates.SHORTS),
        inventory=_inventory(dice, truth, 4),
        back=_back(dice, truth.plan.background),
        picture=with_article(dice.pick(templates.PICTURES)),
        writing=writing,
    )


def _opening(dice: Dice, truth: Truth) -> str:
    return _fill(
        dice.pick(templates.OPENINGS),
        format=dice.pick(templates.FORMATS[shape_of(truth.plan)]),
        picture=dice.pick(templates.PICTURES),
        inventory=_inventory(dice, truth, 6),
        back=_back(dice, truth.plan.background),
    )


def _object_writers(dice: Dice, truth: Truth) -> list[Callable[[], str]]:
    """Half of the time from large to small, else in random order. The second thing of a name is ``another``."""
    order = dice.shuffled(truth.objects)
    if dice.chance(0.5):
        order.sort(key=lambda told: -told.pixels)
    met: set[str] = set()
    return [partial(_object, dice, told, met, len(truth.objects)) for told in order[: dice.integer(*_DESCRIBED)]]


def _object(dice: Dice, told: Told, met: set[str], total: int) -> str:
    again = told.noun in met
    met.add(told.noun)
    sized = not again and dice.chance(0.7)
    noun = f"another {told.noun}" if again else with_article(told.noun, told.size if sized else "")
    extras = [extra for extra in (told.pose, told.cover) if extra and dice.chance(0.8)]
    if told.share >= 0.015 and dice.chance(0.3):
        extras.append(f"covering about {round(100 * told.share)} percent of the picture")
    details = dice.pick(templates.DETAILS).format(listing(extras)) if extras else ""
    many = is_plural(told.noun)
    return _fill(
        dice.pick(templates.SOLE_OBJECT if total == 1 else templates.OBJECTS),
        a_noun=noun,
        place=told.place,
        details=details,
        be="are" if many else "is",
        s="" if many else "s",
        ies="y" if many else "ies",
    )


def _other_writers(dice: Dice, truth: Truth) -> list[Callable[[], str]]:
    """Everything else that may be said."""
    names = Counter(told.noun for told in truth.objects)
    relations = dice.shuffled(truth.relations)[:6]
    writers: list[Callable[[], str]] = [partial(_total, dice, len(truth.objects))]
    writers += [partial(_line, dice, line) for line in dice.shuffled(truth.lines)[:5]]
    writers += [partial(_relation, dice, one, truth, names) for one in relations]
    writers += [partial(_count, dice, noun, names[noun]) for noun in names if names[noun] > 1][:3]
    writers += [lambda: _fill(dice.pick(templates.BACKS), back=_back(dice, truth.plan.background))]
    if light := light_of(truth.plan.lights):
        writers.append(lambda: _fill(dice.pick(templates.LIGHT if light != "even" else templates.EVEN_LIGHT), corner=light))
    if not truth.lines:
        writers.append(lambda: dice.pick(templates.NO_LINES))
    if len(truth.objects) > 1:
        largest = max(truth.objects, key=lambda told: told.pixels)
        writers.append(lambda: _fill(dice.pick(templates.LARGEST), the_noun=_reference(largest.noun, names)))
    absent = dice.shuffled(truth.absent)
    writers += [partial(_absent, dice, one, two) for one, two in zip(absent[0:4:2], absent[1:4:2], strict=False)]
    writers += [partial(_empty, dice, corner) for corner in truth.empty]
    writers.append(lambda: _proportions(dice, truth.plan))
    if len(truth.plan.doodles) > 2:
        writers.append(lambda: dice.pick(templates.DOODLES))
    return writers


def _total(dice: Dice, count: int) -> str:
    many = count != 1
    return _fill(dice.pick(templates.TOTALS), count=_number(count), s="s" if many else "", be="are" if many else "is")


def _count(dice: Dice, noun: str, count: int) -> str:
    return _fill(dice.pick(templates.COUNTS), count=_number(count), plural=plural(noun))


def _absent(dice: Dice, one: str, two: str) -> str:
    return _fill(dice.pick(templates.ABSENT), one=one, two=two, a_one=with_article(one), a_two=with_article(two))


def _empty(dice: Dice, corner: str) -> str:
    return _fill(dice.pick(templates.EMPTY), corner=corner)


def _proportions(dice: Dice, plan: SceneLayout) -> str:
    ratio = plan.width / plan.height
    sides = {"long": "wide", "short": "tall"} if ratio >= 1 else {"long": "tall", "short": "wide"}
    return _fill(dice.pick(templates.PROPORTIONS), ratio=f"{max(ratio, 1 / ratio):.1f}", **sides)


def _line(dice: Dice, line: Line) -> str:
    words = len(line.text.split()) > 1
    return _fill(
        dice.pick(templates.LINES),
        text=line.text,
        place=line.place,
        ink=line.ink,
        font=line.font,
        unit="words" if words else "word",
        be="are" if words else "is",
    )


def _relation(dice: Dice, relation: Relation, truth: Truth, names: Counter[str]) -> str:
    one, other = truth.objects[relation.subject].noun, truth.objects[relation.object].noun
    first, second = _reference(one, names), _reference(other, names)
    if one == other:
        second = second.replace("one of", "another of", 1)
    s = "" if names[one] == 1 and is_plural(one) else "s"
    return _fill(dice.pick(templates.RELATIONS[relation.relation]), a=first, b=second, s=s)


def _reference(noun: str, names: Counter[str]) -> str:
    return f"the {noun}" if names[noun] == 1 else f"one of the {plural(noun)}"


def _inventory(dice: Dice, truth: Truth, most: int) -> str:
    """All objects by name and number, or the total and some of them when there are more than ``most`` kinds."""
    names = Counter(told.noun for told in truth.objects)
    if not names:
        return "no object"
    if len(names) <= most:
        kinds = dice.shuffled(list(names))
        return listing([with_article(noun) if names[noun] == 1 else f"{_number(names[noun])} {plural(noun)}" for noun in kinds])
    some = dice.shuffled(sorted(names, key=names.__getitem__, reverse=True))[: dice.integer(3, most - 1)]
    rest = len(truth.objects) - len(some)
    return dice.pick(templates.AMONG).format(
        count=_number(len(truth.objects)),
        some=listing([*map(with_article, some)]),
        commas=", ".join(map(with_article, some)),
        rest=_number(rest),
    )


def _back(dice: Dice, back: Background) -> str:
    eighth = round(back.angle / 0.7854) % 4
    start, end = templates.GRADIENTS[eighth]
    direction, adverb = templates.STRIPES[eighth]
    return dice.pick(templates.BACKGROUNDS["photograph" if back.photograph else back.texture]).format(
        first=back.first,
        a_first=with_article(back.first),
        second=back.second,
        start=start,
        end=end,
        direction=direction,
        adverb=adverb,
        subject=back.photograph.subject if back.photograph else "",
    )


def shape_of(plan: SceneLayout) -> str:
    """A key of ``templates.FORMATS``."""
    ratio = plan.width / plan.height
    for limit, name in ((2.0, "very wide"), (1.2, "wide"), (1 / 1.2, "square"), (0.5, "tall")):
        if ratio >= limit:
            return name
    return "very tall"


def light_of(lights: tuple[float, float, float, float]) -> str:
    """Where the light is strongest; ``even`` where it hardly changes; empty where no corner stands out."""
    corners = ("at the top left", "at the top right", "at the bottom left", "at the bottom right")
    ranked = sorted(lights, reverse=True)
    if ranked[0] - ranked[3] < 0.05:
        return "even"
    return corners[lights.index(ranked[0])] if ranked[0] - ranked[1] > 0.04 else ""


def _number(count: int) -> str:
    return templates.NUMBERS[count] if count < len(templates.NUMBERS) else str(count)


def _fill(template: str, **parts: str) -> str:
    """``{name}`` becomes the part, ``{Name}`` the part with a capital letter."""
    capitals = {name.capitalize(): part[:1].upper() + part[1:] for name, part in parts.items()}
    return template.format(**parts, **capitals)

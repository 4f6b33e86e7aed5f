"""Alt texts of embedded scenes: short, what a web page would say of a picture, a few of its facts."""

from random import Random

from finevit.scenes.ground_truth import Truth
from finevit.scenes.vocabulary import with_article

ONE = ("{a}", "{a} clip art", "picture of {a}", "{a} on {colour} background", "{colour} {a} graphic", "{a}, free vector")
TWO = ("{a} and {b}", "{a} with {b}", "{a}, {b}", "illustration: {a} and {b}", "{a} and {b} on {colour} background")
SIGN = ("{words} {a}", "{a} with the word {words}", "{words} - {a} poster", "{words}")


def alt_text(truth: Truth, random: Random) -> str:
    """One object, half of the time the largest, else the one that the page is about; perhaps another, or what is written."""
    names = [told.noun for told in sorted(truth.objects, key=lambda told: -told.pixels)]
    names = names if random.random() < 0.5 else random.sample(names, len(names))
    templates = ONE if len(names) < 2 or random.random() < 0.5 else TWO
    if truth.lines and random.random() < 0.3:
        templates = SIGN
    back = truth.plan.background
    colour = "photo" if back.photograph else back.first
    parts = [with_article(name) if random.random() < 0.3 else name for name in names[:2]]
    words = truth.lines[0].text if truth.lines else ""
    return random.choice(templates).format(a=parts[0], b=parts[-1], colour=colour, words=words)

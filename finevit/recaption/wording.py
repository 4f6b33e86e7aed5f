"""Whether a text that a model wrote is the caption that was asked for: no refusal, no loop, whole, and in the right language.

What refusals begin with stands in ``refusals.txt``, what languages are told by in ``languages.tsv``.
"""

import re
import unicodedata
import zlib
from collections import Counter
from pathlib import Path

_HERE = Path(__file__).parent
REFUSALS = tuple(
    line for line in (_HERE / "refusals.txt").read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")
)
_ROWS = [line.split("\t") for line in (_HERE / "languages.tsv").read_text("utf-8").splitlines()[1:]]
LANGUAGES = tuple(code for code, *_ in _ROWS)
SCRIPTS = {code: tuple(scripts.split()) for code, scripts, _ in _ROWS}
FREQUENT = {code: frozenset(words.split()) for code, _, words in _ROWS}

SCRIPT_SHARE = 0.5
"""Of letters that have the language's script: texts may quote signs in others."""
LONGEST_UNIT = 60
"""Words of the longest unit that is looked for in a loop."""
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")
_STUTTER = re.compile(r"(\S{1,8}?)\1{19,}")


def fault(text: str, *, finish_reason: str = "stop", language: str = "") -> tuple[str, str]:
    """Status and detail of a text that is none to keep; two empty ones where nothing is wrong with it."""
    if not text.strip():
        return "empty", "no text"
    if loop := repetition(text):
        return "repetition", loop
    if finish_reason == "length":
        return "truncated", "the answer ended at max_tokens"
    if opening := refusal(text):
        return "refused", f"it begins as refusals do: {opening!r}"
    other = wrong_language(text, language) if language else ""
    return ("wrong_language", other) if other else ("", "")


def refusal(text: str) -> str:
    """What a text that begins as refusals do begins with; "" for any other."""
    start = " ".join(text[:400].replace("’", "'").casefold().split()).lstrip("*_\"'“” ")
    return next((opening for opening in REFUSALS if start.startswith(opening)), "")


def repetition(text: str) -> str:
    """How a text repeats itself; "" where it does not: a unit of words, a line or a few characters again and again, or so little
    that is new that it is packed to a fraction and most runs of four words have stood in it before."""
    tokens = _TOKEN.findall(text.casefold())
    unit, times = _loop(tokens)
    if times:
        return f"a unit of {unit} words {times} times in a row"
    if found := _STUTTER.search(text):
        return f"{len(found[1])} characters {len(found[0]) // len(found[1])} times in a row"
    lines = Counter(line.strip() for line in text.splitlines() if len(line.split()) > 2)
    if lines and lines.most_common(1)[0][1] >= 4:
        return f"a line {lines.most_common(1)[0][1]} times"
    share, ratio = _seen_before(tokens), compression(text)
    return f"{share:.0%} of it stood in it before, packed {ratio:.1f} times" if share > 0.6 and ratio > 3.5 else ""


def compression(text: str) -> float:
    """By how much a text can be packed; about 2 for a caption of 200 words."""
    data = text.encode("utf-8", "surrogatepass")
    return len(data) / len(zlib.compress(data, 6))


def _loop(tokens: list[str]) -> tuple[int, int]:
    """The length of a unit that follows upon itself, and how often: four times with 16 words, or three with 24; zeros where none
    does."""
    for unit in range(1, min(LONGEST_UNIT, len(tokens) // 3) + 1):
        run = longest = 0
        for place in range(unit, len(tokens)):
            run = run + 1 if tokens[place] == tokens[place - unit] else 0
            longest = max(longest, run)
        times, covered = longest // unit + 1, longest + unit
        if (times >= 4 and covered >= 16) or (times >= 3 and covered >= 24 and unit > 4):
            return unit, times
    return 0, 0


def _seen_before(tokens: list[str], *, length: int = 4) -> float:
    """The share of runs of words that have stood before in the text; 0 of fewer than 60 words."""
    runs = [tuple(tokens[place : place + length]) for place in range(len(tokens) - length + 1)]
    return 1 - len(set(runs)) / len(runs) if len(tokens) >= 60 else 0.0


def wrong_language(text: str, language: str) -> str:
    """Why a text is in another script or language; "" where it is not. Of fewer than eight words the script alone counts."""
    letters = [_script(each) for each in text if each.isalpha()]
    share = sum(each in SCRIPTS[language] for each in letters) / max(1, len(letters))
    if letters and share < SCRIPT_SHARE:
        return f"{share:.0%} of the letters are of the script of {language!r}"
    if language == "zh" and any(each in ("HIRAGANA", "KATAKANA") for each in letters):
        return "kana in a text that should be in 'zh'" if letters.count("CJK") < 4 * (len(letters) - letters.count("CJK")) else ""
    words = re.findall(r"[^\W\d_]+", text.casefold())
    if len(words) < 8 or not FREQUENT[language]:
        return ""
    told = {code: sum(word in frequent for word in words) for code, frequent in FREQUENT.items()}
    best = max(told, key=lambda code: (told[code], code == language))
    return f"it reads as {best!r}, not {language!r}" if told[best] >= 1.4 * told[language] + 1 else ""


def _script(letter: str) -> str:
    """The first word of a letter's name, which is its script."""
    return unicodedata.name(letter, "?").partition(" ")[0]

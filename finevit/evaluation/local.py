"""Fine-grained perception on plain boxes and texts: grounding, OCR, counting, region captions (paper, evaluation of Stage III).

Nothing here knows of MMEngine, models or files. A protocol's id changes whenever its numbers could.
"""

import re
import unicodedata
from collections.abc import Sequence

from finevit.boxes import Box

GROUNDING_PROTOCOL = "local/iou50-v2"
"""Accuracy at IoU >= 0.5, however the half is rounded, as RefCOCO counts: the first box of an answer against the true one. Where
several boxes are true, as many of an answer count, and all have to be found."""
OCR_PROTOCOL = "local/ocr-exact-nfkc-v1"
"""The answer equals one of the accepted strings after NFKC and without white space around it; upper and lower case differ."""
ANLS_PROTOCOL = "local/anls50-v2"
"""Average normalised Levenshtein similarity, as DocVQA's own script computes it: edits in lower case, runs of white space as one
space, over the length of the longer text as it is; the best of the accepted answers, below 0.5 nothing."""
OCRBENCH_PROTOCOL = "local/ocrbench-substring-v1"
"""As OCRBench's own script: one of the answers is a part of the prediction, in lower case; formulas without spaces, case kept."""
COUNTING_PROTOCOL = "local/count-first-number-v1"
"""The first number of the answer, in digits or as a word from zero to twenty, is the true one."""
CAPTION_PROTOCOL = "local/rouge-l-f1-v1"
"""ROUGE-L (Lin, 2004): F1 on lower-case words without stemming, the best of the accepted texts. One answer alone has a value, in
[0, 1]; CIDEr-D weighs words by how rare they are in the set, so that its value changes with what else is asked."""
THRESHOLD = 0.5
_ROUNDING = 1e-9
WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
"""Number words: each at the place of its number."""
_DIGITS = r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_NUMBER = re.compile(rf"(?P<digits>{_DIGITS})|(?<![\w-])(?P<word>{'|'.join(WORDS)})(?![\w-])", re.IGNORECASE | re.ASCII)


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, which have areas."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    return both / (_area(one) + _area(other) - both)


def grounded(predicted: Sequence[Box], true: Sequence[Box]) -> bool:
    """Whether the first boxes of an answer, as many as are true (at least one), match these one to one, the best pair first."""
    assert true, "a question about boxes has a true one"
    left, missing = list(predicted[: len(true)]), list(true)
    while left and missing:
        best, i, j = max((iou(one, other), i, j) for i, one in enumerate(left) for j, other in enumerate(missing))
        if best < THRESHOLD - _ROUNDING:
            return False
        del left[i], missing[j]
    return not missing


def exact(prediction: str, accepted: Sequence[str]) -> bool:
    """Whether a text is one of the accepted, case included, after NFKC and without white space around it."""
    return _normal(prediction) in {_normal(each) for each in accepted}


def anls(prediction: str, accepted: Sequence[str]) -> float:
    """1 - edits / length of the longer text, for the best of the accepted; 0 below one half."""
    best = max(_similarity(prediction, each) for each in accepted)
    return best if best >= THRESHOLD else 0.0


def contains(prediction: str, accepted: Sequence[str], *, formula: bool = False) -> bool:
    """Whether one of the accepted is a part of the prediction: in any case, or for a formula with any spaces."""
    found = _part(prediction, formula)
    return any(_part(each, formula) in found for each in accepted)


def number(text: str) -> float | None:
    """The first number in a text, in digits (1,000 is a thousand) or as a word; None where there is none.

    Words beyond twenty, "twenty-one" among them, are not read.
    """
    found = _NUMBER.search(text)
    if not found:
        return None
    return float(WORDS.index(found["word"].lower()) if found["word"] else found["digits"].replace(",", ""))


def rouge_l(prediction: str, accepted: Sequence[str]) -> float:
    """F1 of the longest common subsequence of words, for the best of the accepted; 0 where one has no words."""
    return max(_f1(_words(prediction), _words(each)) for each in accepted)


def levenshtein(one: str, other: str) -> int:
    """The fewest characters to insert, delete or replace that make one text the other."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        before, row = row, [i]
        for j, b in enumerate(other, start=1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
    return row[-1]


def common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, by Hyyrö (2004): a bit for each word of ``one``, 0 where it is matched."""
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    open_ = whole = (1 << len(one)) - 1
    for word in other:
        here = open_ & places.get(word, 0)
        open_ = (open_ + here | open_ - here) & whole
    return len(one) - open_.bit_count()


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip()


def _lower(text: str) -> str:
    return " ".join(text.lower().split())


def _similarity(one: str, other: str) -> float:
    length = max(len(one.upper()), len(other.upper()))
    return 1 - levenshtein(_lower(one), _lower(other)) / length if length else 1.0


def _part(text: str, formula: bool) -> str:
    text = text.strip().replace("\n", " ")
    return text.replace(" ", "") if formula else text.lower()


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _f1(prediction: Sequence[str], true: Sequence[str]) -> float:
    return 2 * common(true, prediction) / (len(prediction) + len(true)) if prediction and true else 0.0

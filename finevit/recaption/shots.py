"""Images of a run for its page: which are shown, and what is said of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from finevit.contracts import BadSample
from finevit.datasets.decoding.images import decode
from finevit.recaption.contracts import OK
from finevit.recaption.passes.base import Rows
from finevit.recaption.statistics import EXAMPLES, LINES, Numbers
from finevit.recaption.view import MEANING, View
from finevit.shards.files import read_member
from finevit.shards.schema import GIVEN, KEPT, REJECTED
from finevit.visualization.gallery import jpeg

SIDE = 352
"""Longest side of a picture on the page, in pixels."""
MANY = 60
"""So many regions and lines of an image are shown at most."""
LONG = 4000
"""Characters of a text that are shown."""
LETTER = 6.5
"""Pixels of a letter of a label, which ends with its picture."""
_INKS = ("#d62828", "#1d4ed8", "#15803d", "#b45309", "#7e22ce", "#0e7490", "#be185d", "#4d7c0f")
_TEXT_INK = "#111111"


@dataclass(frozen=True)
class Mark:
    """A box or a quad over a picture, in pixels of the page, with a label at its first corner."""

    points: str
    ink: str
    x: float
    y: float
    label: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Told:
    """What is said of a region or a line."""

    phrase: str
    about: str
    caption: str = ""
    replaced: str = ""
    fault: str = ""
    text: str = ""


@dataclass(frozen=True)
class Caption:
    """A caption in ``parts``, each a text and, of a phrase, its class; or the ``fault``."""

    by: str
    about: str
    parts: list[tuple[str, str]]
    fault: str = ""


@dataclass(frozen=True)
class Shot:
    """An image with all that is said of it."""

    name: str
    about: str
    picture: str
    no_picture: str
    width: int
    height: int
    marks: list[Mark]
    reasons: list[str]
    captions: list[Caption]
    regions: list[Told]
    dropped: list[Told]
    lines: list[Told]


def choose(view: View, numbers: Numbers, images: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Shard and place of images that are kept and of rejected ones: one of each thing that occurs, the others evenly spread."""
    found = [(label, (shard, place)) for label, (shard, place) in numbers.get(EXAMPLES, {}).items()]
    no = {place for label, place in found if label.startswith(f"{REJECTED}: ")}
    yes = {place for label, place in found if not label.startswith(f"{REJECTED}: ")}
    counts = numbers.get("images", {})
    most_no = min(counts.get(REJECTED, 0), max(len(no), images // 4))
    places = _places(view)
    return (
        sorted(yes | _spread(places[KEPT], max(0, images - max(most_no, len(no)) - len(yes)))),
        sorted(no | _spread(places[REJECTED], most_no - len(no))),
    )


def _places(view: View) -> Mapping[str, list[tuple[str, int]]]:
    """Of a few shards, spread over the run, the images of each verdict."""
    shards = view.shards
    chosen = sorted({shards[index * len(shards) // 12] for index in range(12)}) if shards else []
    places: dict[str, list[tuple[str, int]]] = {KEPT: [], REJECTED: []}
    for shard in chosen:
        for place, verdict in enumerate(view.tables(shard)["images"]["verdict"].to_pylist()):
            places[verdict].append((shard, place))
    return places


def _spread(places: list[tuple[str, int]], count: int) -> set[tuple[str, int]]:
    return {places[index * len(places) // count] for index in range(count)} if places and count > 0 else set()


def shots(view: View, chosen: list[tuple[str, int]]) -> list[Shot]:
    """The images at these places."""
    tables: dict[str, _Shard] = {}
    for shard in dict.fromkeys(shard for shard, _ in chosen):
        tables[shard] = _Shard(view, shard, {place for other, place in chosen if other == shard})
    return [tables[shard].shot(place) for shard, place in chosen]


class _Shard:
    """The rows of the chosen images of a shard."""

    def __init__(self, view: View, shard: str, places: set[int]) -> None:
        tables = view.tables(shard)
        images = tables["images"].to_pylist()
        self.tar = view.shop.tar(shard)
        self.images = {place: images[place] for place in places}
        wanted = {row["sample_id"] for row in self.images.values() if row["verdict"] == KEPT}
        self.rows = {name: _by_sample(tables[name].to_pylist(), wanted) for name in ("captions", "phrases", "regions")}
        self.checks = {row["region_id"]: row for row in view.rows("region_check", shard, "checks")}
        self.details = {row["region_id"]: row["detail"] for row in view.rows("local_captions", shard, "captions")}
        self.ocr = {row["sample_id"]: row for row in view.rows("ocr", shard, "kinds")}

    def shot(self, place: int) -> Shot:
        """An image."""
        row = self.images[place]
        sample = row["sample_id"] if row["verdict"] == KEPT else ""
        picture, (width, height), why = self._picture(row)
        regions = self.rows["regions"].get(sample, [])
        objects = sorted((each for each in regions if each["kind"] == "object"), key=lambda each: -each["score"])
        kept = [each for each in objects if each["kept"]][:MANY]
        lines = [each for each in regions if each["kind"] in LINES][:MANY]
        boxes = [_mark(_corners(each["bbox"]), width, height, number, each["phrase"]) for number, each in enumerate(kept)]
        return Shot(
            name=row["source"],
            about=self._about(row, len(objects) - sum(each["kept"] for each in objects)),
            picture=picture,
            no_picture=why,
            width=width,
            height=height,
            marks=[*boxes, *(_mark(each["quad"] or _corners(each["bbox"]), width, height) for each in lines)],
            reasons=row["reasons"],
            captions=[_caption(each, self.rows["phrases"].get(sample, [])) for each in self.rows["captions"].get(sample, [])],
            regions=[self._region(each) for each in kept],
            dropped=[self._region(each) for each in objects if not each["kept"]][:MANY],
            lines=[Told("", f"{each['score']:.2f}", text=_short(each["ocr_text"] or "")) for each in lines],
        )

    def _picture(self, row: Mapping[str, Any]) -> tuple[str, tuple[int, int], str]:
        """A data URI and its size, or why there is none."""
        if row["member"] is None:
            return "", (1, 1), "not stored"
        try:
            pixels = decode(read_member(self.tar, row["offset"], row["size"]), name=row["source"], target=SIDE * SIDE)
        except (BadSample, ValueError) as error:
            return "", (1, 1), f"cannot be shown: {error}"
        height, width = (max(1, round(side * SIDE / max(pixels.shape[:2]))) for side in pixels.shape[:2])
        return jpeg(pixels, side=SIDE), (width, height), ""

    def _about(self, row: Mapping[str, Any], dropped: int) -> str:
        size = f"{row['width']} x {row['height']}" if row["width"] else "size unknown"
        scores = [f"{name} {row[name]:.3g}" for name in ("sharpness", "brightness", "saturation") if row[name] is not None]
        told = self.ocr.get(row["sample_id"], {"status": OK})
        fault = [] if told["status"] == OK else [f"OCR failed: {_fault(told['status'], told['detail'])}"]
        return ", ".join([row["kind"], size, *scores, *([f"{dropped} boxes not kept"] if dropped else []), *fault])

    def _region(self, row: Mapping[str, Any]) -> Told:
        check = self.checks.get(row["region_id"])
        checked = ""
        if check and check["status"] == OK:
            overlap = f", IoU {check['agreement']:.2f}" if check["agreement"] is not None else ""
            checked = f"{'found again' if check['confirmed'] else 'not found again'} by its caption{overlap}"
        elif check:
            checked = f"check failed: {_fault(check['status'], check['detail'])}"
        told = [f"class {row['class_name']}", f"score {row['score']:.2f}", f"keep_prob {row['keep_prob']:.3g}", checked]
        fault = "; ".join(row["reasons"])
        if row["status"] in MEANING:
            fault = f"no caption: {_fault(row['status'], self.details.get(row['region_id']))}"
        caption, replaced = row["local_caption"] or "", row["replaced_caption"] or ""
        return Told(_short(row["phrase"]), ", ".join(filter(None, told)), _short(caption), _short(replaced), fault)


def _by_sample(rows: Rows, wanted: set[str]) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for row in rows:
        if row["sample_id"] in wanted:
            found.setdefault(row["sample_id"], []).append(row)
    return found


def _caption(row: Mapping[str, Any], phrases: Rows) -> Caption:
    asked = f"prompt {row['prompt_id']}, " if row["prompt_id"] else "came with the image, " if row["status"] == GIVEN else ""
    about = f"{asked}{row['n_tokens']} tokens"
    if row["text"] is None:
        return Caption(row["captioner"], asked.removesuffix(", "), [], _fault(row["status"], row["detail"]))
    own = [each for each in phrases if each["captioner"] == row["captioner"]]
    return Caption(row["captioner"], about, parts(row["text"][:LONG], own))


def parts(text: str, phrases: Rows) -> list[tuple[str, str]]:
    """A caption cut at its phrases: each part with its class, or "" between them; of phrases that overlap the first."""
    found, at = [], 0
    for row in sorted(phrases, key=lambda each: (each["char_start"], -each["char_end"])):
        start, end = row["char_start"], row["char_end"]
        if start >= at and text[start:end] == row["phrase"]:
            found += [(text[at:start], ""), (text[start:end], row["class_name"] or "phrase")]
            at = end
    return [(part, title) for part, title in [*found, (text[at:], "")] if part]


def _fault(status: str, detail: str | None) -> str:
    return ": ".join(filter(None, [status, MEANING.get(status, ""), _short(detail or "")]))


def _short(text: str) -> str:
    return text if len(text) <= LONG else f"{text[:LONG]} …"


def _corners(box: list[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def _mark(corners: list[float], width: int, height: int, number: int | None = None, phrase: str = "") -> Mark:
    """A box with its number and phrase, or a dashed line of text."""
    places = [(round(x * width, 1), round(y * height, 1)) for x, y in zip(corners[::2], corners[1::2], strict=True)]
    points = " ".join(f"{x},{y}" for x, y in places)
    x, y = places[0]
    if number is None:
        return Mark(points, _TEXT_INK, x, y, dashed=True)
    label = f"{number + 1} {phrase}"
    return Mark(points, _ink(number), x + 3, max(y, 0) + 12, label[: max(2, int((width - x) / LETTER))])


@cache
def _ink(number: int) -> str:
    return _INKS[number % len(_INKS)]

"""The statistics of a run as charts and as a table, with the paper's own numbers beside them."""

from collections.abc import Iterable, Mapping

from finevit.recaption.statistics import (
    ASPECTS,
    GLOBAL,
    LINES,
    LOCAL,
    PAPER,
    SIDES,
    SOURCE,
    Numbers,
    bin_width,
    in_bins,
    shares,
)
from finevit.recaption.view import PassState, rejects
from finevit.visualization.plots import Series, bar_chart, line_chart
from finevit.visualization.report import Chart

CLASSES = ("before sampling", "after sampling", "kept")


def charts(numbers: Numbers, passes: Iterable[PassState]) -> list[Chart]:
    """Of what there is."""
    lengths = numbers.get("lengths", {})
    drawn = {
        "Captions of whole images, before and after": _lengths(lengths, (SOURCE, GLOBAL)),
        "Captions of regions": _lengths(lengths, (LOCAL,)),
        "Lines of text": _lengths(lengths, tuple(LINES.values())),
        "Classes of regions, before and after sampling": _ranks(numbers.get("classes", {})),
        "Size of boxes": _boxes(numbers, "side", SIDES, "side of a square of its area, as a share of the image's"),
        "Shape of boxes": _boxes(numbers, "aspect", ASPECTS, "log2 of width over height"),
        "Boxes in an image": _boxes(numbers, "per_image", 1.0, "boxes"),
        "Rejected, by pass and reason": _rejects(passes),
    }
    return [Chart(title, svg) for title, svg in drawn.items() if svg]


def _lengths(lengths: Mapping[str, Mapping[str, int]], names: tuple[str, ...]) -> str:
    known = {name: lengths[name] for name in names if lengths.get(name)}
    if not known:
        return ""
    width = bin_width(known.values())
    series = {name: Series(*shares(in_bins(histogram, width), width=width), marked=True) for name, histogram in known.items()}
    marks = {
        f"paper's mean: {PAPER[name][1]:g}" + f" ({name})" * (len(known) > 1): PAPER[name][1] for name in known if name in PAPER
    }
    return line_chart("Share of texts by tokens", series, percent=True, over="tokens", marks=marks)


def _ranks(classes: Mapping[str, Mapping[str, int]]) -> str:
    known = {name: sorted(classes[name].values(), reverse=True) for name in CLASSES if classes.get(name)}
    series = {name: Series(range(1, len(each) + 1), each, marked=len(each) < 30) for name, each in known.items()}
    return line_chart("Regions of a class by rank", series, log=True, log_over=True, over="rank of the class") if series else ""


def _boxes(numbers: Numbers, name: str, width: float, over: str) -> str:
    told = {each: numbers.get("boxes", {}).get(each, {}).get(name) for each in ("found", "kept")}
    series = {each: Series(*shares(histogram, width=width), marked=True) for each, histogram in told.items() if histogram}
    return line_chart(f"Share of boxes: {over}", series, percent=True, over=over) if series else ""


def _rejects(passes: Iterable[PassState]) -> str:
    told = {f"{name}: {reason}": count for (name, reason), count in rejects(passes).items()}
    return bar_chart("Rejected rows", told, over="rows") if told else ""

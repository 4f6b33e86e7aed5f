"""A run for people to look at: what it is, what it cost, what its images, captions and regions are like. One HTML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finevit.provenance import provenance
from finevit.recaption.charts import charts
from finevit.recaption.described import is_stand_in, named, source_of
from finevit.recaption.journal import Spent
from finevit.recaption.run import config_hash, spending
from finevit.recaption.shots import Shot, choose, shots
from finevit.recaption.sidecars import write_json
from finevit.recaption.statistics import (
    GLOBAL,
    LINES,
    LOCAL,
    PAPER,
    PAPER_FILTERED,
    Numbers,
    beside_paper,
    describe,
    filtered,
    summary,
)
from finevit.recaption.status import ledger
from finevit.recaption.view import MEANING, View
from finevit.recaption.work import Workshop
from finevit.visualization import report
from finevit.visualization.report import Figure, Page, Section, fragment

STATISTICS = "statistics.json"
TOKENS = "Tokens are words and punctuation marks here; the paper counts those of a tokenizer that it does not name."


def write_page(settings: Mapping[str, Any], work_dir: Path, out: Path, images: int = 24) -> Path:
    """The page of a run, whole or not, and ``statistics.json`` beside the passes; ``images`` at least, so many if there are."""
    view = View(Workshop(settings, work_dir))
    if not view.shards:
        raise ValueError(f"work_dir={str(work_dir)!r} holds no run of this config yet; run `finevit recaption CONFIG` first")
    numbers = view.numbers()
    write_json(work_dir / STATISTICS, summary(numbers))
    kept, rejected = (shots(view, chosen) for chosen in choose(view, numbers, images))
    costs = spending(work_dir)
    page = Page(
        title="Recaptions",
        subtitle=_subtitle(view),
        about=_about(view),
        figures=_figures(numbers, costs),
        sections=[
            *_stand_ins(view),
            Section("Statistics before and after", fragment("plan.html", charts=charts(numbers, view.passes), rows=[], facts=[])),
            Section("Beside the paper", report.table(beside_paper(numbers)), TOKENS),
            *_shown("Images that are kept", kept, "Boxes are numbered as the regions; dashed ones are lines of text."),
            *_shown("Images that are rejected", rejected, "Of each reason at least one."),
        ],
        run=_run(view, costs),
    )
    return report.write(page, out)


def _subtitle(view: View) -> str:
    whole = all(not state.left and not state.partial for state in view.passes)
    state = "the run is whole" if whole else "the run is not whole: the passes below say what is missing"
    return f"{source_of(view.shop.settings)}; {state}"


def _about(view: View) -> list[tuple[str, str]]:
    made = [(name, value) for name, value in provenance("any") if name in ("date", "version", "git commit")]
    models = [(f"model of {name}", ", ".join(map(named, found))) for name, found in view.shop.models(view.shards).items()]
    told = {
        "config hash": config_hash(view.shop.settings),
        "licence of the images": view.shop.settings.get("license") or "not stated",
    }
    return [*made, *models, *told.items()]


def _stand_ins(view: View) -> list[Section]:
    models = view.shop.models(view.shards).values()
    names = sorted({model for found in models for model in found if is_stand_in(model)})
    told = [[name, "a stand-in: it answers from the truth of drawn scenes and sees nothing"] for name in names]
    note = "What it says tests the pipeline and proves nothing of a model."
    return [Section("Stand-in models", report.table([["model", "what it is"], *told]), note)] if names else []


def _figures(numbers: Numbers, costs: Mapping[str, Mapping[str, Spent]]) -> list[Figure]:
    counts = numbers.get("images", {})
    total = sum((cost for each in costs.values() for cost in each.values()), Spent())
    share = f"{100 * filtered(numbers):.1f} % rejected; paper: about {100 * PAPER_FILTERED:g} %"
    return [
        Figure("Images kept", f"{counts.get('kept', 0):,}", share),
        *(_figure(numbers, name) for name in (GLOBAL, LOCAL, *LINES.values())),
        Figure("Model calls", f"{total.answered + total.failed:,}", f"{total.prompt_tokens + total.completion_tokens:,} tokens"),
        Figure("Money", f"{total.money:,.4g}", f"{total.retries:,} retries, {total.failed:,} failed"),
    ]


def _figure(numbers: Numbers, name: str) -> Figure:
    told = describe(numbers.get("lengths", {}).get(name, {}))
    own = f"of {told['mean']:.1f} tokens; " if "mean" in told else ""
    count, mean = PAPER[name]
    return Figure(name.capitalize(), f"{told['count']:,}", f"{own}paper: {count / 1e6:g} M of {mean:g}")


def _shown(title: str, found: list[Shot], note: str) -> list[Section]:
    told = f"{len(found)} of them. {note}" if found else "There are none."
    return [
        Section(title, fragment("recaption.html", shots=found, narrow=not any(shot.captions or shot.lines for shot in found)), told)
    ]


def _run(view: View, costs: Mapping[str, Mapping[str, Spent]]) -> list[Section]:
    passes = [["pass", "shards", "partial", "counts", "seconds"]]
    for state in view.passes:
        made = f"{len(state.done) + len(state.partial)} of {len(view.shards)}"
        counts = ", ".join(f"{name} {count:,}" for name, count in state.counts.most_common())
        passes.append([state.name, made, ", ".join(state.partial), counts, f"{state.seconds:,.1f}"])
    found = [Section("Passes", report.table(passes))]
    if failures := view.failures():
        rows = [[each.name, each.status, MEANING[each.status], f"{each.count:,}", each.detail] for each in failures]
        again = "Every run asks the first kind again, `finevit recaption retry` those that failed for good."
        rows = [[*row, "every run" if each.again else "retry"] for row, each in zip(rows, failures, strict=True)]
        header = ["pass", "status", "what it means", "rows", "an example", "asked again by"]
        found.append(Section("Requests that failed", report.table([header, *rows]), again))
    return [
        *found,
        Section(
            "Ledger",
            report.table(ledger(costs)),
            "Attempts that failed are in the sums; hours are those of requests, of which many are in flight.",
        ),
    ]

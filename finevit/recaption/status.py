"""The state of a run for the terminal: passes, what failed and why, what it cost, what is left."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from finevit.recaption.journal import Spent
from finevit.recaption.view import Failure, PassState, View

NAMED = 5
"""So many partial shards are named."""
WIDE = 100
"""Characters of an example."""


def print_view(view: View, costs: Mapping[str, Mapping[str, Spent]]) -> None:
    """Tables of the passes and of the ledger, then what failed; texts of models and servers are no markup."""
    console = Console(width=max(100, Console().width))
    if not view.shards:
        console.print("nothing is planned yet: the run has not begun")
        return
    console.print(_passes(view, costs))
    if any(each for each in costs.values()):
        console.print(_ledger(costs))
    for line in (*_partial(view.passes), *_failures(view.failures()), *_left(view.passes)):
        console.print(Text(line), soft_wrap=True)


def _passes(view: View, costs: Mapping[str, Mapping[str, Spent]]) -> Table:
    table = Table("pass", "shards", "counts", "answers", "tokens", "money", "seconds", box=None, pad_edge=False)
    for state in view.passes:
        total = sum(costs.get(state.name, {}).values(), Spent())
        shards = f"{len(state.done) + len(state.partial)}/{len(view.shards)}"
        told = f"{shards}, {len(state.partial)} partial" if state.partial else shards
        counted = ", ".join(f"{name} {count:,}" for name, count in state.counts.most_common())
        answers = f"{total.answered:,}" + (f" + {total.failed:,} failed" if total.failed else "")
        tokens = f"{total.prompt_tokens + total.completion_tokens:,}" if total.answered else ""
        spent = (answers if total != Spent() else "", tokens, f"{total.money:.4g}" * bool(total.money))
        table.add_row(*map(Text, (state.name, told, counted, *spent, f"{state.seconds:.1f}")))
    return table


def ledger(costs: Mapping[str, Mapping[str, Spent]]) -> list[list[str]]:
    """Header and rows: what each model cost in each pass."""
    rows = [["pass", "model", "answered", "failed", "retries", "tokens in", "tokens out", "money", "hours"]]
    for name, each in costs.items():
        for model, cost in sorted(each.items()):
            counts = (cost.answered, cost.failed, cost.retries, cost.prompt_tokens, cost.completion_tokens)
            rows.append([name, model, *(f"{value:,}" for value in counts), f"{cost.money:.4g}", f"{cost.seconds / 3600:.3f}"])
    return rows


def _ledger(costs: Mapping[str, Mapping[str, Spent]]) -> Table:
    header, *rows = ledger(costs)
    table = Table(box=None, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold", no_wrap=name != "model")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _partial(passes: Iterable[PassState]) -> list[str]:
    told = []
    for state in passes:
        if state.partial:
            more = f" and {len(state.partial) - NAMED:,} more" * (len(state.partial) > NAMED)
            told.append(f"partial in {state.name}: shards {', '.join(state.partial[:NAMED])}{more}")
    return told


def _failures(failures: Iterable[Failure]) -> list[str]:
    told = []
    for each in failures:
        remedy = "asked again by the next run" if each.again else "asked again by finevit recaption retry"
        short = "".join(letter if letter.isprintable() else " " for letter in each.detail)[:WIDE]
        told.append(f"{each.name}: {each.count:,} {each.status}, {remedy}" + (f"; such as: {short}" if short else ""))
    return told


def _left(passes: Iterable[PassState]) -> list[str]:
    """The time that is left, as far as passes have begun."""
    open_passes = [state for state in passes if state.left]
    known = [state.seconds_left for state in open_passes if state.seconds_left is not None]
    if not open_passes:
        return []
    unknown = sum(state.seconds_left is None for state in open_passes)
    told = f"left: {timedelta(seconds=round(sum(known)))} of one process" if known else "left: not known yet"
    return [told + (f", and {unknown} passes that have not begun" if unknown else "")]

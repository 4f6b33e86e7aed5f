"""Predicts schedules, cost and time of a run: ``finevit plan finevit_tiny_stage1`` is ``finevit train --plan``."""

from finevit.commands import train


def main() -> None:
    """``finevit train --plan``."""
    train.main(plan=True)

"""Clients that hold the server's connections, send bombs, or ask odd things: good questions are answered meanwhile."""

import time

import pytest
from served import attack, serving, timed

GOOD_S = 2.0
"""Seconds in which a good question is answered, whatever others do."""


@pytest.mark.parametrize("kind", ["idle", "drip", "body", "deaf"])
def test_connections(trial, tmp_path, kind):
    """10,000 connections, and 2,000 of those that cost more, at a limit of 1,024 files, each opened again when it is closed."""
    count, seconds, waited = max(2000, trial.count(10_000 if kind in ("idle", "drip") else 2000)), 12 + 18 * trial.share, []
    with serving(tmp_path, files=1024) as house:
        own, _ = timed(house.ask)
        before = house.log.stat().st_size
        with attack(house, kind, count, seconds) as figures:
            end = time.monotonic() + seconds - 2
            while time.monotonic() < end:
                for call in (house.ask, lambda: house.request("GET", "/health")):
                    took, (status, content) = timed(call)
                    assert status == 200, content
                    waited.append(took)
                time.sleep(0.1)
        log = house.log.read_text()
    written, worst = len(log) - before, max(waited)
    trial.record(**figures, questions=len(waited), own_s=round(own, 2), worst_s=round(worst, 2), log_bytes=written)
    assert figures["opened"] >= count
    assert worst < GOOD_S + own
    assert written < 1_000_000
    assert "Traceback" not in log

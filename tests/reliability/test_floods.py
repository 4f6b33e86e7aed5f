"""Clients that hold the server's connections, send bombs, or ask odd things: good questions are answered meanwhile."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest
from bombs import BOMBS
from odd_requests import odd_bodies
from served import attack, question, serving, timed

GOOD_S = 2.0
"""Seconds in which a good question is answered, whatever others do."""


@pytest.mark.parametrize("kind", ["idle", "drip", "body", "deaf"])
def test_connections(trial, tmp_path, kind):
    """10,000 connections, and 2,000 of those that cost more, at a limit of 1,024 files, each opened again when it is closed."""
    count, seconds, waited = max(2000, trial.count(10_000 if kind in ("idle", "drip") else 2000)), 6 + 24 * trial.share, []
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
    assert worst < GOOD_S
    assert written < 1_000_000
    assert "Traceback" not in log


SENT = (
    *("jpeg: 10,000 scans", "jpeg: 300 scans of 11,000 pixels a side", "jpeg: 5 MB of Exif", "jpeg: 5 MB of small Exif"),
    *("png: 1,000,000 chunks with digits", "png: 9,990 pixels a side"),
)
"""Bombs that a body may hold."""


def test_bombs(trial, tmp_path):
    """Images that take long, eight at a time, while good questions are asked."""
    made = [json.dumps(question(BOMBS[name]())).encode() for name in SENT]
    sent = [made[i % len(made)] for i in range(trial.count(50))]
    with serving(tmp_path) as house, ThreadPoolExecutor(8) as pool:
        own, waited, refused = max(timed(house.ask)[0] for _ in range(3)), [], 0
        answers = [pool.submit(house.request, "POST", "/v1/chat/completions", body, 600) for body in sent]
        while not all(answer.done() for answer in answers):
            for call in (house.ask, lambda: house.request("GET", "/health"), lambda: house.request("GET", "/v1/models")):
                took, (status, content) = timed(call)
                assert status == 200, content
                waited.append(took)
            time.sleep(0.05)
        statuses = [answer.result()[0] for answer in answers]
        assert house.ask()[0] == 200
        memory = house.memory()
        assert "Traceback" not in house.log.read_text()
    refused = sum(status == 400 for status in statuses)
    trial.record(bombs=len(sent), refused=refused, questions=len(waited), own_s=round(own, 2), worst_s=round(max(waited), 2))
    trial.record(memory_mib=round(memory))
    assert set(statuses) <= {200, 400}
    assert max(waited) < GOOD_S


def test_odd_requests(trial, tmp_path):
    """Each is refused in JSON, and the server stays as it was."""
    with serving(tmp_path) as house:
        house.ask()
        begin = house.memory()
        for body in islice(odd_bodies(0), trial.count(1762)):
            status, content = house.request("POST", "/v1/chat/completions", body)
            assert 400 <= status < 500, body[:300]
            assert content["error"]["message"], body[:300]
        assert house.ask()[0] == 200
        grown = house.memory() - begin
        assert "Traceback" not in house.log.read_text()
    trial.record(requests=trial.count(1762), memory_grown_mib=round(grown, 1))
    assert grown < 50


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends(trial, tmp_path, number):
    """A signal while many are being answered: each is told, and the server ends as one that the signal stopped."""
    with serving(tmp_path) as house, ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(house.ask, None, "?" * 200, max_tokens=1024) for _ in range(16)]
        while house.request("GET", "/health")[1]["requests"] < 16 and not any(answer.done() for answer in answers):
            time.sleep(0.05)
        begin = time.monotonic()
        house.process.send_signal(number)
        assert house.process.wait(15) == -number
        took = time.monotonic() - begin
        statuses = sorted(answer.result()[0] for answer in answers)
        assert set(statuses) <= {200, 503}
        assert "Traceback" not in house.log.read_text()
    trial.record(seconds=round(took, 1), answered=statuses.count(200), told=statuses.count(503))
    assert took < 8

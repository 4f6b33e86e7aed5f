"""A run against an endpoint that fails as told: true statuses, nothing paid twice, nothing stored that is no answer."""

import json
import sqlite3
import subprocess
from collections import Counter

import httpx
import pytest
from test_recaption import run, tables
from test_stand_in import serving

from finevit.recaption import console
from finevit.recaption.contracts import FINAL, OK, RETRIABLE
from finevit.recaption.run import forget, money, spending
from finevit.scenes import Scenes
from finevit.scenes.stand_in import signs
from finevit.scenes.stand_in.album import Album
from finevit.scenes.stand_in.answers import Answerer
from finevit.scenes.stand_in.app import Behaviour, make_app
from finevit.scenes.stand_in.witness import Manner

IMAGES, CALLS = 24, 48


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    scenes = Scenes(level="easy", length=IMAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return Album(scenes, signs.signs_of(scenes))


def endpoint(known, **behaviour):
    return serving(make_app(Answerer(known, manner=Manner()), Behaviour(**behaviour)))


def settings(url, *, executor="Serial", attempts=1, **more):
    """Two captions of each of 24 scenes."""
    client = {"attempts": attempts, "deadline_s": 2.0, "wait_s": 0.01, "price": [1.0, 2.0], "in_flight": 4}
    captioner = {"type": "OpenAICaptioner", "base_url": url, "model": "stand-in-a", "client": client}
    passes = {
        "index": {"type": "Index", "images_per_shard": 8, "captions": False},
        "captions": {
            "type": "GlobalCaptions",
            "captioners": {"a": captioner},
            "prompts": {"dense": "Describe it.", "short": "Short."},
        },
        "assemble": {"type": "Assemble"},
    }
    source = {"type": "Scenes", "level": "easy", "length": IMAGES}
    return {"source": source, "executor": {"type": executor}, "passes": passes, **more}


def stats(url, **query):
    return httpx.get(url.removesuffix("/v1") + "/stats", params=query).json()


def journals(work_dir, table):
    """Key and status of all rows of the journals' table."""
    rows = []
    for path in (work_dir / "passes/captions").glob("*.journal.sqlite"):
        database = sqlite3.connect(path)
        rows += database.execute(f"SELECT key, status FROM {table}").fetchall()
        database.close()
    return rows


def test_every_caption_ends_with_a_true_status_and_the_next_run_asks_what_failed_for_the_moment(album, tmp_path):
    with endpoint(album, faults=0.3, hang_s=30.0) as url:
        run(settings(url), tmp_path)
        first, asked = Counter(row["status"] for row in tables(tmp_path)["captions"]), stats(url)
        assert first.total() == CALLS
        assert set(first) <= {OK, *RETRIABLE, *FINAL}
        again = sum(first[status] for status in RETRIABLE)
        assert 20 < first[OK] < 45
        assert again > 0
        assert asked["requests"] == CALLS
        by_fault = Counter()
        for kind, count in asked["faults"].items():
            by_fault[STATUS[kind]] += count
        assert by_fault == {status: count for status, count in first.items() if status != OK}

        run(settings(url), tmp_path)
        second = Counter(row["status"] for row in tables(tmp_path)["captions"])
        assert stats(url)["requests"] - asked["requests"] == again, "the next run asks exactly these"
        assert sum(second[status] for status in FINAL) >= sum(first[status] for status in FINAL)
        for _ in range(8):
            run(settings(url), tmp_path)
        last = Counter(row["status"] for row in tables(tmp_path)["captions"])
        assert not any(last[status] for status in RETRIABLE)
        before = stats(url)["requests"]
        final = sum(last[status] for status in FINAL)
        assert forget(tmp_path, []) >= final
        run(settings(url), tmp_path)
        assert stats(url)["requests"] - before == final, "retry asks what failed for good"
        assert stats(url)["paid_again"] == _paid_and_no_answer(stats(url, by="request"))
    answers = journals(tmp_path, "answers")
    assert len({key for key, _ in answers}) == len(answers)
    assert {status for _, status in answers} == {OK}
    assert OK not in {status for _, status in journals(tmp_path, "failures")}


def _paid_and_no_answer(told):
    """Of requests whose paid completions were spoilt, the payments beyond the first."""
    return sum(each["paid"] - 1 for each in told["by_request"].values() if each["paid"] > 1)


STATUS = {
    "timeout": "timeout",
    "400": "bad_request",
    "429": "rate_limited",
    "500": "server_error",
    "truncation": "truncated",
    "refusal": "refused",
    "loop": "repetition",
    "non_json": "malformed",
    "reasoning": "reasoning_only",
    "empty": "empty",
    "dropped": "connection",
}


def test_the_ledger_counts_what_was_paid(album, tmp_path):
    with endpoint(album) as url:
        run(settings(url), tmp_path)
        told = stats(url)
    (cost,) = spending(tmp_path)["captions"].values()
    assert (cost.answered, cost.failed, cost.retries) == (CALLS, 0, 0)
    assert (cost.prompt_tokens, cost.completion_tokens) == (told["prompt_tokens"], told["completion_tokens"])
    assert cost.money == pytest.approx((cost.prompt_tokens + 2 * cost.completion_tokens) / 1e6)


def test_a_budget_stops_a_run_and_the_next_one_completes_it(album, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(console, "INTERVAL", 0.02)
    with endpoint(album, latency=0.1) as url:
        whole = console.follow(settings(url), tmp_path / "whole")
        total = money(tmp_path / "whole")
        assert whole == 0
        assert console.follow(settings(url), tmp_path / "cut", budget=total / 3) == console.AGAIN
        spent = money(tmp_path / "cut")
        assert total / 3 <= spent < 0.8 * total
        assert "is spent" in capsys.readouterr().out
        assert console.follow(settings(url), tmp_path / "cut") == 0
    assert money(tmp_path / "cut") == pytest.approx(total), "nothing is paid twice"
    assert tables(tmp_path / "cut") == tables(tmp_path / "whole")


def test_a_dry_run_says_what_all_will_cost_and_its_answers_are_known(album, tmp_path, capsys):
    with endpoint(album) as url:
        console.dry_run(settings(url), tmp_path, images=6)
        assert stats(url)["requests"] == 12
        told = capsys.readouterr().out
        assert "estimate for 24 images, from 6" in told
        assert console.follow(settings(url), tmp_path) == 0
        assert stats(url)["requests"] == CALLS
        assert stats(url)["paid_again"] == 0
    assert len(tables(tmp_path)["captions"]) == CALLS


def test_a_key_stands_nowhere(album, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-SECRET-1234567890")
    with endpoint(album, faults=0.3, hang_s=3.0) as url:
        console.follow(settings(url), tmp_path)
    found = subprocess.run(["grep", "-rl", "sk-SECRET", str(tmp_path)], capture_output=True, text=True, check=False).stdout
    assert found == ""
    assert json.loads((tmp_path / "settings.json").read_text())["passes"]["captions"]

"""The benchmark of recaptions: alt texts say little and nothing false, all start alike and cost alike, nothing is done twice."""

import json
import re
import sys
from pathlib import Path
from random import Random

import pytest

from finevit.config.loading import load_config
from finevit.scenes import Scenes
from finevit.scenes.backgrounds import COLOURS
from finevit.scenes.vocabulary import all_things

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from recaptions import run, show  # noqa: E402
from recaptions.alt import alt_text  # noqa: E402


def test_an_alt_text_is_short_and_true():
    scenes = Scenes(level="easy", length=60)
    lengths, named = [], 0
    for index in range(len(scenes)):
        truth = scenes.look(index)[1]
        text = alt_text(truth, Random(index))
        nouns, words = {told.noun for told in truth.objects}, {line.text for line in truth.lines}
        for thing in all_things()[:16]:
            if re.search(rf"\b{thing.name}\b", text):
                assert any(thing.name in noun for noun in nouns), text
                named += 1
        colours = {truth.plan.background.first, *(noun.split()[0] for noun in nouns)}
        assert {word for word in text.split() if word in COLOURS} <= colours
        rest = set(re.findall(r"[A-Z]\w+", text))
        assert rest <= words, text
        lengths.append(len(text.split()))
    assert 2 < sum(lengths) / len(lengths) < 6
    assert 50 <= named < 100
    assert max(lengths) < 12


@pytest.fixture
def calls(monkeypatch):
    """What would be run: programs, and trainings with their options."""
    made = []

    def call(*command):
        made.append(command)
        if "--out" in command:
            Path(command[command.index("--out") + 1]).mkdir(parents=True)
            return
        folder = Path(command[command.index("--work-dir") + 1])
        (folder / "dataset").mkdir(parents=True, exist_ok=True)
        (folder / "dataset/manifest.json").write_text(json.dumps({"counts": {"captions": {"ok": 6}}}))
        (folder / "plan.json").write_text(json.dumps({"totals": {"flops": 1e12}}))
        (folder / "results.json").write_text(json.dumps({"benchmarks": {"val": {"metrics": {"stage2/r1": 0.25}}}}))

    def train(config, folder, *, steps, options):
        made.append(("train", config, steps, list(options)))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"iter_{steps}.pth").touch()
        return {"evaluations": [{"stage2/r1": 0.5, "stage2/scenes_top1": 0.75}], "protocols": {}}

    monkeypatch.setattr(run.runs, "call", call)
    monkeypatch.setattr(run.runs, "train", train)
    monkeypatch.setattr(run.runs, "steps_of", lambda total, amount, config, folder, options, steps: (steps * 4 // 3, amount)[0])
    return made


def command(monkeypatch, folder, *options):
    monkeypatch.setattr(sys, "argv", ["run.py", "--work-dir", str(folder / "runs"), "--out", str(folder / "out"), *options])
    run.main()


def trainings(calls):
    return [call for call in calls if call[0] == "train" and call[1] == run.STAGE2]


def test_all_captions_start_alike_and_cost_the_same_and_are_trained_once(calls, monkeypatch, tmp_path):
    command(monkeypatch, tmp_path, "--seeds", "0", "1", "--steps", "30", "--images", "10")
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [(row["captions"], row["noise"]) for row in rows if row["seed"] == 0] == [
        ("alt texts", 0),
        *(("one captioner", noise) for noise in (0, 10, 30)),
        *(("three captioners", noise) for noise in (0, 10, 30)),
        ("the truth", 0),
    ]
    assert {row["steps"] for row in rows if row["captions"] == "the truth"} == {30}
    assert {row["steps"] for row in rows if row["captions"] != "the truth"} == {40}
    assert {tuple(row["scores"].values()) for row in rows} == {(0.5, 0.25, 0.75)}
    assert len(trainings(calls)) == 16
    for shared in ("load_from", "model.text_encoder.tokenizer"):
        assert len({next(option for option in call[3] if option.startswith(shared)) for call in trainings(calls)}) == 1
    assert (tmp_path / "out.svg").read_text().startswith("<?xml")
    before = len(calls)
    command(monkeypatch, tmp_path, "--seeds", "0", "1", "--steps", "30", "--images", "10")
    assert len(calls) == before
    with pytest.raises(ValueError, match="of another run"):
        command(monkeypatch, tmp_path, "--seeds", "0", "--steps", "31", "--images", "10")


def test_the_search_gives_alt_texts_and_recaptions_the_same_rates_and_lengths(calls, monkeypatch, tmp_path):
    command(monkeypatch, tmp_path, "--seeds", "0", "--steps", "30", "--images", "10", "--search")
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    names = [row["captions"].partition(", ") for row in rows]
    own = [{rest for captions, _, rest in names if captions == wanted} for wanted in ("alt texts", "one captioner")]
    assert own[0] == own[1]
    assert len(own[0]) == len(run.RATES) * len(run.LENGTHS) == len(rows) / 2


def test_the_weights_draw_captioners_alike_and_prompts_by_their_shares():
    for captions in show.CAPTIONS:
        assert sum(run.weights(captions, 10).values()) == pytest.approx(3 if captions == "three captioners" else 1)
    names = ("stand-in-a@noise-10", "stand-in-a@noise-10-2", "stand-in-a@noise-10-3")
    assert run.weights("one captioner", 10) == dict(zip(names, (0.7, 0.2, 0.1), strict=True))


def test_the_table_has_means_and_ranges_over_seeds():
    rows = [
        {"captions": "alt texts", "noise": 0, "steps": 40, "minutes": 2.0, "scores": dict.fromkeys(show.SCORES, value)}
        for value in (0.2, 0.4)
    ]
    assert show.table(rows).splitlines()[2].startswith("| alt texts | 0 % | 40 | 0.300 (0.200 to 0.400) |")


def test_the_configs_are_whole(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    (tmp_path / "pipeline.py").write_text(run.pipeline(10, 50))
    config = load_config(tmp_path / "pipeline.py")
    assert config.passes.captions.captioners.b == {
        "type": "OpenAICaptioner",
        "base_url": "service:stand_in/v1",
        "model": "stand-in-b",
        "revision": "noise-10",
    }
    command = config.services.stand_in.command
    assert command[command.index("--noise") + 1] == "0.1"
    assert command[command.index("--length") + 1] == str(config.source.length) == "50"
    assert (
        load_config(ROOT / run.STAGE2, {"train_dataloader.dataset.source.data_root": "x"}).val_dataloader.dataset.source.length
        == 512
    )

"""What the data has and what Stage III asks for are compared before a run."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from finevit.config.loading import load_config
from finevit.contracts import Record, Region, Source
from finevit.datasets.samplers import NativeBatchSampler
from finevit.datasets.transforms.caption_transforms import check_captioned
from finevit.planning.askable import LOOKED_AT, check_asked
from finevit.plugins import load_plugins
from finevit.registry import DATA_SAMPLERS, DATASETS, TRANSFORMS

CONFIG = Path(__file__).parents[1] / "configs/finevit_tiny_stage3.py"
PHRASE = Region(box=(0.1, 0.1, 0.5, 0.5), phrase="red house")
TEXT = Region(box=(0.6, 0.6, 0.9, 0.9), text="STOP")
WARNED: list[str] = []


@pytest.fixture(autouse=True)
def _warned(monkeypatch):
    load_plugins()
    WARNED.clear()
    keep = lambda said, logger, level: WARNED.append(said) if level == logging.WARNING else None  # noqa: E731
    monkeypatch.setattr("finevit.planning.askable.print_log", keep)


class Told(Source):
    """So many records with the same annotations, the first ``bare`` without any."""

    def __init__(self, *, length: int = 1000, bare: int = 0, captions: dict | None = None, regions: tuple = ()) -> None:
        self.length, self.bare, self.captions, self.regions, self.read = length, bare, captions or {}, regions, 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Record:
        self.read += 1
        has = index >= self.bare
        image = np.zeros((56, 56, 3), np.uint8)
        return Record(str(index), image, self.captions if has else {}, self.regions if has else ())

    def describe(self) -> str:
        return "told"


def check(source: Source, *, schedule: dict | None = None, steps: int = 100, **options: object) -> None:
    transforms = [{"type": "finevit.ResizeToBudget"}, {"type": "finevit.AskQuestions", **options}]
    dataset = DATASETS.build({"type": "NativeImages", "source": source, "transforms": transforms})
    order = DATA_SAMPLERS.build({"type": "StatelessSampler", "dataset": dataset})
    resolution = {"type": "ConstantResolution", "side": 56}
    schedules = {"AskQuestions": {"task_weights": schedule}}
    batches = NativeBatchSampler(sampler=order, batch_size=2, resolution=resolution, schedules=schedules)
    check_asked("train_dataloader", SimpleNamespace(dataset=dataset, batch_sampler=batches), steps=steps)


BOXES_FIRST = {
    "text2box": {"type": "Milestones", "milestones": [(0, 1.0), (50, 0.0)]},
    "global_caption": {"type": "Milestones", "milestones": [(0, 0.0), (50, 1.0)]},
}


def test_captions_alone_are_told_where_boxes_are_asked_for():
    said = (
        r"told: of 200 records looked at have captions: 200, regions with a phrase: 0, regions with a text: 0, counts: 0. At "
        r"step 0 only text2box \(regions with a phrase\) is asked for, of which there is no question; ask for what there is, by "
        r"--cfg-options train_dataloader.batch_sampler.schedules.AskQuestions=None "
        r"train_dataloader.dataset.transforms.1.task_weights.global_caption=1"
    )
    with pytest.raises(ValueError, match=said):
        check(Told(captions={"alt": "A house."}), schedule=BOXES_FIRST)
    check(Told(captions={"alt": "A house."}))
    assert "no question is found of box2text, text2box, box2ocr, ocr2box, counting" in WARNED[0]
    assert len(WARNED) == 1


def test_a_later_step_counts_too():
    with pytest.raises(ValueError, match=r"At step 50 only global_caption \(captions\) is asked for"):
        check(Told(regions=(PHRASE,)), schedule=BOXES_FIRST)
    check(Told(regions=(PHRASE,)), schedule=BOXES_FIRST, steps=50)


def test_data_without_annotations_can_be_asked_nothing():
    with pytest.raises(ValueError, match=r"captions: 0, .* nothing can be asked of this data: give captions, or regions"):
        check(Told())
    with pytest.raises(ValueError, match="nothing can be asked"):
        check(Told(captions={"alt": "  "}, regions=(Region(box=(0.1, 0.1, 0.1, 0.1), phrase="flat"),)))


def test_records_without_a_question_are_counted():
    check(Told(bare=500, captions={"alt": "A house."}, regions=(PHRASE, TEXT)), task_weights={"box2ocr": 1, "text2box": 1})
    assert WARNED[0].startswith("told: of 200 records looked at have captions: 100, regions with a phrase: 100, ")
    assert "; 100 of them have no question of box2ocr, text2box, which are asked at step 0: such records are replaced" in WARNED[0]
    assert len(WARNED) == 1


def test_few_records_are_read_where_all_have_all():
    source = Told(captions={"alt": "A house."}, regions=(PHRASE, TEXT))
    check(source, task_weights={"box2ocr": 1, "text2box": 1, "global_caption": 1})
    assert (source.read, WARNED) == (20, [])
    small = Told(length=3, captions={"alt": "A house."})
    check(small, task_weights={"global_caption": 1, "counting": 1})
    assert small.read == 3 < LOOKED_AT
    assert "of 3 records" in WARNED[0]


def test_the_remedy_holds_when_it_is_pasted(tmp_path):
    """Captions of people in the tiny Stage III: refused with the options, which then ask of every image."""
    for index in range(4):
        Image.new("RGB", (60, 60), (index, 0, 0)).save(tmp_path / f"{index}.png")
    lines = [json.dumps({"image": f"{index}.png", "caption": f"House {index}."}) for index in range(4)]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))

    first, then = {"box2ocr": 1.0, "box2text": 0.05}, {"box2ocr": 4.0, "box2text": 0.5, "text2box": 4.0, "global_caption": 0.02}
    mixture = {
        task: {"type": "Milestones", "milestones": [(0.0, first.get(task, 0.0)), (0.5, weight)]} for task, weight in then.items()
    }
    base = {
        "data_root": str(tmp_path / "c.jsonl"),
        "train_cfg.max_iters": 100,
        "train_dataloader.dataset.transforms.1.task_weights": then,
        "train_dataloader.batch_sampler.schedules.AskQuestions.task_weights": mixture,
    }

    def loader(options: dict) -> None:
        cfg = load_config(CONFIG, {**base, **options}).train_dataloader
        dataset = DATASETS.build({**cfg.dataset, "_scope_": "finevit"})
        order = DATA_SAMPLERS.build({"type": "StatelessSampler", "dataset": dataset})
        batches = NativeBatchSampler(sampler=order, **{k: v for k, v in cfg.batch_sampler.items() if k != "type"}, batch_size=2)
        check_asked("train_dataloader", SimpleNamespace(dataset=dataset, batch_sampler=batches), steps=100)
        for step in (0, 30, 50, 60, 99):
            for request in batches.requests(step):
                found = dataset[request]
                assert [question.task for question in found["questions"]] == ["global_caption"]
                assert not found["skipped"]

    with pytest.raises(ValueError, match="At step 0 only box2text") as caught:
        loader({})
    words = str(caught.value).partition("--cfg-options ")[2].partition(", or give")[0].split()
    options = dict(word.split("=") for word in words)
    loader({name: None if value == "None" else int(value) for name, value in options.items()})


def test_captions_are_missed_before_a_run_of_stage_two():
    check_captioned(Told(bare=999, captions={"alt": "A house."}), records=1000)
    for captions in ({}, {"alt": " "}, {"alt": "!?"}):
        with pytest.raises(ValueError, match="told: none of 200 records looked at has a caption that can be used; give data with"):
            TRANSFORMS.build({"type": "PickCaption"}).check(Told(captions=captions))

"""Pages that tests look at, and a parser that reads them."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from finevit.boxes import render
from finevit.contracts import Question
from finevit.evaluation.results import Results
from finevit.ops.patches import patchify
from finevit.packing.images import pack_images
from finevit.visualization import answers, pairs, stage1, stage2, stage3
from finevit.visualization.gallery import MaskedView
from finevit.visualization.report import Changes, Page, Run, SkippedSamples, run_sections

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Outline(HTMLParser):
    """Fails on unbalanced tags; collects text, tags, ids and whatever a browser would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.open += [] if tag in VOID else [tag]
        self.handle_attributes(attrs)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.handle_attributes(attrs)

    def handle_attributes(self, attrs: list) -> None:
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> was never opened"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def view(seed: int, shape: tuple[int, int] = (4, 6)) -> MaskedView:
    patches = shape[0] * shape[1]
    image = torch.randint(256, (shape[0] * 14, shape[1] * 14, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    mask = torch.arange(patches) % 4 != 0
    features = (random(patches, width, seed=seed + kind).half() for kind, width in ((0, 12), (10, 12), (20, 8)))
    return MaskedView(image, shape, mask, *features)


def stage1_page(folder: Path) -> Page:
    """The page of a run of Stage I of 100 steps, with 2 x 7 pictures."""
    results = Results(folder)
    protocols = {"ExplainedVariance": "masked-r2/v1"}
    for step, r2, probe in ((0, -0.25, 0.125), (50, 0.2, 0.3), (100, 0.375, 0.5)):
        metrics = {"stage1/r2": r2, "stage1/probe": probe, "stage1/probe_teacher": 0.75}
        results.add(step, metrics, protocols=protocols, data="40 scenes", images=40)
    scalars = {
        "loss": np.linspace(9, 1, 100),
        "lr": np.linspace(0, 1e-3, 100),
        "time": [0.5] * 100,
        "mask_ratio": np.linspace(0.3, 0.75, 100),
        "constant": [1.0] * 100,
        "r2": np.linspace(-1, 0.4, 100),
    }
    page = stage1.MaskedDistillationPage().page(
        Run(
            scalars=scalars,
            results=results,
            steps=100,
            batch=16,
            parameters=5_270_000,
            facts=[("teacher", "DINOv2 <small> & kind")],
            before=[view(0), view(1)],
            after=[view(0), view(1)],
            config="model = dict(type='MaskedDistillation')",
        )
    )
    changes = Changes([("model.backbone.arch", "tiny", "endless" * 40)], [("train_cfg.max_iters", "600", "100")])
    planned = [["", "planned", "happened"], ["steps", "100", "100"]]
    left_out = SkippedSamples([("torn after … bytes", 70)], [f"{'folder/' * 20}{index}.jpg: torn" for index in range(70)])
    about = [("run", "stage1"), ("command", f"tools/train.py {'options' * 60} <b>")]
    return replace(page, about=about, run=run_sections(changes, planned, left_out))


def caption(index: int) -> str:
    """Captions of 4 to 119 words; the first ones are awkward."""
    awkward = ["<b>bold</b> & “quotes” 🦋", "", "שלום עולם, a long picture", "endless" * 60, "word " * 5000]
    return awkward[index] if index < len(awkward) else f"Scene {index}: " + "a red house by the sea " * (index - 4)


def pair_views(count: int, *, noise: float, seed: int = 0) -> list[pairs.PairView]:
    """Pairs whose vectors agree but for some noise, as the loader's batches and the model's predictions bring them."""
    common, views = random(count, 16, seed=seed), []
    for index in range(count):
        shape = (2 + index % 3, 4)
        image = np.random.default_rng(index).integers(0, 256, (14 * shape[0], 56, 3), dtype=np.uint8)
        sides = {
            side: normalize(common[index] + noise * random(16, seed=100 * index + k), dim=0)
            for k, side in enumerate(("image", "text"))
        }
        extra = {"id": f"scene-{index}", "caption": caption(index), "truncated": index > 12}
        tokens = random(shape[0] * 4, 8, seed=index)
        pairs.collect(views, pack_images([patchify(image, 14)], [shape]), [{**sides, **extra, "tokens": tokens}], 3)
    return views


def stage2_page(folder: Path) -> Page:
    """The page of a run of Stage II of 100 steps on 24 pairs."""
    results = Results(folder)
    for step, r1 in ((0, 0.0625), (50, 0.5), (100, 0.84375)):
        ways = {f"stage2/{way}_r{k}": min(1.0, r1 + k / 100) for way in ("t2i", "i2t") for k in (1, 5, 10)}
        metrics = {**ways, "stage2/r1": r1, "stage2/truncated": 0.125, "stage2/openai80_top1": 0.25}
        results.add(step, metrics, protocols={"Retrieval": "retrieval/recall-v1"}, data="24 scenes", images=24)
    ramp = np.linspace(0, 1, 100)
    scalars = {"loss": 9 - 8 * ramp, "loss_sigmoid": 9 - 8 * ramp, "temperature": 0.1 - 0.05 * ramp, "logit_bias": ramp - 10}
    return stage2.ContrastiveLearningPage().page(
        Run(
            scalars={**scalars, "time": [0.5] * 100, "max_seq_len": [64] * 50 + [256] * 50, "lr": ramp, "images_per_s": 80 + ramp},
            results=results,
            steps=100,
            batch=16,
            parameters=5_270_000,
            facts=[("text encoder", "TextTransformer <small> & kind")],
            before=pair_views(24, noise=9.0),
            after=pair_views(24, noise=0.9),
            config="model = dict(type='ContrastiveLearning')",
        )
    )


SIZE = (112, 168)
NEAR, FAR, BELOW = (0.25, 0.1, 0.55, 0.6), (0.7, 0.6, 0.95, 0.9), (0.25, 0.5, 0.55, 1.0)
AWKWARD = "<script>alert(1)</script> & “quotes” שלום 🦋"
"""An answer that a page has to escape."""


def where(task: str, about: str, *boxes: tuple) -> Question:
    return Question(task, f"Where is {about}?", render(boxes, "norm1000", SIZE), boxes, (), "norm1000", SIZE)


def questions() -> list[tuple[Question, str]]:
    """Questions of every task, each with what is said: right, wrong, far too long, and without anything to judge."""
    said = {name: render([box], "norm1000", SIZE) for name, box in (("near", NEAR), ("far", FAR), ("below", BELOW))}
    written = Question("box2ocr", f"What is written in {said['far']}?", "Café 7", (FAR,), (), "norm1000", SIZE)
    region = written._replace(task="box2text", text=f"What is in {said['near']}?", answer="a red house", boxes=(NEAR,))
    count = Question("counting", "How many of these are there: house?", "3")
    shown = Question("global_caption", "Describe this image.", "A red house by the sea. " * 30)
    return [
        (where("text2box", "the red house", NEAR), said["near"]),
        (where("text2box", "the sun", NEAR), f"It is at {said['below']}."),
        (where("text2box", "the sea", FAR), "word " * 1000),
        (where("text2box", "every house", NEAR, FAR), f"{said['near']}, {said['far']}"),
        (where("ocr2box", "the text “<b>Open</b>”", FAR), AWKWARD),
        (where("ocr2box", "the text “שלום עולם”", FAR), said["far"]),
        (written, "Café 7"),
        (written, "Cafe 7"),
        (count, "There are three."),
        (count, "a few"),
        (count, ""),
        (region, "a blue house"),
        (shown, "A red house " + "endless" * 60),
    ]


def answer_views(count: int, *, whole: int = 3, mute: bool = False) -> list[answers.AnswerView]:
    """Images with their questions, as the loader's batches and the model's predictions bring them."""
    views: list[answers.AnswerView] = []
    for index in range(count):
        image = np.full((*SIZE, 3), (40 + 20 * (index % 8), 90, 150), np.uint8)
        image[11:67, 42:92] = 230
        asked, said = zip(*questions()[index % 3 :], strict=True)
        values = {"id": f"scene-{index}", "questions": list(asked), "predictions": ["the"] * len(said) if mute else list(said)}
        answers.collect(views, pack_images([patchify(image, 14)], [(8, 12)]), [values], whole)
    return views


def stage3_page(folder: Path) -> Page:
    """The page of a run of Stage III of 100 steps on 12 images."""
    results = Results(folder)
    tasks = {"text2box_iou50": 48, "ocr2box_iou50": 24, "box2ocr_exact": 24, "counting_exact": 36, "box2text_score": 12}
    for step, share in ((0, 0.0625), (50, 0.25), (100, 0.84375)):
        scores = {f"stage3/{name}": share + place / 100 for place, name in enumerate((*tasks, "global_caption_score"))}
        numbers = {f"stage3/{name.split('_')[0]}_n": float(count) for name, count in tasks.items()}
        metrics = {**scores, **numbers, "stage3/parse_failures": 1 - share, "stage3/local": share + 0.015}
        results.add(step, metrics, protocols={"LocalTasks": "local/iou50-v2; boxes as norm1000"}, data="12 scenes", images=12)
    ramp = np.linspace(0, 1, 100)
    scalars = {"loss": 9 - 8 * ramp, "loss_language": 9 - 8 * ramp, "token_accuracy": ramp, "time": [0.5] * 100, "lr": ramp}
    return stage3.LLMAlignmentPage().page(
        Run(
            scalars=scalars,
            results=results,
            steps=100,
            batch=16,
            parameters=5_270_000,
            facts=[("language model", "HuggingFaceLLM <small> & kind")],
            before=answer_views(12, mute=True),
            after=answer_views(12),
            config="model = dict(type='LLMAlignment')",
        )
    )

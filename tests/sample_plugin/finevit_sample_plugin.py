"""A complete third-party plugin: one component of every kind."""

import re
from collections.abc import Mapping

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from torch import nn

from finevit.contracts import (
    AlignmentLLM,
    BadSample,
    Connector,
    EncoderOutput,
    Head,
    ImageBudget,
    ImageEncoder,
    Record,
    ResolutionSchedule,
    Source,
    Teacher,
    TextEncoder,
)
from finevit.plugins import hookimpl
from finevit.recaption.contracts import Answer, Captioner, Grounder, OCREngine, PhraseExtractor
from finevit.tasks.task import Draft, Task


class MeanEncoder(ImageEncoder):
    """Two linear blocks, pooled by the mean."""

    def __init__(self, *, dim: int = 16, patch: int = 14) -> None:
        super().__init__()
        self.dim, self.depth, self.patch = dim, 2, patch
        self.embed = nn.Linear(3 * patch * patch, dim)
        self.blocks = nn.ModuleList(nn.Linear(dim, dim) for _ in range(self.depth))

    def forward(self, images, *, layers=(), replace=None):
        x = self.embed(images.pixels)
        if replace is not None:
            x = torch.where(replace[0][:, None], replace[1].to(x.dtype), x)
        outputs = [x := x + block(x).relu() for block in self.blocks]
        pooled = torch.stack([tokens.mean(0) for tokens in x.split(list(images.seqlens))])
        return EncoderOutput(x, pooled, tuple(outputs[layer] for layer in layers))

    def get_layer_depth(self, param_name, prefix=""):
        name = param_name.removeprefix(prefix)
        return (0 if name.startswith("embed.") else int(name.split(".")[1]) + 1), self.depth + 1


class BagOfWords(TextEncoder):
    """The mean of the tokens' vectors."""

    def __init__(self, *, dim: int = 16, context: int = 64) -> None:
        super().__init__()
        self.dim, self.context, self.tokenizer, self.vocab = dim, context, "scenes", 1024
        self.table = nn.Embedding(self.vocab, dim)

    def forward(self, texts):
        return torch.stack([tokens.mean(0) for tokens in self.table(texts.tokens).split(list(texts.seqlens))])

    def describe(self):
        return f"a bag of words of width {self.dim}"


class GreyTeacher(Teacher):
    """The brightness of each patch."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.patch = 1, 14

    @torch.no_grad()
    def features(self, images):
        return nn.functional.avg_pool2d(images.mean(1, keepdim=True), self.patch).flatten(2).transpose(1, 2)

    def describe(self):
        return "brightness of patches"


class LinearConnector(Connector):
    """Every patch is a visual token."""

    def __init__(self, *, dim: int, llm_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, llm_dim)

    def forward(self, tokens, images):
        return self.project(tokens)

    def visual(self, images):
        return list(images.seqlens)


class AbsoluteHead(Head):
    """Stage I by the absolute distance, of all patches."""

    def __init__(self, *, dim: int, target_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, target_dim)

    def loss(self, tokens, target, mask):
        return {"loss_absolute": (self.project(tokens) - target).abs().mean()}

    def observed(self, target):
        return target

    def features(self, tokens):
        return self.project(tokens)


class EchoLLM(AlignmentLLM):
    """Predicts the token that it reads."""

    def __init__(self, *, dim: int = 16) -> None:
        super().__init__()
        self.dim, self.context, self.tokenizer = dim, 512, "scenes-chat"
        self.table = nn.Embedding(1024, dim)

    def embed(self, tokens):
        return self.table(tokens)

    def forward(self, embeddings, dialogues):
        return embeddings

    def logits(self, hidden):
        return hidden @ self.table.weight.T

    def generate(self, prompts, *, max_new_tokens, stop):
        return [[int(self.logits(prompt[-1:]).argmax())] * max_new_tokens for prompt in prompts]

    def describe(self):
        return "an echo"


class SawtoothResolution(ResolutionSchedule):
    """The side grows by 28 pixels a step from ``low``, and starts again every ``period`` steps."""

    def __init__(self, *, low: int, period: int) -> None:
        self.low, self.period = low, period

    def __call__(self, step: int) -> ImageBudget:
        side = self.low + 28 * (step % self.period)
        return ImageBudget(side * side)


class GreyImages(Source):
    """Grey squares, each with a caption."""

    def __init__(self, *, count: int = 8) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Record:
        return Record(image=np.full((56, 56, 3), 8 * index, np.uint8), captions={"long": f"grey number {index}"}, id=str(index))

    def describe(self) -> str:
        return f"{self.count} grey squares"


class Negative:
    """The negative of a picture."""

    def __call__(self, sample: dict) -> dict:
        return {**sample, "image": 255 - sample["image"]}


class FirstWord(Task):
    """What a caption begins with."""

    templates = ("With which word does the description of this image begin?",)
    scores, protocols = ("exact",), ("first-word/v1",)
    title, measure, figure = "First word", "right where it is the word", ("First word", "exact")

    def drafts(self, material):
        for word in material.caption.split()[:1]:
            yield Draft(self.name, answer=word)

    def score(self, question, said):
        return {"exact": float(said.strip() == question.answer), "unread": float(not said.strip())}


class TokenNorm(BaseMetric):
    """The mean length of the tokens' vectors."""

    def process(self, data_batch, data_samples):
        self.results += [float(sample["tokens"].norm(dim=1).mean()) for sample in data_samples]

    def compute_metrics(self, results):
        return {"token_norm": sum(results) / len(results)}


class CountingHook(Hook):
    """Counts the steps."""

    steps = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps += 1


class BrightnessCaptioner(Captioner):
    """Says how bright an image, or the part that is asked for, is."""

    model = "brightness@1"

    def settings(self):
        return {}

    def answer(self, request):
        try:
            brightness = request.pictures[-1].pixels().mean()
        except BadSample as error:
            return Answer("unreadable", detail=str(error))
        return Answer("ok", f"a picture of brightness {brightness:.0f}")


class TheWords(PhraseExtractor):
    """A determiner and the word behind it."""

    model = "determiners@1"

    def settings(self):
        return {}

    def answer(self, request):
        return Answer("ok", [list(found.span()) for found in re.finditer(r"\b(?:a|an|the) \w+", request.text, re.IGNORECASE)])


class DarkestBox(Grounder):
    """Whatever is asked for is where pixels are not white."""

    model = "not-white@1"

    def __init__(self, *, white: int = 255) -> None:
        self.white = white

    def settings(self):
        return {"white": self.white}

    def answer(self, request):
        try:
            rows, columns = np.nonzero(request.picture.pixels().min(axis=2) < self.white)
            height, width = request.picture.pixels().shape[:2]
        except BadSample as error:
            return Answer("unreadable", detail=str(error))
        box = [
            float(each)
            for each in (columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height)
        ]
        return Answer("ok", [{"phrase": index, "box": box, "score": 1.0} for index in range(len(request.phrases))])


class NoText(OCREngine):
    """Reads nothing, of any image that can be decoded."""

    model = "nothing@1"

    def settings(self):
        return {}

    def answer(self, request):
        try:
            request.picture.pixels()
        except BadSample as error:
            return Answer("unreadable", detail=str(error))
        return Answer("ok", [])


def _contribution(name: str, component: type):
    def contribute() -> Mapping[str, type]:
        return {component.__name__: component}

    contribute.__name__ = contribute.__qualname__ = name
    return hookimpl(contribute)


finevit_backbones = _contribution("finevit_backbones", MeanEncoder)
finevit_text_encoders = _contribution("finevit_text_encoders", BagOfWords)
finevit_teachers = _contribution("finevit_teachers", GreyTeacher)
finevit_connectors = _contribution("finevit_connectors", LinearConnector)
finevit_heads = _contribution("finevit_heads", AbsoluteHead)
finevit_alignment_llms = _contribution("finevit_alignment_llms", EchoLLM)
finevit_sources = _contribution("finevit_sources", GreyImages)
finevit_transforms = _contribution("finevit_transforms", Negative)
finevit_tasks = _contribution("finevit_tasks", FirstWord)
finevit_metrics = _contribution("finevit_metrics", TokenNorm)
finevit_hooks = _contribution("finevit_hooks", CountingHook)
finevit_captioners = _contribution("finevit_captioners", BrightnessCaptioner)
finevit_phrase_extractors = _contribution("finevit_phrase_extractors", TheWords)
finevit_grounders = _contribution("finevit_grounders", DarkestBox)
finevit_ocr_engines = _contribution("finevit_ocr_engines", NoText)


@hookimpl
def finevit_resolution_schedules() -> Mapping[str, type[ResolutionSchedule]]:
    return {"SawtoothResolution": SawtoothResolution}

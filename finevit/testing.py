"""For tests of this project and of plugins: packs, deterministic weights, and checks of the contracts."""

import math
import pickle
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from torch import nn

from finevit.boxes import render
from finevit.contracts import (
    PATCH,
    AlignmentLLM,
    Connector,
    Head,
    ImageBudget,
    ImageEncoder,
    Question,
    Record,
    ResolutionSchedule,
    Source,
    Teacher,
    TextEncoder,
)
from finevit.packing.images import cu_seqlens, pack_images, select_images
from finevit.packing.packs import IGNORE_INDEX, PackedDialogues, PackedImages, PackedTexts
from finevit.recaption.checking import check_captioner, check_grounder, check_ocr_engine, check_phrase_extractor  # noqa: F401
from finevit.tasks.task import Material, Task


def random_pack(grids: Sequence[tuple[int, int]], *, patch: int = PATCH, seed: int = 0) -> PackedImages:
    """A pack of random images with the given grids; ``pixels`` are float64 in [-0.5, 0.5]."""
    rng = np.random.default_rng(seed)
    images = pack_images([rng.integers(0, 256, (r * c, 3 * patch * patch), dtype=np.uint8) for r, c in grids], grids)
    return images._replace(pixels=images.pixels.double() / 255 - 0.5)


@torch.no_grad()
def fill(module: nn.Module, *, seed: int = 1, scale: float = 0.3) -> None:
    """Gives every parameter random values, large enough that each part of the computation shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.copy_(noise * (scale if parameter.ndim > 1 else 1.0))


@torch.no_grad()
def check_image_encoder(encoder: ImageEncoder) -> None:
    """Asserts the contract of :class:`~finevit.contracts.ImageEncoder` on images of 2 x 4 and 6 x 2 patches."""
    encoder.eval()
    images = random_pack([(2, 4), (6, 2)], patch=encoder.patch)
    images = images._replace(pixels=images.pixels.float())
    output = encoder(images, layers=(0, -1))
    shapes = [tuple(each.shape) for each in (output.tokens, output.pooled, *output.layers)]
    expected = [(20, encoder.dim), (2, encoder.dim), (20, encoder.dim), (20, encoder.dim)]
    assert shapes == expected, f"tokens, pooled and two layers are {shapes}, expected {expected}"
    assert torch.allclose(output.layers[1], output.tokens, atol=1e-5), "layers are through the last norm: the last one is tokens"
    alone = encoder(select_images(images, [False, True]))
    assert torch.allclose(alone.tokens, output.tokens[8:], atol=1e-4), "images of a pack do not see each other"
    assert torch.allclose(alone.pooled, output.pooled[1:], atol=1e-4), "an image is pooled by itself"
    replace = (torch.arange(20) == 0, torch.full((encoder.dim,), 0.5))
    masked = encoder(images, replace=replace).tokens
    assert not torch.allclose(masked[:8], output.tokens[:8], atol=1e-5), "replace: a masked patch enters as the token"
    other = images.pixels.index_fill(0, torch.tensor([0]), 1.0)
    same = encoder(images._replace(pixels=other), replace=replace).tokens
    assert torch.allclose(same, masked, atol=1e-5), "replace: nothing is seen of the pixels of a masked patch"
    for name, _ in encoder.named_parameters():
        layer, layers = encoder.get_layer_depth(name)
        assert 0 <= layer < layers, f"get_layer_depth({name!r}) is {layer} of {layers} layers"


def check_teacher(teacher: Teacher) -> None:
    """Asserts the contract of :class:`~finevit.contracts.Teacher` on a grid of 2 x 3 patches."""
    images = torch.rand(2, 3, 2 * teacher.patch, 3 * teacher.patch, generator=torch.Generator().manual_seed(0))
    features = teacher.features(images)
    assert features.shape == (2, 6, teacher.dim), f"features: {tuple(features.shape)}, expected (2, 6, {teacher.dim})"
    assert not features.requires_grad, "features need no gradient"
    assert torch.isfinite(features).all(), "features are finite"
    assert torch.allclose(features[1], teacher.features(images[1:])[0], atol=1e-4), "images of a batch do not see each other"
    assert teacher.describe(), "describe() says what the teacher is"


@torch.no_grad()
def check_text_encoder(encoder: TextEncoder) -> None:
    """Asserts the contract of :class:`~finevit.contracts.TextEncoder` on texts of 3, 1 and 5 tokens."""
    encoder.eval()
    lengths = [min(length, encoder.context) for length in (3, 1, 5)]
    texts = random_texts(lengths, max_seq_len=encoder.context, vocab=encoder.vocab)
    vectors = encoder(texts)
    assert vectors.shape == (3, encoder.dim), f"vectors: {tuple(vectors.shape)}, expected (3, {encoder.dim})"
    alone = encoder(random_texts(lengths[:1], max_seq_len=encoder.context)._replace(tokens=texts.tokens[: lengths[0]]))
    assert torch.allclose(alone[0], vectors[0], atol=1e-4), "texts of a pack do not read each other"
    assert encoder.describe(), "describe() says what the encoder is"


@torch.no_grad()
def check_connector(connector: Connector, *, dim: int, llm_dim: int) -> None:
    """Asserts the contract of :class:`~finevit.contracts.Connector` on images of 2 x 4 and 6 x 2 patches."""
    connector.eval()
    images, tokens = random_pack([(2, 4), (6, 2)]), torch.randn(20, dim, generator=torch.Generator().manual_seed(0))
    counts, visual = connector.visual(images), connector(tokens, images)
    assert visual.shape == (sum(counts), llm_dim), f"visual tokens: {tuple(visual.shape)}, expected ({sum(counts)}, {llm_dim})"
    alone = connector(tokens[8:], select_images(images, [False, True]))
    assert torch.allclose(alone, visual[counts[0] :], atol=1e-4), "images of a pack do not see each other"


def check_head(head: Head, *outputs: Any) -> None:
    """Asserts the contract of :class:`~finevit.contracts.Head` on what its stage gives to ``loss``."""
    losses = head.loss(*outputs)
    named = {name: value for name, value in losses.items() if name.startswith("loss_")}
    assert named, f"losses have names that begin with loss_; there are {', '.join(losses) or 'none'}"
    for name, value in named.items():
        assert value.ndim == 0, f"{name} is one number"
        assert torch.isfinite(value), f"{name} is finite"
        assert value.requires_grad, f"{name} has a gradient"


def check_source(source: Source) -> None:
    """Asserts the contract of :class:`~finevit.contracts.Source` on its first and last record; it travels to workers."""
    assert len(source) > 0, "a source has records"
    for index in {0, len(source) - 1}:
        record = source[index]
        assert isinstance(record, Record), f"source[{index}] is a Record"
        assert pickle.dumps(pickle.loads(pickle.dumps(source))[index]) == pickle.dumps(record), (
            "a worker's copy has the same records"
        )
        height_width = source.size(index)
        assert height_width is None or min(height_width) > 0, "size() is height and width, or None"
    assert source.describe(), "describe() says what the source is"


def check_transform(transform: Callable[[dict], dict | None], sample: dict) -> None:
    """Asserts that a transform makes a sample of one, all its chance from ``sample["rng"]``, and changes nothing in place."""
    before = pickle.dumps(sample)
    made = [transform({**sample, "rng": np.random.default_rng(0)}) for _ in range(2)]
    for each in made:
        assert isinstance(each, dict), "a transform returns a sample"
        each.pop("rng", None)
    assert pickle.dumps(made[0]) == pickle.dumps(made[1]), "the same rng makes the same sample"
    assert before == pickle.dumps(sample), "what the sample held is not changed in place"


def check_task(task: Task, record: Record) -> None:
    """Asserts that a task asks something of a record, and that of each question the true answer is right and none is not."""
    material = Material(regions=record.regions, caption=next(iter(record.captions.values()), ""), facts=record.facts)
    drafts, style, size = list(task.drafts(material)), "norm1000", (224, 224)
    assert drafts, "a record that has what the task needs gives questions"
    for draft in drafts:
        written = render(draft.boxes, style, size) if draft.boxes else ""
        answer = draft.answer or written
        text = task.templates[0].format(about=draft.about, box=written)
        question = Question(task.name, text, answer, draft.boxes, (), style, size)
        right, wrong = task.score(question, answer), task.score(question, "")
        assert list(right) == list(wrong) == [*task.scores, "unread"], f"scores are {(*task.scores, 'unread')}, not {list(right)}"
        assert right[task.scores[0]] == 1, f"the true answer {answer!r} to {text!r} is right"
        assert wrong[task.scores[0]] == 0, f"no answer to {text!r} is wrong"


def check_metric(metric: BaseMetric, outputs: Sequence[dict]) -> None:
    """Asserts that a metric makes finite numbers of what a stage predicts."""
    metric.process({}, outputs)
    metrics = metric.evaluate(len(outputs))
    assert metrics, "a metric returns numbers by name"
    assert all(math.isfinite(float(value)) for value in metrics.values()), f"finite numbers, not {metrics}"


def check_hook(hook: Hook) -> None:
    """Asserts that every moment a hook has a method for exists in MMEngine, and that MMEngine's arguments fit it."""
    for name in dir(type(hook)):
        if name.startswith(("before_", "after_")):
            known = getattr(Hook, name, None)
            assert known is not None, f"{type(hook).__name__}.{name} is never called: MMEngine has no such moment"
            signature(getattr(type(hook), name)).bind(*signature(known).parameters)


def check_resolution_schedule(schedule: ResolutionSchedule, *, steps: int = 100) -> None:
    """Asserts the contract of :class:`~finevit.contracts.ResolutionSchedule`: a pure function of the step."""
    budgets = [schedule(step) for step in range(steps)]
    assert all(isinstance(budget, ImageBudget) and budget.pixels > 0 for budget in budgets), "every step has an ImageBudget"
    assert budgets == [schedule(step) for step in range(steps)], "the same step always gives the same budget"


def random_texts(lengths: Sequence[int], *, max_seq_len: int, vocab: int = 1000, seed: int = 0) -> PackedTexts:
    """A pack of random token ids below ``vocab`` with the given lengths."""
    tokens = torch.randint(vocab, (sum(lengths),), generator=torch.Generator().manual_seed(seed))
    return PackedTexts(tokens, cu_seqlens(lengths), tuple(lengths), max_seq_len)


def random_dialogues(parts: Sequence[tuple[int, Sequence[tuple[int, int]]]], *, vocab: int, seed: int = 0) -> PackedDialogues:
    """Dialogues of random token ids without images: of each image the tokens of its prefix, and of each segment those of its
    question and of its answer."""
    rng = np.random.default_rng(seed)
    lengths = tuple(prefix + sum(map(sum, segments)) for prefix, segments in parts)
    tokens = torch.from_numpy(rng.integers(0, vocab, sum(lengths)))
    columns: dict[str, list[int]] = {"supervised": [], "position_ids": [], "segment_ids": []}
    for prefix, segments in parts:
        for number, (question, answer) in enumerate([(prefix, 0), *segments]):
            columns["supervised"] += [0] * question + [1] * answer
            columns["position_ids"] += range(prefix, prefix + question + answer) if number else range(prefix)
            columns["segment_ids"] += [number] * (question + answer)
    supervised, position_ids, segment_ids = (torch.tensor(column) for column in columns.values())
    return PackedDialogues(
        tokens=tokens,
        labels=tokens.where(supervised == 1, IGNORE_INDEX),
        position_ids=position_ids,
        segment_ids=segment_ids,
        cu_seqlens=cu_seqlens(lengths),
        seqlens=lengths,
        visual=(0,) * len(parts),
        answers=tuple(len(segments) for _, segments in parts),
        supervised=sum(columns["supervised"]),
    )


@torch.no_grad()
def check_alignment_llm(llm: AlignmentLLM, *, vocab: int = 200, tolerance: float = 1e-4) -> None:
    """Asserts the contract of :class:`~finevit.contracts.AlignmentLLM`: shapes, who reads whom, and greedy generation."""
    llm.eval()
    whole = random_dialogues([(5, [(3, 4), (2, 3)]), (2, [(1, 2)])], vocab=vocab)
    hidden = llm(llm.embed(whole.tokens), whole)
    assert hidden.shape[0] == len(whole.tokens), "one output for each token"
    assert llm.logits(hidden).shape[1] >= vocab, "a logit for each token id"

    def moved(index: int) -> list[int]:
        other = whole.tokens.clone()
        other[index] = (other[index] + 1) % vocab
        change = (llm(llm.embed(other), whole) - hidden).abs().amax(1)
        return (change > tolerance).nonzero()[:, 0].tolist()

    assert moved(2) == list(range(2, 17)), "the prefix is read by what follows it and by all segments, of its image alone"
    assert moved(6) == list(range(6, 12)), "a segment is read by itself alone"
    prompt = llm.embed(whole.tokens[:8])
    (short, long) = llm.generate([prompt, llm.embed(whole.tokens[17:20])], max_new_tokens=5, stop=vocab + 10_000)
    assert len(short) == len(long) == 5, "as many tokens as asked for, where no closing token comes"
    read = whole.tokens[:8].tolist()
    for token in short:
        single = random_dialogues([(len(read) - 1, [(1, 0)])], vocab=vocab)._replace(tokens=torch.tensor(read))
        best = llm.logits(llm(llm.embed(single.tokens), single)[-1:]).argmax().item()
        assert token == best, "what is generated is what the outputs say, one token after the other"
        read.append(token)
    assert llm.generate([prompt], max_new_tokens=5, stop=short[2])[0] == short[: short.index(short[2])], (
        "the closing token is not part of it"
    )
    assert llm.describe(), "describe() says what the model is"

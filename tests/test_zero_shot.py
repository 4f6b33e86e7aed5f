"""Zero-shot classification: prompts, classifiers and accuracies against open_clip's and CLIP_benchmark's own; metric and hook."""

import math
from pathlib import Path

import pytest
import timm
import torch
from mmengine.runner import Runner
from torch.nn.functional import normalize

from finevit.evaluation.contrastive_metrics import ZeroShot
from finevit.evaluation.zero_shot import (
    accuracy,
    class_ranks,
    classifier,
    find_protocol,
    imagenet,
    prompt_names,
    prompts,
    protocols,
)

NAMES = [
    "St. Bernard",
    "Band-Aid",
    "Geoffroy's spider monkey",
    "ram (adult male sheep)",
    "tench",
    "CD player",
    "paint_brush, brush",
]


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


class Tensor(torch.Tensor):
    """Both peers make a number of an array of one number, which NumPy 2.4 refuses: here such an array has no axes."""

    def numpy(self):
        return super().numpy().squeeze()


@pytest.fixture(scope="module")
def open_clip():
    import open_clip

    return open_clip


@pytest.fixture(scope="module")
def peer(open_clip):
    """A small model of open_clip's, its tokenizer, and both as one function of texts."""
    torch.manual_seed(0)
    text = {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    model = open_clip.CLIP(16, {"image_size": 28, "layers": 1, "width": 32, "patch_size": 14, "head_width": 16}, text).eval()
    tokenizer = open_clip.SimpleTokenizer(context_length=32)
    return model, tokenizer, lambda texts: model.encode_text(tokenizer(list(texts)))


def test_data_equals_that_of_open_clip_and_timm(open_clip):
    assert list(imagenet().values()) == list(open_clip.IMAGENET_CLASSNAMES)
    synsets = Path(timm.__file__).parent / "data/_info/imagenet_synsets.txt"
    assert list(imagenet()) == synsets.read_text().split() == sorted(imagenet())
    expected = [[template(name) for template in open_clip.OPENAI_IMAGENET_TEMPLATES] for name in NAMES]
    assert prompts(protocols()["openai80"], NAMES) == expected


def test_canonical_prompts_by_hand():
    """As big_vision writes them: the plain name is the last of 81, of several names the first counts."""
    found = prompts(protocols()["siglip81-canonical"], NAMES)
    assert {len(each) for each in found} == {81}
    plain = ["st bernard", "bandaid", "geoffroys spider monkey", "ram adult male sheep", "tench", "cd player", "paint brush"]
    assert [each[-1] for each in found] == plain
    assert found[1][:2] == ["a bad photo of a bandaid", "a photo of many bandaid"]
    assert "a closeup photo of the cd player" in found[5]


def test_prompts_of_the_data_set_itself():
    protocol = find_protocol("own", ["a blurry {c}.", "{c}"])
    assert prompts(protocol, ["red fox", "{c}"]) == [["a blurry red fox.", "red fox"], ["a blurry {c}.", "{c}"]]


def test_unknown_protocols_are_explained():
    with pytest.raises(ValueError, match=r"'openai8' is unknown.*openai80"):
        ZeroShot(protocols=["openai8"])
    with pytest.raises(ValueError, match=r"brings no prompts along; choose one of openai80"):
        find_protocol("own")
    with pytest.raises(ValueError, match=r"ZeroShot.protocols='openai80': give a list"):
        ZeroShot(protocols="openai80")


def test_wordnet_ids_get_names():
    assert prompt_names(["n01440764", "n02109525"]) == ["tench", "St. Bernard"]
    assert prompt_names(["cat", "n01440764"]) == ["cat", "n01440764"]
    with pytest.raises(ValueError, match=r"1 of 2 WordNet ids have no name here \(n00000001\).*ZeroShot.class_names"):
        prompt_names(["n01440764", "n00000001"])


def test_classifier_equals_that_of_open_clip(open_clip, peer):
    model, tokenizer, encode = peer
    expected = open_clip.build_zero_shot_classifier(model, tokenizer, NAMES, open_clip.OPENAI_IMAGENET_TEMPLATES).T
    torch.testing.assert_close(classifier(encode, prompts(protocols()["openai80"], NAMES)), expected, rtol=0, atol=1e-6)


def test_classifier_equals_that_of_clip_benchmark(clip_benchmark, peer):
    model, tokenizer, encode = peer
    templates = ["a photo of a {c}.", "{c}", "the {c}, from afar"]
    module = clip_benchmark("zeroshot_classification")
    expected = module.zero_shot_classifier(model, tokenizer, NAMES, templates, "cpu", amp=False).T
    found = classifier(encode, prompts(find_protocol("own", templates), NAMES))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_accuracies_equal_those_of_clip_benchmark_and_open_clip(clip_benchmark):
    """CLIP_benchmark's whole evaluation, with classes of unequal sizes; open_clip's counts."""
    from open_clip_train.zero_shot import accuracy as correct

    weights = unit(12, 16)
    labels = (torch.rand(300, generator=torch.Generator().manual_seed(1)).square() * 12).long()
    image = normalize(weights[labels] + 1.2 * unit(300, 16, seed=2), dim=-1)

    class Encoder:
        encode_image = staticmethod(lambda batch: batch)
        encode_text = staticmethod(lambda tokens: weights[tokens])

    class Batches(list):
        dataset = type("Classes", (), {"classes": [str(label) for label in range(12)]})

    expected = clip_benchmark("zeroshot_classification").evaluate(
        Encoder(),
        Batches(zip(image.as_subclass(Tensor).split(64), labels.split(64), strict=True)),
        lambda texts: torch.tensor([int(text) for text in texts]),
        Batches.dataset.classes,
        ["{c}"],
        "cpu",
        amp=False,
    )
    found = accuracy(class_ranks(image, weights, labels), labels)
    assert found == pytest.approx((expected["acc1"], expected["acc5"], expected["mean_per_class_recall"]), abs=1e-9)
    assert found[:2] == pytest.approx(
        [n / 300 for n in correct((image @ weights.T).as_subclass(Tensor), labels, topk=(1, 5))], abs=1e-9
    )
    assert 0.2 < found.balanced < found.top5 < 1


def test_of_equal_classes_the_first_wins():
    """Two classes of one name, as in ImageNet."""
    weights = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    image = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    assert class_ranks(image, weights, torch.arange(4)).tolist() == [4, 1, 2, 3]


def test_broken_images_are_wrong():
    ranks = class_ranks(torch.full((3, 4), math.nan), unit(9, 4), torch.tensor([0, 4, 8]))
    assert ranks.tolist() == [9, 9, 9]


def test_the_metric_by_hand():
    metric = ZeroShot(protocols=["own"], class_names=["left", "right"])
    vectors = {"a left": [1.0, 0.0], "to left": [0.6, 0.8], "a right": [-1.0, 0.0], "to right": [-0.6, -0.8]}
    metric.prepare(lambda texts: torch.tensor([vectors[text] for text in texts]), [], ["a {c}", "to {c}"])
    images = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [1.0, 1.0], [0.9, 0.1]])
    samples = [
        {"id": f"{i}", "image": image, "label": label} for i, (image, label) in enumerate(zip(images, (0, 0, 0, 1), strict=True))
    ]
    metric.process({}, samples[:3])
    metric.process({}, [samples[3], samples[0]])  # one image comes twice
    assert metric.evaluate(5) == {"stage2/own_top1": 0.5, "stage2/own_balanced": pytest.approx(1 / 3)}
    with pytest.raises(ValueError, match=r"x: label 2 is not one of the 2 classes"):
        metric.process({}, [{"id": "x", "image": images[0], "label": 2}])


def test_the_metric_says_what_it_lacks():
    with pytest.raises(RuntimeError, match=r"add dict\(type='ZeroShotHook'\) to custom_hooks"):
        ZeroShot().process({}, [])
    with pytest.raises(ValueError, match=r"names no classes.*ZeroShot.class_names"):
        ZeroShot().prepare(lambda texts: unit(len(texts), 4), [])
    with pytest.raises(ValueError, match="2 names for the 3 classes"):
        ZeroShot(class_names=["a", "b"]).prepare(lambda texts: unit(len(texts), 4), ["x", "y", "z"])


def test_a_run_classifies_scenes_by_its_current_weights(tmp_path):
    """The whole way: scenes with their labels, the hook, the metric; by hand from the model's own vectors."""
    runner = scenes_run(tmp_path)
    first = runner.test()
    assert first["stage2/scenes_top1"] == pytest.approx(by_hand(runner), abs=1e-9)
    with torch.no_grad():
        for parameter in runner.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)), alpha=0.3)
    assert runner.test()["stage2/scenes_top1"] == pytest.approx(by_hand(runner), abs=1e-9)
    assert 0 <= first["stage2/scenes_top1"] < first["stage2/scenes_top5"] <= 1
    metric = runner.test_evaluator.metrics[0]
    assert metric.protocol == "zero-shot/scenes-v1"


def scenes_run(folder: Path) -> Runner:
    dataset = {
        "type": "NativeImages",
        "source": {"type": "Scenes", "split": "val", "length": 24, "max_side": 64},
        "transforms": [{"type": "ResizeToBudget"}, {"type": "Patchify"}, {"type": "Label"}],
        "pixels": 56 * 56,
        "max_seq_len": 16,
    }
    torch.manual_seed(0)
    return Runner(
        model={
            "type": "ContrastiveLearning",
            "backbone": {"type": "FineViT", "arch": {"depth": 1, "dim": 32, "heads": 2, "mlp_dim": 48}},
            "text_encoder": {"type": "TextTransformer", "depth": 1, "dim": 16, "heads": 2, "context": 32},
            "head": {"type": "SigmoidHead", "embed_dim": 8},
        },
        work_dir=str(folder),
        test_dataloader={
            "batch_size": 8,
            "dataset": dataset,
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "collate_fn": {"type": "finevit.pack_evaluation", "keys": ["id", "label"]},
        },
        test_cfg={"type": "TestLoop"},
        test_evaluator={"type": "ZeroShot", "protocols": ["scenes"]},
        custom_hooks=[{"type": "ZeroShotHook"}],
        default_hooks={"logger": None, "checkpoint": None, "timer": None, "sampler_seed": None, "param_scheduler": None},
        default_scope="finevit",
        experiment_name=folder.name,
        log_level="ERROR",
    )


def by_hand(runner: Runner) -> float:
    from finevit.hub.tokenizers import load_tokenizer
    from finevit.packing.texts import pack_texts

    model, dataset = runner.model.eval(), runner.test_dataloader.dataset
    weights = []
    with torch.no_grad():
        for own in prompts(protocols()["scenes"], dataset.source.classes):
            ids, _ = load_tokenizer("scenes")(own, 16)
            weights.append(normalize(model.embed_texts(pack_texts(ids, 16)).mean(0), dim=-1))
        right = []
        for batch in runner.test_dataloader:
            images = model.embed_images(model.data_preprocessor(batch)["images"])
            right += ((images @ torch.stack(weights).T).argmax(1) == torch.tensor(batch["label"])).tolist()
    return sum(right) / len(right)


def test_the_label_of_a_scene_is_its_largest_object():
    from finevit.scenes import Scenes

    source = Scenes(level="medium", split="val", length=6)
    for record in (source[i] for i in range(6)):
        classes = torch.from_numpy(record.label_map).long()
        objects = [region for region in record.regions if region.kind == "object"]
        if len({region.class_id for region in objects}) == len(objects):  # else the map does not tell the objects apart
            assert record.facts["label"] == int(classes[classes >= 0].bincount().argmax())
        assert record.facts["counts"][source.classes[record.facts["label"]]] > 0

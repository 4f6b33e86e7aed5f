"""Explained variance, the linear probe, their MMEngine metrics, and results.json."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from finevit.evaluation.functional import deviations, explained_variance, linear_probe, merged
from finevit.evaluation.metrics import ExplainedVariance, PatchProbe
from finevit.evaluation.results import Results


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def blobs(count: int, classes: int, seed: int, dim: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))
    return 6 * random(classes, dim, seed=99)[labels] + random(count, dim, seed=seed), labels


def test_r2_by_hand():
    target = torch.tensor([[0.0, 10.0], [2.0, 10.0], [4.0, 13.0]])
    prediction = torch.tensor([[1.0, 10.0], [2.0, 11.0], [4.0, 11.0]])
    # means 2 and 11: deviations 4 + 0 + 4 and 1 + 1 + 4 = 14; errors 1 and 1 + 4 = 6
    assert explained_variance(prediction, target) == pytest.approx(1 - 6 / 14, abs=1e-12)


def test_r2_is_one_for_the_target_and_zero_for_its_mean():
    target = random(50, 8) + 100
    assert explained_variance(target, target) == 1
    assert explained_variance(target.mean(0).expand_as(target), target) == pytest.approx(0, abs=1e-9)


def test_r2_of_a_constant_target_is_not_a_number():
    assert math.isnan(explained_variance(random(5, 2), torch.ones(5, 2)))


@pytest.mark.parametrize("sizes", [(1000,), (1, 0, 400, 599), (500, 500), tuple([100] * 10)])
def test_streamed_r2_equals_the_direct_one_even_with_large_means(sizes):
    target = random(1000, 16).double() * 3 + 1e4
    prediction = target + random(1000, 16, seed=1)
    direct = 1 - (prediction - target).square().sum() / (target - target.mean(0)).square().sum()
    parts = [deviations(p, t) for p, t in zip(prediction.split(sizes), target.split(sizes), strict=True)]
    assert merged(parts).r2() == pytest.approx(float(direct), abs=1e-12)
    assert merged(parts[::-1]).r2() == pytest.approx(float(direct), abs=1e-12)


def test_probe_names_separable_blobs():
    score = linear_probe(*blobs(300, 5, 1), *blobs(200, 5, 2), classes=5)
    assert score == (1.0, 1.0)


def test_probe_of_shuffled_labels_is_near_chance():
    (train_x, train_y), (test_x, test_y) = blobs(2000, 4, 1), blobs(2000, 4, 2)
    shuffled = train_y[torch.randperm(2000, generator=torch.Generator().manual_seed(0))]
    assert linear_probe(train_x, shuffled, test_x, test_y, classes=4).accuracy == pytest.approx(0.25, abs=0.1)


def test_probe_does_not_care_for_scale_and_offset_and_is_deterministic():
    (train_x, train_y), (test_x, test_y) = blobs(200, 6, 1, dim=4), blobs(200, 6, 2, dim=4)
    train_x, test_x = train_x + 8 * random(200, 4, seed=3), test_x + 8 * random(200, 4, seed=4)
    first = linear_probe(train_x, train_y, test_x, test_y, classes=6)
    assert first.accuracy < 0.95
    assert linear_probe(train_x, train_y, test_x, test_y, classes=6) == first
    scaled = linear_probe(100 * train_x + 7, train_y, 100 * test_x + 7, test_y, classes=6)
    assert scaled.accuracy == pytest.approx(first.accuracy, abs=0.011)


def test_balanced_accuracy_counts_classes_not_patches():
    train_x, train_y = torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])
    test_x = torch.tensor([[-1.0]] * 9 + [[-1.0]])
    score = linear_probe(train_x, train_y, test_x, torch.tensor([0] * 9 + [1]), classes=2)
    assert score == (pytest.approx(0.9), pytest.approx(0.5))


def test_probe_needs_patches_in_both_sets():
    with pytest.raises(ValueError, match="got 3 to train and 0 to test on"):
        linear_probe(random(3, 2), torch.zeros(3).long(), random(0, 2), torch.zeros(0).long(), classes=1)


def test_probe_leaves_the_random_stream_and_gradient_mode_alone():
    state = torch.get_rng_state()
    with torch.no_grad():
        linear_probe(*blobs(50, 2, 1), *blobs(50, 2, 2), classes=2)
    assert torch.equal(torch.get_rng_state(), state)


def sample(image: int, *, labelled: bool = True) -> dict:
    """An image whose tokens tell the class, and the image: even ones and odd ones by different features."""
    labels = torch.tensor([-1, 0, 1, 2, 0, 1, 2])
    tokens = torch.zeros(7, 4)
    tokens[range(1, 7), labels[1:]] = 1.0
    target = tokens.roll(image % 2, dims=1) if image % 2 else tokens
    values = {"tokens": tokens, "target": target + 1, "prediction": target + 1, "mask": torch.arange(7) % 2 == 0}
    return {**values, "labels": labels} if labelled else values


def random_like(values: dict, seed: int) -> torch.Tensor:
    return torch.randn(values["target"].shape, generator=torch.Generator().manual_seed(seed))


def evaluated(metric, samples: list[dict]) -> dict:
    for one in samples:
        metric.process(None, [one])
    return metric.evaluate(len(samples))


def test_explained_variance_metric_looks_at_masked_patches_only():
    samples = [sample(image) for image in range(4)]
    for one in samples:
        one["prediction"] = torch.where(one["mask"][:, None], one["prediction"], torch.full((7, 4), 1e6))
    assert evaluated(ExplainedVariance(), samples) == {"stage1/r2": 1.0}


def test_probe_metric_splits_by_image_and_knows_the_teacher():
    # the teacher's features tell the class in one way in even images and in another way in odd ones: trained on even images, a
    # probe must fail on the odd ones; with patches of one image on both sides of the split it could not
    values = evaluated(PatchProbe(), [sample(image) for image in range(8)])
    assert values["stage1/probe"] == values["stage1/probe_balanced"] == 1.0
    assert values["stage1/probe_teacher"] <= 1 / 3 + 1e-6


def test_the_teacher_is_probed_once():
    metric = PatchProbe()
    first = evaluated(metric, [sample(image) for image in range(4)])
    metric.process(None, [sample(0)])
    assert "target" not in metric.results[0]
    metric.results.clear()
    assert evaluated(metric, [sample(image) for image in range(4)]) == first
    assert "stage1/probe_teacher" not in evaluated(PatchProbe(teacher=False), [sample(image) for image in range(4)])


@pytest.mark.parametrize("metric", [ExplainedVariance, PatchProbe])
def test_an_image_that_stands_in_for_a_damaged_one_counts_once(metric):
    """The loader replaces it by another of the set, which comes a second time."""
    samples = [{**sample(image), "id": str(image), "prediction": random_like(sample(image), image)} for image in range(6)]
    wanted = evaluated(metric(), samples)
    assert evaluated(metric(), [*samples, samples[2], samples[4]]) == pytest.approx(wanted)


def test_no_labels_no_probe():
    assert evaluated(PatchProbe(), [sample(image, labelled=False) for image in range(4)]) == {}
    assert evaluated(PatchProbe(), [sample(0)]) == {}


def record(results: Results, iteration: int, value: float) -> None:
    results.add(iteration, {"stage1/r2": value}, protocols={"ExplainedVariance": "masked-r2/v1"}, data="scenes", images=4)


def test_results_carry_protocol_and_data(tmp_path):
    results = Results(tmp_path)
    record(results, 10, 0.3)
    record(results, 0, -0.1)
    record(results, 10, 0.4)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["protocols"] == {"ExplainedVariance": "masked-r2/v1"}
    assert content["data"] == {"description": "scenes", "images": 4}
    assert results.curve("stage1/r2") == ([0, 10], [-0.1, 0.4])
    assert results.at(0)["stage1/r2"] == -0.1
    assert results.at(5) == {}


def test_tests_that_end_at_once_lose_no_result(tmp_path):
    def add(name: str) -> None:
        told = {"checkpoint": tmp_path / "a.pth", "iteration": 1, "data": "x", "images": 1, "protocols": {}, "metrics": {"a": 1.0}}
        Results(tmp_path).add_benchmark(name, **told)

    names = [f"set{number}" for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, names))
    assert sorted(json.loads((tmp_path / "results.json").read_text())["benchmarks"]) == sorted(names)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_resumed_results_forget_what_came_after_the_checkpoint(tmp_path):
    results = Results(tmp_path)
    for iteration in (0, 10, 20):
        record(results, iteration, iteration / 100)
    resumed = Results(tmp_path)
    resumed.resume(10)
    assert resumed.curve("stage1/r2") == ([0, 10], [0.0, 0.1])
    assert (resumed.data, resumed.images) == ("scenes", 4)
    assert Results(tmp_path).evaluations == []


def add_test(results: Results, name: str, checkpoint: Path, *, data: str = "scenes", value: float = 0.0) -> None:
    told = {"iteration": 10, "data": data, "images": 4, "protocols": {}, "metrics": {"r1": value}}
    results.add_benchmark(name, checkpoint=checkpoint, **told)


def test_an_entry_of_another_checkpoint_or_of_other_data_is_kept(tmp_path):
    """Also where the other has the same name and iteration, in a folder of its own."""
    results = Results(tmp_path)
    add_test(results, "val", tmp_path / "iter_10.pth", value=0.1)
    add_test(results, "val", tmp_path / "iter_10.pth", value=0.2)
    assert {name: entry["metrics"]["r1"] for name, entry in results.benchmarks.items()} == {"val": 0.2}
    add_test(results, "val", tmp_path / "other/iter_10.pth", value=0.3)
    add_test(results, "val", tmp_path / "iter_10.pth", data="images", value=0.4)
    values = {name: entry["metrics"]["r1"] for name, entry in results.benchmarks.items()}
    assert values == {"val#1": 0.2, "val#2": 0.3, "val": 0.4}
    assert results.benchmarks["val#2"]["path"] == "other/iter_10.pth"
    add_test(results, "val", tmp_path / "iter_10.pth", value=0.5)
    values = {name: entry["metrics"]["r1"] for name, entry in results.benchmarks.items()}
    assert values == {"val#1": 0.4, "val#2": 0.3, "val": 0.5}
    add_test(results, "value", tmp_path / "iter_10.pth", value=0.6)
    assert len(results.benchmarks) == 4


def test_a_run_and_a_test_share_their_file(tmp_path):
    run = Results(tmp_path)
    record(run, 0, -0.1)
    test = Results(tmp_path)
    test.resume(math.inf)
    record(run, 10, 0.1)
    add_test(test, "val", tmp_path / "iter_10.pth")
    record(run, 20, 0.2)
    content = json.loads((tmp_path / "results.json").read_text())
    assert [entry["iteration"] for entry in content["evaluations"]] == [0, 10, 20]
    assert list(content["benchmarks"]) == ["val"]
    resumed = Results(tmp_path)
    resumed.resume(0)
    record(resumed, 5, 0.1)
    content = json.loads((tmp_path / "results.json").read_text())
    assert ([entry["iteration"] for entry in content["evaluations"]], "benchmarks" in content) == ([0, 5], False)


def listen(monkeypatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr("finevit.evaluation.results.print_log", lambda told, **_: said.append(told))
    return said


@pytest.mark.parametrize(
    "content", [b'{"rows": []}', b"[]", b"{", b"\xff\x00", b'{"evaluations": [1], "data": {}, "protocols": {}}', b"[" * 99999]
)
def test_a_broken_file_of_results_is_told_and_moved_aside(tmp_path, monkeypatch, content):
    said = listen(monkeypatch)
    (tmp_path / "results.json").write_bytes(content)
    results = Results(tmp_path)
    results.resume(math.inf)
    record(results, 0, 0.5)
    assert (tmp_path / "results.json.broken").read_bytes() == content
    assert json.loads((tmp_path / "results.json").read_text())["evaluations"][0]["iteration"] == 0
    assert "is no file of FineViT's evaluations" in said[0]
    assert "kept as results.json.broken" in said[0]


def test_numbers_that_are_not_finite_are_null_in_the_file_and_told_once(tmp_path, monkeypatch):
    said = listen(monkeypatch)
    results = Results(tmp_path)
    record(results, 0, math.nan)
    record(results, 10, 0.5)
    text = (tmp_path / "results.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["evaluations"][1]["iteration"] == 10
    assert text.count("null") == 1
    assert len(said) == 1
    assert said[0].endswith("not finite, written as null")
    again = Results(tmp_path)
    again.resume(math.inf)
    assert sum(math.isnan(value) for value in again.at(0).values()) == 1
    (tmp_path / "results.json").write_text(text.replace("null", "NaN"))  # of earlier versions
    again.resume(math.inf)
    record(again, 20, 0.5)
    assert "NaN" not in (tmp_path / "results.json").read_text()


def test_metrics_name_their_protocols():
    named = {type(metric).__name__: metric.protocol for metric in (ExplainedVariance(), PatchProbe())}
    assert named == {"ExplainedVariance": "masked-r2/v1", "PatchProbe": "patch-probe/lbfgs-v1"}

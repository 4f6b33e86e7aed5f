"""Probes of a frozen encoder: arithmetic by hand, toys with known answers, choices that never see the test set."""

import math

import pytest
import torch
from torch.nn.functional import interpolate

from finevit.evaluation.probes.attentive import AttentiveProbe, padded, probe_attentive
from finevit.evaluation.probes.choice import batches, best, counted, edge, hold_out, search, told
from finevit.evaluation.probes.knn import fitting, probe_knn, votes
from finevit.evaluation.probes.linear import features, probe_linear
from finevit.evaluation.probes.regions import Regions, average_precision, box_weights, hold_out_images, pool_boxes, retrieve
from finevit.evaluation.probes.segmentation import Labelled, confusion, corners, overlaps, probe_segmentation

CPU = torch.device("cpu")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def separable(number: int, classes: int, *, seed: int, dim: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around one corner a class: far from each other, so that a linear classifier makes no mistake."""
    labels = torch.arange(number) % classes
    return 3 * torch.eye(classes, dim)[labels] + 0.2 * noise(number, dim, seed=seed), labels


# --- choices ----------------------------------------------------------------------------------------------------------------------


def test_held_out_images_are_a_tenth_apart_from_the_rest_and_drawn_by_the_seed():
    fit, held = hold_out(50, seed=3)
    assert len(held) == 5
    assert sorted([*fit.tolist(), *held.tolist()]) == list(range(50))
    assert torch.equal(held, hold_out(50, seed=3)[1])
    assert not torch.equal(held, hold_out(50, seed=4)[1])
    assert [len(part) for part in hold_out(2, seed=0)] == [1, 1]
    with pytest.raises(ValueError, match=r"1 training images: a probe needs at least 2"):
        hold_out(1, seed=0)


def test_answers_are_counted_over_images_and_over_classes():
    assert counted(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])) == {"top1": 0.75, "balanced": 0.75}
    assert counted(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1])) == {"top1": 0.75, "balanced": 0.5}


def test_of_equal_settings_the_first_is_chosen_and_never_nan():
    assert best({"a": math.nan, "b": 0.25, "c": 0.25}) == "b"
    assert best({"a": 0.1, "b": 0.25}) == "b"


def test_an_end_of_the_grid_counts_where_the_neighbour_reached_less():
    assert edge([0.1, 0.2, 0.3]) == "largest"
    assert edge([0.3, 0.2, 0.2]) == "smallest"
    assert edge([0.1, 0.3, 0.2]) == ""
    assert edge([0.3, 0.3, 0.1]) == ""  # level: what lies beyond is no better
    assert edge([0.1, 0.4, math.nan]) == ""  # what diverged is no best
    assert edge([0.5]) == ""
    assert told("k", 10, [0.5, 0.4]) == {"k": 10, "grid_edge": "10 is the smallest tried"}
    assert told("k", 10, [0.5, 0.5]) == {"k": 10}


@pytest.mark.parametrize(
    ("peak", "tried"),
    [
        (2.0, [1.0, 2.0, 4.0]),
        (16.0, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]),
        (0.5, [0.25, 0.5, 1.0, 2.0, 4.0]),
        (1e9, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]),  # four beyond, and no more
    ],
)
def test_rates_beyond_the_grid_are_tried_while_the_best_lies_at_its_end(peak, tried):
    found = search([1.0, 2.0, 4.0], lambda rates: [-abs(math.log(rate / peak)) for rate in rates])
    assert list(found) == tried
    assert edge(list(found.values())) == ("largest" if peak == 1e9 else "")


def test_batches_go_through_every_image_once_an_epoch():
    found = batches(5, size=2, steps=6, seed=0)
    assert [len(batch) for batch in found] == [2, 2, 1, 2, 2, 1]
    assert sorted(torch.cat(found[:3]).tolist()) == sorted(torch.cat(found[3:]).tolist()) == [0, 1, 2, 3, 4]


# --- k-NN -------------------------------------------------------------------------------------------------------------------------


def test_votes_weigh_neighbours_by_their_similarity():
    gallery = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]])  # cosines to (1, 0): 1, 0.6, 0
    one, two = votes(torch.tensor([[5.0, 0.0]]), gallery, torch.tensor([0, 1, 1]), ks=[1, 3], classes=2)
    weights = [math.exp(cosine / 0.07) for cosine in (1.0, 0.6, 0.0)]
    assert one[0].tolist() == pytest.approx([weights[0] / sum(weights), 0.0])
    assert two[0].tolist() == pytest.approx([weights[0] / sum(weights), (weights[1] + weights[2]) / sum(weights)])


def test_many_near_neighbours_outvote_the_nearest():
    gallery = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1]]), dim=1)
    one, three = votes(torch.tensor([[1.0, 0.0]]), gallery, torch.tensor([0, 1, 1]), ks=[1, 3], classes=2)
    assert one.argmax(1).tolist() == [0]
    assert three.argmax(1).tolist() == [1]


def test_k_is_no_larger_than_the_gallery():
    assert fitting(5) == [5]
    assert fitting(30) == [10, 20, 30]
    assert fitting(1000) == [10, 20, 100, 200]


def test_knn_tells_separable_classes_and_guesses_at_noise():
    train, test = separable(80, 4, seed=1), separable(40, 4, seed=2)
    found = probe_knn(*train, *test, classes=4, seed=0)
    assert found.metrics["top1"] == 1.0
    assert found.metrics["top1_k20"] == 1.0
    guessed = probe_knn(noise(400, 8, seed=3), train[1].repeat(5), noise(400, 8, seed=4), test[1].repeat(10), classes=4, seed=0)
    assert guessed.metrics["top1"] == pytest.approx(0.25, abs=0.08)


# --- linear -----------------------------------------------------------------------------------------------------------------------


def test_linear_features_are_the_pooled_vector_and_the_means():
    means = torch.arange(12.0).reshape(1, 4, 3)
    found = features(means, torch.full((1, 3), -1.0))
    assert found["last-1"].tolist() == [[-1, -1, -1, 9, 10, 11]]
    assert found["last-4"].tolist() == [[-1, -1, -1, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7, 8]]
    assert features(means, means[:, -1])["last-1"].tolist() == [[9, 10, 11]]  # pooled by the mean: told once


def test_linear_probe_tells_separable_classes():
    (x, y), (test, test_y) = separable(80, 4, seed=1), separable(40, 4, seed=2)
    found = probe_linear({"last-1": x}, y, {"last-1": test}, test_y, classes=4, seed=0)
    assert found.metrics == {"top1": 1.0, "balanced": 1.0}
    assert found.chosen["features"] == "last-1"
    assert len(found.tried) >= 19


@pytest.mark.parametrize("scale", [0.03, 1.0])
def test_linear_probe_reaches_what_logistic_regression_does_on_features_of_any_scale(scale):
    """With DINOv3's rates, at most 0.1, features of a small scale were told by 0.70 of the images."""
    from sklearn.linear_model import LogisticRegression

    labels = torch.arange(600) % 6
    x = scale * (noise(600, 16, seed=1) + 1.5 * torch.eye(6, 16)[labels])
    (fit, y), (test, test_y) = (x[:400], labels[:400]), (x[400:], labels[400:])
    regression = LogisticRegression(C=1e4, max_iter=2000).fit(fit.numpy(), y.numpy()).score(test.numpy(), test_y.numpy())
    found = probe_linear({"x": fit}, y, {"x": test}, test_y, classes=6, seed=0)
    assert found.metrics["top1"] > regression - 0.03
    assert "grid_edge" not in found.chosen


def test_a_rate_that_stays_at_the_edge_of_its_grid_is_told(monkeypatch):
    monkeypatch.setattr("finevit.evaluation.probes.linear.RATES", (1e-7, 1e-2))
    monkeypatch.setattr("finevit.evaluation.probes.choice.BEYOND", 0)
    (x, y), (test, test_y) = separable(80, 4, seed=1), separable(40, 4, seed=2)
    found = probe_linear({"x": x}, y, {"x": test}, test_y, classes=4, seed=0)
    assert found.chosen == {"features": "x", "learning_rate": 1e-2, "grid_edge": "0.01 is the largest tried"}


def test_linear_probe_guesses_at_noise():
    labels = torch.arange(400) % 4
    found = probe_linear({"x": noise(400, 8, seed=1)}, labels, {"x": noise(400, 8, seed=2)}, labels, classes=4, seed=0)
    assert found.metrics["top1"] == pytest.approx(0.25, abs=0.08)


def test_linear_probe_chooses_the_features_that_tell():
    (good, y), (test, test_y) = separable(80, 4, seed=1), separable(40, 4, seed=2)
    train, unseen = {"bad": noise(80, 8, seed=3), "good": good}, {"bad": noise(40, 8, seed=4), "good": test}
    found = probe_linear(train, y, unseen, test_y, classes=4, seed=0)
    assert (found.chosen["features"], found.metrics["top1"]) == ("good", 1.0)


def test_poisoned_test_labels_change_no_choice():
    x, y = noise(120, 8, seed=1) + 0.7 * separable(120, 4, seed=1)[0], torch.arange(120) % 4
    test, test_y = separable(40, 4, seed=2)
    for probe in (
        lambda labels: probe_linear(
            {"x": x, "y": x.flip(1) ** 2}, y, {"x": test, "y": test.flip(1) ** 2}, labels, classes=4, seed=0
        ),
        lambda labels: probe_knn(x, y, test, labels, classes=4, seed=0),
    ):
        honest, poisoned = probe(test_y), probe((test_y + 1) % 4)
        assert (honest.chosen, honest.tried) == (poisoned.chosen, poisoned.tried)
        assert honest.metrics["top1"] > 0.9 > 0.1 > poisoned.metrics["top1"]


# --- attentive --------------------------------------------------------------------------------------------------------------------


def test_attention_pools_an_image_no_matter_what_is_beside_it():
    torch.manual_seed(0)
    probe = AttentiveProbe(dim=8, heads=2, classes=3)
    images = [noise(5, 8, seed=1).half(), noise(2, 8, seed=2).half()]
    together = probe(*padded(images, torch.tensor([0, 1]), CPU))
    alone = torch.cat([probe(*padded(images, torch.tensor([i]), CPU)) for i in (0, 1)])
    torch.testing.assert_close(together, alone)


def test_attention_by_hand():
    """A query that looks at the first channel alone: shares are a softmax over it, and values are the tokens themselves."""
    probe = AttentiveProbe(dim=2, heads=1, classes=2)
    with torch.no_grad():
        probe.query.weight.copy_(torch.tensor([[1.0, 0.0]]))
        probe.value.weight.copy_(torch.eye(2))
        probe.value.bias.copy_(torch.tensor([0.0, 0.5]))
    probe.classify = torch.nn.Identity()
    tokens = torch.tensor([[[0.0, 1.0], [math.log(3), 5.0], [9.0, 9.0]]])
    mean = [0.75 * math.log(3), 0.25 * 1 + 0.75 * 5 + 0.5]  # the third token lies beyond the image's length
    assert probe(tokens, torch.tensor([2]))[0].tolist() == pytest.approx(mean)


def test_attentive_probe_finds_one_token_among_many(monkeypatch):
    monkeypatch.setattr("finevit.evaluation.probes.attentive.LEAST", 120)

    def scenes(seed: int) -> list[torch.Tensor]:
        places = torch.randint(9, (40,), generator=torch.Generator().manual_seed(seed))
        images = [noise(9, 8, seed=100 * seed + i) for i in range(40)]
        for i, place in enumerate(places.tolist()):
            images[i][place] = 6 * torch.eye(8)[i % 2]
        return images

    labels = torch.arange(40) % 2
    found = probe_attentive(scenes(1), labels, scenes(2), labels, classes=2, seed=0)
    poisoned = probe_attentive(scenes(1), labels, scenes(2), 1 - labels, classes=2, seed=0)
    assert found.metrics["top1"] >= 0.8
    assert (found.chosen, found.tried) == (poisoned.chosen, poisoned.tried)
    with pytest.raises(ValueError, match="heads=3: must divide the encoder's width 8"):
        AttentiveProbe(dim=8, heads=3, classes=2)


# --- segmentation -----------------------------------------------------------------------------------------------------------------


def test_miou_by_hand():
    true = torch.tensor([[0, 0, 1], [1, -1, 2]])
    said = torch.tensor([[0, 1, 1], [1, 2, 0]])
    table = confusion([(said, true)], classes=4)
    assert table.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]  # the pixel of -1 does not count
    found = overlaps(table)  # IoU 1/3, 2/3, 0; the fourth class occurs nowhere
    assert found["miou"] == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)
    assert found["class_accuracy"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["pixel_accuracy"] == pytest.approx(3 / 5)


@pytest.mark.parametrize(("shape", "size"), [((2, 3), (7, 11)), ((1, 4), (5, 9)), ((4, 4), (3, 2))])
def test_pixels_lie_between_cells_as_torch_upsamples(shape, size):
    logits = noise(1, 2, *shape)
    pixels = torch.cartesian_prod(torch.arange(size[0]), torch.arange(size[1]))
    index, weight = corners(pixels, size, shape)
    ours = (logits[0].flatten(1).T[index] * weight[..., None]).sum(1)
    whole = interpolate(logits, size=size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(ours, whole[0].flatten(1).T)


def patchwork(number: int, seed: int) -> list[Labelled]:
    """Images of 2 x 3 patches whose class is written in their tokens, with labels at seven times the size, one row not counted."""
    found = []
    for i in range(number):
        classes = torch.randint(3, (2, 3), generator=torch.Generator().manual_seed(100 * seed + i))
        labels = classes.repeat_interleave(7, 0).repeat_interleave(7, 1)
        labels[0] = -1
        tokens = 4 * torch.eye(3, 8)[classes.flatten()] + 0.1 * noise(6, 8, seed=100 * seed + i)
        found.append(Labelled(tokens.half(), (2, 3), labels.short()))
    return found


@pytest.mark.slow
def test_segmentation_probe_reads_classes_and_chooses_without_the_test_set(monkeypatch):
    monkeypatch.setattr("finevit.evaluation.probes.segmentation.LEAST", 40)
    train, test = patchwork(24, 1), patchwork(6, 2)
    found, segment = probe_segmentation(train, test, classes=3, seed=0, device=CPU)
    poisoned = [image._replace(labels=torch.where(image.labels < 0, image.labels, (image.labels + 1) % 3)) for image in test]
    other, _ = probe_segmentation(train, poisoned, classes=3, seed=0, device=CPU)
    assert found.metrics["miou"] > 0.6  # bilinear logits cannot follow every corner, but at the patches' centres they are right:
    assert torch.equal(segment(test[0])[3::7, 3::7], test[0].labels[3::7, 3::7].long())
    assert other.metrics["miou"] < 0.2
    assert (found.chosen, found.tried) == (other.chosen, other.tried)
    assert segment(test[0]).shape == (14, 21)


# --- regions ----------------------------------------------------------------------------------------------------------------------


def test_a_box_takes_of_each_patch_what_it_covers():
    boxes = torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.25, 0.0, 0.625, 0.75], [0.0, 0.0, 1.0, 1.0]])
    found = box_weights(boxes, (2, 4)).unflatten(1, (2, 4))
    assert found[0].tolist() == [[0.25, 0.25, 0, 0]] * 2
    # columns 1 to 2.5 of four: all of the second, half of the third; rows 0 to 1.5 of two: all of the first, half of the second
    assert found[1].flatten().tolist() == pytest.approx([0, 1 / 2.25, 0.5 / 2.25, 0, 0, 0.5 / 2.25, 0.25 / 2.25, 0])
    assert found[2].flatten().tolist() == [0.125] * 8
    tokens = torch.arange(8.0)[:, None]
    assert pool_boxes(tokens, (2, 4), boxes)[:, 0].tolist() == pytest.approx([2.5, (1 + 0.5 * 2 + 0.5 * 5 + 0.25 * 6) / 2.25, 3.5])


def test_a_box_smaller_than_a_patch_is_that_patch():
    assert box_weights(torch.tensor([[0.55, 0.1, 0.6, 0.2]]), (2, 2)).tolist() == [[0, 1, 0, 0]]


def test_average_precision_by_hand():
    scores = torch.tensor([[0.9, 0.8, 0.7, -torch.inf], [0.5, 0.5, 0.4, 0.3], [0.1, 0.2, 0.3, 0.4], [torch.nan] * 4])
    true = torch.tensor([[True, False, True, False], [True, False, False, True], [False] * 4, [True, False, False, False]])
    precision, rank = average_precision(scores, true)
    assert precision[:2].tolist() == pytest.approx(
        [(1 / 1 + 2 / 3) / 2, (1 / 2 + 2 / 4) / 2]
    )  # of equal scores, the wrong one first
    assert math.isnan(precision[2])
    assert precision[3] == pytest.approx(1 / 4)
    assert rank.tolist() == [1, 2, 0, 4]


def test_regions_are_searched_in_other_images():
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.9, 0.3], [0.0, 1.0], [0.1, 1.0]])
    regions = Regions(vectors, torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 1, 1]), torch.zeros(5, 4))
    found = retrieve(regions)
    # 0 and 1 see image 1 alone: its region 2 first. 2 sees 0 and 1, both true. 3 and 4 have no other of their class elsewhere.
    assert found.rank.tolist() == [1, 1, 1, 0, 0]
    assert found.metrics == {"r1": 1.0, "map": 1.0, "queries": 3.0}
    assert found.nearest[0].tolist()[:3] == [2, 4, 3]
    with pytest.raises(ValueError, match="none of the 5 regions has another of its class in another image"):
        retrieve(regions._replace(image=torch.zeros(5)))


def test_regions_of_an_image_are_held_out_together():
    image = torch.arange(20).repeat_interleave(3)
    fit, held = hold_out_images(image, seed=0)
    assert len(held) == 6
    assert len(image[held].unique()) == 2
    assert not set(image[held].tolist()) & set(image[fit].tolist())

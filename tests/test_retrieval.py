"""Retrieval: ranks, R@k against CLIP_benchmark's and open_clip's own functions, caption lengths, the MMEngine metric."""

import pytest
import torch
from torch.nn.functional import normalize

from finevit.evaluation import retrieval
from finevit.evaluation.contrastive_metrics import Retrieval
from finevit.evaluation.retrieval import by_length, count_words, distribution, ranks, recalls


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def pairs(images: int, captions: int = 1, noise: float = 1.5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, ``1 ... captions`` captions of each that resemble it, and the captions' owners."""
    counts = torch.arange(images) % captions + 1
    owner = torch.arange(images).repeat_interleave(counts)
    image = unit(images, 16, seed=1)
    return image, normalize(image[owner] + noise * unit(len(owner), 16, seed=2), dim=-1), owner


def both_ways(image, text, owner) -> dict[str, float]:
    order = torch.arange(len(image))
    return recalls(ranks(image, text, order, owner), ranks(text, image, owner, order))


def sample(name: int, image: torch.Tensor, texts: torch.Tensor, **more: object) -> dict:
    return {"id": f"image-{name}", "image": image, "texts": texts, **more}


def test_ranks_by_hand():
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    gallery = torch.tensor([[0.9, 0.1], [0.5, 0.3], [0.7, 0.6], [0.1, 0.2]])
    # query 0 scores .9 .5 .7 .1, its truths are 1 and 3: two others before the better one; query 1 scores .1 .3 .6 .2
    found = ranks(query, gallery, torch.tensor([7, 8]), torch.tensor([8, 7, 8, 7]))
    assert found.tolist() == [3, 1]


def test_recalls_by_hand():
    values = recalls(torch.tensor([1, 2, 6, 11]), torch.tensor([1, 1, 1, 5]))
    assert values == {
        **{"i2t_r1": 0.25, "i2t_r5": 0.5, "i2t_r10": 0.75},
        **{"t2i_r1": 0.75, "t2i_r5": 1.0, "t2i_r10": 1.0},
        **{"r1": 0.5, "r5": 0.75, "r10": 0.875},
    }


@pytest.mark.parametrize("captions", [1, 5])
def test_recalls_equal_those_of_clip_benchmark(clip_benchmark, captions):
    """Its whole evaluation, on an encoder that looks embeddings up."""
    image, text, owner = pairs(90, captions)

    class LookUp:
        encode_image = staticmethod(lambda batch: batch)
        encode_text = staticmethod(lambda tokens: text[tokens])

    names = [[str(place) for place in (owner == i).nonzero()[:, 0].tolist()] for i in range(len(image))]
    batches = [(image[start : start + 32], names[start : start + 32]) for start in range(0, 90, 32)]
    expected = clip_benchmark("zeroshot_retrieval").evaluate(
        LookUp(), batches, lambda texts: torch.tensor([int(each) for each in texts]), "cpu", amp=False, recall_k_list=[1, 5, 10]
    )
    found = both_ways(image, text, owner)
    for k in (1, 5, 10):
        assert found[f"i2t_r{k}"] == pytest.approx(expected[f"text_retrieval_recall@{k}"], abs=1e-6)
        assert found[f"t2i_r{k}"] == pytest.approx(expected[f"image_retrieval_recall@{k}"], abs=1e-6)
    assert 0.1 < found["r1"] < 0.9


def test_recalls_equal_those_of_open_clip():
    from open_clip_train.train import get_clip_metrics

    image, text, owner = pairs(120)
    expected, found = get_clip_metrics(image, text, 100.0), both_ways(image, text, owner)
    for k in (1, 5, 10):
        assert found[f"i2t_r{k}"] == pytest.approx(expected[f"image_to_text_R@{k}"], abs=1e-12)
        assert found[f"t2i_r{k}"] == pytest.approx(expected[f"text_to_image_R@{k}"], abs=1e-12)
    assert 0.1 < found["r1"] < 0.9


@pytest.mark.parametrize("block", [1, 1000])
def test_blocks_change_nothing(monkeypatch, block):
    data = pairs(80, 3)
    whole = both_ways(*data)
    monkeypatch.setattr(retrieval, "BLOCK", block)
    assert both_ways(*data) == whole


@pytest.mark.parametrize("value", [0.25, float("nan")])
def test_a_collapsed_or_broken_encoder_finds_nothing(value):
    """Every image and every caption has the same vector."""
    constant = torch.full((50, 16), value)
    assert set(both_ways(constant, constant, torch.arange(50)).values()) == {0.0}


def test_one_broken_image_does_not_count_as_found():
    image, text, owner = pairs(40, noise=0.1)
    assert both_ways(image, text, owner)["r1"] == 1
    image[3] = torch.nan
    found = both_ways(image, text, owner)
    assert (found["i2t_r1"], found["t2i_r1"]) == (39 / 40, 0)


def test_lengths_by_hand():
    words = count_words(["a", "a b", "a  b", "a b c\n", "a b c d", "a b c d e", "a b c d e f", "a b c d e f g"])
    assert words.tolist() == [1, 2, 2, 3, 4, 5, 6, 7]
    assert distribution(words) == {"min": 1, "median": 3.5, "mean": 3.75, "max": 7}
    found = torch.tensor([1, 1, 0, 1, 0, 0, 0.5, 0])
    # quartiles 2, 3.5 and 5.25; both captions of 2 words are in the first quarter
    assert by_length(words, found) == [(1, 2, 3, pytest.approx(2 / 3)), (3, 3, 1, 1), (4, 5, 2, 0), (6, 7, 2, 0.25)]


def test_captions_of_one_length_are_one_group():
    assert by_length(torch.full((9,), 12), torch.ones(9)) == [(12, 12, 9, 1)]


def test_the_metric_counts_each_image_once_and_keeps_what_it_compared():
    image, text, owner = pairs(30, 3)
    samples = [
        sample(
            i,
            image[i],
            text[owner == i],
            captions_list=["word " * (i % 7 + 1)] * int((owner == i).sum()),
            truncated=[i % 2 == 0] * int((owner == i).sum()),
        )
        for i in range(30)
    ]
    metric = Retrieval()
    metric.process({}, samples)
    metric.process({}, samples[:5])
    values = metric.evaluate(35)
    expected = {f"stage2/{key}": value for key, value in both_ways(image, text, owner).items()}
    assert {key: values[key] for key in expected} == pytest.approx(expected, abs=1e-12)
    assert values["stage2/truncated"] == pytest.approx(float((owner % 2 == 0).double().mean()))
    assert (values["stage2/words_min"], values["stage2/words_max"]) == (1, 7)
    assert len([key for key in values if key.startswith("stage2/r1_words_")]) == 4
    assert metric.latest.ids == [f"image-{i}" for i in range(30)]
    torch.testing.assert_close(metric.latest.text, text, rtol=0, atol=0)
    assert metric.latest.owner.tolist() == owner.tolist()
    assert len(metric.latest.captions) == len(owner)


def test_the_metric_by_length_splits_r1():
    """With one caption an image, the groups' mean, weighted by their sizes, is R@1."""
    image, text, _ = pairs(64)
    metric = Retrieval()
    for i in range(64):
        metric.process({}, [sample(i, image[i], text[i : i + 1], caption="word " * (i + 1), truncated=i < 16)])
    values = metric.evaluate(64)
    groups = [values[f"stage2/r1_words_{low}-{low + 15}"] for low in (1, 17, 33, 49)]
    assert sum(groups) / 4 == pytest.approx(values["stage2/r1"], abs=1e-12)
    assert values["stage2/truncated"] == 0.25
    assert values["stage2/words_median"] == 32.5


def test_the_metric_without_captions_has_no_lengths():
    image, text, _ = pairs(12)
    metric = Retrieval()
    metric.process({}, [sample(i, image[i], text[i : i + 1]) for i in range(12)])
    assert {key.removeprefix("stage2/") for key in metric.evaluate(12)} == {
        f"{way}r{k}" for way in ("i2t_", "t2i_", "") for k in (1, 5, 10)
    }

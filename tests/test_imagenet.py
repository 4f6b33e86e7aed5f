"""ImageNet and its relatives in people's folders: no class vanishes in silence; ImageNet-V2's numbers; ReaL's labels."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from finevit.datasets.readers import ImageNetFolder
from finevit.engine.hooks.zero_shot_hook import ZeroShotHook
from finevit.evaluation.benchmarks import configure, parse
from finevit.evaluation.contrastive_metrics import ZeroShot
from finevit.evaluation.zero_shot import best_ranks, class_ranks, imagenet, prompt_names

KNOWN = list(imagenet())


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    return file.getvalue()


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture())
    return root


def labels(source: ImageNetFolder) -> dict[str, object]:
    return {source[i].id: source[i].facts["label"] for i in range(len(source))}


def test_a_class_whose_images_are_not_read_stays_a_class_and_the_set_is_incomplete(tmp_path):
    root = write(tmp_path, "val/cat/a.jpg", "val/dog/b.jpg", "val/dog/c.jp2", "val/cow/d.heic", "val/cow/e.heic", "val/ape/f.jfif")
    write(root, "val/eel/g", "val/fox/more/h.jpg", "val/cat/more/i.jpg", "val/j.jpg", "val/__MACOSX/._a.jpg")
    (root / "val/gnu").mkdir()
    source = ImageNetFolder(data_root=root)
    assert source.classes == ("ape", "cat", "cow", "dog", "eel")
    assert labels(source) == {"ape/f.jfif": 0, "cat/a.jpg": 1, "dog/b.jpg": 3}
    assert source.skipped.listed == [
        "cat: 1 images lie in folders within it (cat/more/i.jpg); move them up",
        "cow: all of its 2 images are of a format that is not read (cow/d.heic); convert them to .jpg or .png",
        "dog: 1 of its 2 images are of a format that is not read (dog/c.jp2); convert them to .jpg or .png",
        "eel: all of its 1 images are of a format that is not read (eel/g); convert them to .jpg or .png",
        "fox: 1 images lie in folders within it (fox/more/h.jpg); move them up",
        "1 images beside the folders have no class (j.jpg)",
    ]
    assert "val, 5 classes; 3 images; INCOMPLETE: 7 of 10 images left out; not read: gnu/, which" in source.describe()


def test_images_may_lie_in_a_folder_of_that_name(tmp_path):
    """Tiny-ImageNet's training set, with its boxes beside."""
    root = write(tmp_path, *(f"train/{name}/images/{name}_{n}.JPEG" for name in KNOWN[:2] for n in range(2)))
    (root / "train" / KNOWN[0] / f"{KNOWN[0]}_boxes.txt").write_text("x 0 0 1 1")
    source = ImageNetFolder(data_root=root, split="train")
    assert source.classes == tuple(KNOWN[:2])
    assert list(labels(source).values()) == [0, 0, 1, 1]
    assert source.describe().endswith("train, 2 classes; 4 images")
    write(root, f"val/{KNOWN[0]}/x.JPEG")
    with pytest.raises(ValueError, match=r"holds train/, val/; put the images"):  # splits are no classes
        ImageNetFolder(data_root=root, split="tset")


def test_folders_that_are_numbers_are_the_classes_of_imagenet_in_numeric_order(tmp_path):
    root = write(tmp_path / "v2", *(f"{number}/x.jpeg" for number in range(1000)))
    source = ImageNetFolder(data_root=root)
    assert source.classes == tuple(KNOWN)
    assert labels(source) == {f"{number}/x.jpeg": number for number in range(1000)}
    assert "v2, 1,000 of ImageNet's 1,000 classes, by their labels; 1,000 images" in source.describe()
    some = write(tmp_path / "some", "2/a.jpg", "10/b.jpg", "999/c.jpg", "0/d.jpg")
    (some / "7").mkdir()
    source = ImageNetFolder(data_root=some)
    assert source.classes == tuple(KNOWN[number] for number in (0, 2, 7, 10, 999))
    assert labels(source) == {"0/d.jpg": 0, "2/a.jpg": 1, "10/b.jpg": 3, "999/c.jpg": 4}
    assert prompt_names(source.classes)[:2] == ["tench", "great white shark"]
    assert "5 of ImageNet's 1,000 classes, by their labels; 4 images; INCOMPLETE: 1 of 5" in source.describe()


def test_other_numbers_keep_their_names_in_numeric_order(tmp_path):
    source = ImageNetFolder(data_root=write(tmp_path / "a", "9/x.jpg", "10/x.jpg", "1000/x.jpg"))
    assert source.classes == ("9", "10", "1000")
    assert "3 classes that have numbers for names, which are no labels of ImageNet" in source.describe()
    assert ImageNetFolder(data_root=write(tmp_path / "b", "9/x.jpg", "10/x.jpg", "stop/x.jpg")).classes == ("10", "9", "stop")


# ReaL


def test_real_labels_are_several_and_images_without_any_are_left_out(tmp_path):
    names = [f"ILSVRC2012_val_{number:08d}" for number in range(1, 7)]
    root = write(tmp_path, *(f"val/{KNOWN[n]}/{name}.JPEG" for n, name in enumerate(names[:4])), f"val/{names[4]}_{KNOWN[4]}.JPEG")
    (tmp_path / "real.json").write_text(json.dumps([[7, 3, 3], [], [999], [0], [5], [6]]))
    source = ImageNetFolder(data_root=root, real=tmp_path / "real.json")
    assert source.classes == tuple(KNOWN)
    assert [(Path(name).stem[:23], label) for name, label in labels(source).items()] == [
        (names[0], (7, 3)), (names[2], (999,)), (names[3], (0,)), (names[4], (5,)),
    ]  # fmt: skip
    assert source.skipped.listed == ["1 images with labels are missing (ILSVRC2012_val_00000006)"]
    said = "val, ReaL labels of real.json, 1,000 classes; 1 images without a true class do not count; 4 images; INCOMPLETE: 1 of 5"
    assert said in source.describe()
    assert ImageNetFolder(data_root=root).labels == ""
    write(root, "val/n01440764/other.JPEG")
    source = ImageNetFolder(data_root=root, real=tmp_path / "real.json")
    assert source.skipped.listed[0] == "1 images are not called ILSVRC2012_val_ and their number (n01440764/other.JPEG)"


def test_a_flat_folder_is_enough_for_real_labels(tmp_path):
    write(tmp_path, *(f"ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2)))
    (tmp_path / "real.json").write_text("[[1], [2, 3]]")
    source = ImageNetFolder(data_root=tmp_path, real=tmp_path / "real.json")
    assert list(labels(source).values()) == [(1,), (2, 3)]
    assert "INCOMPLETE" not in source.describe()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", "looked for a list of lists"),
        ("[1]", "looked for a list of lists"),
        ("[[1000]]", "1000 is none"),
        ("[", "not valid JSON"),
    ],
)
def test_another_file_than_real_json_is_refused(tmp_path, content, told):
    (tmp_path / "real.json").write_text(content)
    with pytest.raises(ValueError, match=told):
        ImageNetFolder(data_root=write(tmp_path / "set", "a/1.jpg", "b/1.jpg"), real=tmp_path / "real.json")


def test_any_true_class_is_right(tmp_path):
    metric = ZeroShot(protocols=["own"], class_names=list("abcdef"))
    assert metric.protocol == "zero-shot/own-prompts-v1"
    metric.prepare(lambda texts: torch.eye(6)["abcdef".index(texts[0]) :][: len(texts)], [], ["{c}"], labels="real-labels-v1")
    assert metric.protocol == "zero-shot/own-prompts-v1/real-labels-v1"
    images = torch.tensor([[6.0, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1]])
    truths = [(0,), (4, 0), (5, 4), (5,)]
    metric.process({}, [{"id": str(i), "image": images[i], "label": truths[i]} for i in range(4)])
    assert metric.evaluate(4) == {"stage2/own_top1": 0.5, "stage2/own_top5": 0.75}
    with pytest.raises(ValueError, match=r"x: label \(1, 6\) is not one of the 6 classes"):
        metric.process({}, [{"id": "x", "image": images[0], "label": (1, 6)}])


def test_the_best_rank_by_a_naive_loop():
    generator = torch.Generator().manual_seed(0)
    image, weights = torch.randn(7, 5, generator=generator), torch.randn(9, 5, generator=generator)
    truths = [(0,), (1, 8), (2, 3, 4), (8,), (5, 5), (7, 0), (6, 1, 2, 3)]
    expected = [
        min(int(class_ranks(image[i : i + 1], weights, torch.tensor([label]))) for label in own) for i, own in enumerate(truths)
    ]
    assert best_ranks(image, weights, truths).tolist() == expected


def test_the_hook_and_the_tool_hand_the_labels_on(tmp_path, monkeypatch):
    write(tmp_path, *(f"ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2)))
    (tmp_path / "real.json").write_text("[[1], [2, 3]]")
    label, config = parse(f"imagenet={tmp_path},real={tmp_path / 'real.json'}")
    assert label == "imagenet,real=real.json"
    source = ImageNetFolder(data_root=config["data_root"], real=config["real"])
    (metric,) = configure(label, source, {"dataset": {"transforms": []}})[1]
    metric = ZeroShot(protocols=metric["protocols"])

    class Encoder:
        def __init__(self, *_: object) -> None: ...
        def __call__(self, texts: list[str]) -> torch.Tensor:
            return torch.ones(len(texts), 2)

        def finish(self) -> None: ...

    monkeypatch.setattr("finevit.engine.hooks.zero_shot_hook.PromptEncoder", Encoder)
    dataset = SimpleNamespace(source=source, max_seq_len=8)
    loop = SimpleNamespace(evaluator=SimpleNamespace(metrics=[metric]), dataloader=SimpleNamespace(dataset=dataset))
    ZeroShotHook().before_test_epoch(SimpleNamespace(model=torch.nn.Identity(), logger=None, test_loop=loop))
    assert metric.protocol == "zero-shot/openai80-v1/real-labels-v1, zero-shot/siglip81-canonical-v1/real-labels-v1"


def test_files_and_dead_links_in_place_of_classes_are_named(tmp_path):
    root = write(tmp_path, "val/n01440764/a.jpg", "val/n01443537/b.jpg", "val/archive.tar")
    for name in ("n01484850.tar", "n01491361"):
        (root / "val" / name).write_bytes(b"no image")
    (root / "val/n01494475").symlink_to("gone")
    source = ImageNetFolder(data_root=root)
    assert source.skipped.listed == [
        "n01484850.tar: is a file, where a class has its folder; unpack it",
        "n01491361: is a file, where a class has its folder; unpack it",
        "n01494475: is a link to gone, which is not there",
    ]
    assert "val, 2 classes; 2 images; INCOMPLETE: 3 of 5 images left out" in source.describe()


def test_numbers_beside_names_are_told(tmp_path):
    source = ImageNetFolder(data_root=write(tmp_path, "0/a.jpg", "10/a.jpg", "2/a.jpg", "dog/a.jpg"))
    assert "4 classes, of which 3 are called by numbers, and no labels of ImageNet beside folders with names" in source.describe()


def test_real_labels_of_another_length_and_images_that_are_there_twice_are_named(tmp_path):
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2, 3)]
    write(tmp_path, *(f"val/a/{name}" for name in names), f"val/b/{names[0]}")
    (tmp_path / "real.json").write_text("[[1], [2]]")
    source = ImageNetFolder(data_root=tmp_path, real=tmp_path / "real.json")
    assert labels(source) == {f"a/{names[0]}": (1,), f"a/{names[1]}": (2,)}
    assert source.skipped.listed == [
        f"a/{names[2]}: real.json ends at image 2; fetch it again",
        f"b/{names[0]} is there already, as a/{names[0]}; an image counts once",
    ]


def test_one_class_is_told_to_be_too_few(tmp_path):
    with pytest.raises(ValueError, match=r"holds images of one class alone, 'cat'; two are the least; put the images"):
        ImageNetFolder(data_root=write(tmp_path, "val/cat/a.jpg"))

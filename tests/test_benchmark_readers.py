"""Readers of evaluation sets: small folders and files laid out as their authors lay them out."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finevit.contracts import BadSample
from finevit.datasets.dataset import NativeImages
from finevit.datasets.decoding.images import decode
from finevit.datasets.readers.clip_benchmark import ClipBenchmarkTars
from finevit.datasets.readers.coco import CocoCaptions, Karpathy
from finevit.datasets.readers.imagenet import ImageNetFolder
from finevit.datasets.readers.long_captions import DCI, ShareGPT4V1k, Urban1k, first_of_list
from finevit.datasets.transforms.eval_transforms import pack_evaluation
from finevit.registry import DATASETS

pytestmark = pytest.mark.usefixtures("own_cache")


def picture(value: int = 0, format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 30), (value, 0, 0)).save(file, format, quality=95)
    return file.getvalue()


def write(root: Path, files: dict[str, bytes | str | list | dict]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else (data if isinstance(data, str) else json.dumps(data)).encode())
    return root


def tar(path: Path, members: dict[str, bytes | str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            data = data if isinstance(data, bytes) else data.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def red(record) -> int:
    return int(decode(record.image, name=record.id)[5, 5, 0])


def captions(source, index: int) -> list[str]:
    return list(source[index].captions.values())


# --- ImageNet -------------------------------------------------------------------------------------------------------


def test_imagenet_labels_are_the_sorted_folders(tmp_path):
    write(tmp_path, {
        "val/n02099601/b.JPEG": picture(40), "val/n01440764/a.JPEG": picture(200), "val/n01440764/b.JPEG": picture(90),
        "val/n01440764/notes.txt": "x", "val/.hidden/a.JPEG": picture(), "val/empty/readme.md": "x",
    })  # fmt: skip
    for root in (tmp_path, tmp_path / "val"):
        source = DATASETS.build({"type": "ImageNetFolder", "data_root": str(root)})
        assert source.classes == ("n01440764", "n02099601")
        assert [source[i].facts["label"] for i in range(len(source))] == [0, 0, 1]
        assert [source[i].id for i in range(3)] == ["n01440764/a.JPEG", "n01440764/b.JPEG", "n02099601/b.JPEG"]
        assert [red(source[i]) for i in range(3)] == pytest.approx([200, 90, 40], abs=2)
        assert "val, 2 classes; 3 images" in source.describe()
    (tmp_path / "val/n01443537").mkdir()
    source = DATASETS.build({"type": "ImageNetFolder", "data_root": str(tmp_path)})
    assert source.classes == ("n01440764", "n01443537", "n02099601")
    assert [source[i].facts["label"] for i in range(len(source))] == [0, 0, 2]
    assert "3 classes; 3 images; INCOMPLETE: 1 of 4 images left out" in source.describe()
    assert pickle.loads(pickle.dumps(source))[2].facts == {"label": 2}


def test_imagenet_flat_or_empty_says_how_to_arrange_it(tmp_path):
    write(tmp_path, {"val/ILSVRC2012_val_00000001.JPEG": picture(), "none/devkit.txt": "x"})
    with pytest.raises(
        ValueError, match=r"1 images in one folder, without their classes; put the images of each class into a folder"
    ):
        ImageNetFolder(data_root=tmp_path)
    with pytest.raises(ValueError, match=r"holds devkit\.txt; put the images"):
        ImageNetFolder(data_root=tmp_path / "none")
    with pytest.raises(ValueError, match="does not exist"):
        ImageNetFolder(data_root=tmp_path / "imagenet")


# --- COCO and Flickr30k ---------------------------------------------------------------------------------------------


def coco(tmp_path: Path) -> Path:
    """Four images of four splits; the second of the test split is missing, one has six captions."""

    def image(number: int, split: str, sentences: int) -> dict:
        folder = "train2014" if split == "train" else "val2014"
        return {
            "filepath": folder, "filename": f"COCO_{folder}_{number:012}.jpg", "cocoid": number, "imgid": number, "split": split,
            "sentences": [{"raw": f"image {number} text {n}. ", "tokens": [], "sentid": n} for n in range(sentences)],
        }  # fmt: skip

    images = [image(1, "test", 6), image(2, "val", 5), image(3, "restval", 5), image(4, "train", 5), image(5, "test", 5)]
    write(tmp_path, {"dataset_coco.json": {"dataset": "coco", "images": images}})
    write(tmp_path / "images", {f"{i['filepath']}/{i['filename']}": picture(i["cocoid"] * 40) for i in images[:4]})
    return tmp_path


def test_karpathy_has_five_captions_and_names_its_split(tmp_path):
    source = Karpathy(annotations=coco(tmp_path) / "dataset_coco.json", image_root=tmp_path / "images")
    assert len(source) == 1
    assert source[0].id == "val2014/COCO_val2014_000000000001.jpg"
    assert captions(source, 0) == [f"image 1 text {n}." for n in range(5)]
    assert list(source[0].captions) == [f"caption-{n}" for n in range(1, 6)]
    said = source.describe()
    assert "coco, Karpathy's split 'test' of 5 images, first 5 captions; 1 images, 5 captions" in said
    assert "INCOMPLETE: 1 of 2 images left out" in said


@pytest.mark.parametrize(("split", "numbers"), [("train", [3, 4]), ("val", [2]), ("all", [1, 2, 3, 4])])
def test_restval_counts_as_train(tmp_path, split, numbers):
    source = Karpathy(annotations=coco(tmp_path) / "dataset_coco.json", image_root=tmp_path / "images", split=split)
    assert [red(source[i]) for i in range(len(source))] == pytest.approx([40 * number for number in numbers], abs=2)


def test_flickr_names_files_alone_and_its_folder_is_the_default(tmp_path):
    images = [
        {"filename": f"{n}.jpg", "imgid": n, "split": split, "sentences": [{"raw": f"text {n} {k}"} for k in range(5)]}
        for n, split in ((36979, "test"), (1000092795, "train"))
    ]
    write(tmp_path, {"dataset_flickr30k.json": {"dataset": "flickr30k", "images": images}, "36979.jpg": picture(120)})
    source = Karpathy(annotations=tmp_path / "dataset_flickr30k.json")
    assert (len(source), source[0].id, captions(source, 0)[4]) == (1, "36979.jpg", "text 36979 4")
    assert "flickr30k, Karpathy's split 'test' of 2 images" in source.describe()
    with pytest.raises(ValueError, match=r"split='tset' is not in dataset_flickr30k\.json \(did you mean 'test'\?\)"):
        Karpathy(annotations=tmp_path / "dataset_flickr30k.json", split="tset")


def test_karpathy_refuses_other_files(tmp_path):
    coco(tmp_path)
    write(
        tmp_path,
        {"captions_val2017.json": {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": []}, "torn.json": '{"images'},
    )
    with pytest.raises(ValueError, match=r"looked for 'images' with 'sentences' in it; it holds 'images', 'annotations'"):
        Karpathy(annotations=tmp_path / "captions_val2017.json")
    with pytest.raises(ValueError, match="is not valid JSON"):
        Karpathy(annotations=tmp_path / "torn.json")
    with pytest.raises(ValueError, match="is a folder; give the file"):
        Karpathy(annotations=tmp_path)
    with pytest.raises(
        ValueError, match=r"holds none of the 2 images of .*: looked for .*val2014.COCO_val2014_000000000001\.jpg; it holds"
    ):
        Karpathy(annotations=tmp_path / "dataset_coco.json")
    write(tmp_path, {"spoilt.json": {"images": [{"sentences": [], "split": "test"}]}})
    with pytest.raises(ValueError, match=r"spoilt\.json: image 0: an entry is not an image with filename and sentences"):
        Karpathy(annotations=tmp_path / "spoilt.json")


def test_one_impossible_entry_of_a_retrieval_set_is_left_out_and_named(tmp_path):
    def image(name: str, *texts: object) -> dict:
        return {"filename": name, "split": "test", "sentences": [{"raw": text} for text in texts]}

    images = [
        {"filename": "a.jpg", "split": "test"}, image("a.jpg", "one", " ", None, "four"), image("a.jpg"), image("", "x"), None,
        {**image("a.jpg", "x"), "sentences": [{"tokens": ["a", "dog"]}]}, {**image("a.jpg", "x"), "split": "train"},
    ]  # fmt: skip
    write(tmp_path, {"a.jpg": picture(), "k.json": {"images": images}})
    source = Karpathy(annotations=tmp_path / "k.json")
    assert [captions(source, i) for i in range(len(source))] == [["one", "four"]]
    assert source.skipped.listed == [
        "k.json: image 0: an entry is not an image with filename and sentences: it has no 'sentences'",
        "k.json: a.jpg: sentence 1: its caption is ' '",
        "k.json: a.jpg: sentence 2: its caption is None",
        "a.jpg: has no caption",
        "k.json: image 3: image is '', no path",
        "k.json: a.jpg: sentence 0: an entry is not a sentence with its raw text: it has no 'raw'",
        "a.jpg: has no caption",
    ]
    assert "INCOMPLETE: 4 of 5 images, 3 captions left out" in source.describe()
    listed = [{"id": 1, "file_name": "a.jpg"}, {"id": 2}, {"id": 3, "file_name": "a.jpg"}]
    told = [{"image_id": "1", "caption": "b"}, {"image_id": 9, "caption": "c"}, {"image_id": 1, "caption": ""}, {"id": 7}, "x"]
    write(tmp_path, {"c.json": {"images": listed, "annotations": told}})
    source = CocoCaptions(annotations=tmp_path / "c.json")
    assert [captions(source, i) for i in range(len(source))] == [["b"]]
    assert source.skipped.listed[1:4] == [
        "c.json: annotation 1: its image 9 is not in the file",
        "c.json: annotation 2: its caption is ''",
        "c.json: annotation 3: an entry is not an image with id and file_name, or a caption of one: it has no 'image_id'",
    ]
    assert "INCOMPLETE: 2 of 3 images, 4 captions left out" in source.describe()


def test_coco_captions_join_annotations_in_the_order_of_their_ids(tmp_path):
    annotations = [{"id": 9 - n, "image_id": 7, "caption": f"seven {9 - n}\n"} for n in range(6)]
    annotations += [{"id": 20, "image_id": 8, "caption": "eight"}]
    listed = {"images": [{"id": i, "file_name": f"{i:012}.jpg"} for i in (7, 8, 9)], "annotations": annotations}
    write(tmp_path, {"annotations/captions_val2017.json": listed, **{f"val2017/{i:012}.jpg": picture() for i in (7, 8, 9)}})
    source = CocoCaptions(annotations=tmp_path / "annotations/captions_val2017.json", image_root=tmp_path / "val2017")
    assert [captions(source, i) for i in range(len(source))] == [[f"seven {n}" for n in range(4, 9)], ["eight"]]
    assert source.describe().endswith(
        "captions_val2017, first 5 captions; 2 images, 6 captions; INCOMPLETE: 1 of 3 images left out"
    )
    write(tmp_path, {"instances.json": {"images": listed["images"], "annotations": [{"id": 1, "image_id": 7, "bbox": []}]}})
    with pytest.raises(ValueError, match="an entry is not an image with id and file_name, or a caption of one"):
        CocoCaptions(annotations=tmp_path / "instances.json")


# --- Long captions --------------------------------------------------------------------------------------------------


def test_urban_reads_the_first_line_in_natural_order(tmp_path):
    root = write(tmp_path / "Urban1k", {f"image/{n}.jpg": picture(n * 20) for n in (1, 2, 10)})
    write(
        root,
        {"caption/1.txt": "a street.\nsecond line", "caption/2.txt": "a tram", "caption/10.txt": "a roof", "caption/3.txt": "x"},
    )
    write(root, {"caption/4.txt": "\nonly the second"})
    source = Urban1k(data_root=root)
    assert [captions(source, i)[0] for i in range(len(source))] == ["a street.", "a tram", "a roof"]
    assert [red(source[i]) for i in range(3)] == pytest.approx([20, 40, 200], abs=2)
    assert "first line of each text; 3 images, 3 captions; INCOMPLETE: 2 of 5 images left out" in source.describe()
    with pytest.raises(ValueError, match=r"holds no folder image/ or images/; it holds Urban1k/"):
        Urban1k(data_root=tmp_path)


def conversations(count: int) -> list[dict]:
    return [
        {"id": f"sa_{n}", "image": f"sam/images/sa_{n}.jpg", "conversations": [
            {"from": "human", "value": "Describe.\n<image>"}, {"from": "gpt", "value": f"caption {n}\nof many words {'é' * 300}"}]}
        for n in range(count)
    ]  # fmt: skip


def test_sharegpt4v_takes_the_first_thousand_entries_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("finevit.datasets.readers.long_captions._CHUNK", 1000)  # every entry crosses a border
    entries = conversations(1005)
    entries[2]["conversations"].pop()
    write(tmp_path, {"captions.json": json.dumps(entries, ensure_ascii=False)[:-1] + ", broken"})  # never read so far
    write(tmp_path, {f"sam/images/sa_{n}.jpg": picture() for n in (0, 2, 999, 1000)})
    source = ShareGPT4V1k(annotations=tmp_path / "captions.json")
    assert [source[i].id for i in range(len(source))] == ["0/sa_0", "999/sa_999"]
    assert captions(source, 1)[0].startswith("caption 999 of many words éé")
    assert "first 1,000 entries; 2 images, 2 captions; INCOMPLETE: 998 of 1,000 images left out" in source.describe()


def test_a_short_list_ends_and_what_is_no_list_is_refused(tmp_path):
    write(tmp_path, {"short.json": ' [ {"a": 1} ,\n2, [3] ] ', "torn.json": '[{"a": 1}, {"b"', "object.json": "{}"})
    assert list(first_of_list(tmp_path / "short.json", 10)) == [{"a": 1}, 2, [3]]
    assert list(first_of_list(tmp_path / "short.json", 2)) == [{"a": 1}, 2]
    with pytest.raises(ValueError, match=r"torn\.json is not valid JSON"):
        list(first_of_list(tmp_path / "torn.json", 10))
    with pytest.raises(ValueError, match="must hold a list of entries"):
        list(first_of_list(tmp_path / "object.json", 10))


def test_dci_says_which_text(tmp_path):
    root = tmp_path / "densely_captioned_images"
    for n, extra in ((2, "A pond."), (10, ""), (11, "Gone.")):
        write(root, {f"annotations/sa_{n}.json": {"image": f"sa_{n}.jpg", "short_caption": f"Park {n}.", "extra_caption": extra}})
    write(root, {"photos/sa_2.jpg": picture(), "photos/sa_10.jpg": picture(), "annotations/sa_12.json": "{"})
    for folder in (tmp_path, root):
        source = DCI(data_root=folder)
        assert [captions(source, i) for i in range(len(source))] == [["Park 2. A pond."], ["Park 10."]]
    assert "text 'extended' (short_caption, then extra_caption); 2 images, 2 captions; INCOMPLETE: 2 of 4" in source.describe()
    source = DCI(data_root=root, text="extra")
    assert [captions(source, i) for i in range(len(source))] == [["A pond."]]
    with pytest.raises(ValueError, match="text='long' is unknown; choose one of extended, short, extra"):
        DCI(data_root=root, text="long")
    with pytest.raises(ValueError, match="holds no folder annotations/ or complete/"):
        DCI(data_root=root / "photos")


# --- CLIP_benchmark -------------------------------------------------------------------------------------------------


def classification(root: Path) -> Path:
    write(root, {"classnames.txt": "cat\ndog\n", "zeroshot_classification_templates.txt": "a photo of a {c}.\nart of a {c}.\n"})
    write(root, {"test/nshards.txt": "2\n"})
    tar(
        root / "test/0.tar",
        {"s0000000.webp": picture(50, "WEBP"), "s0000000.cls": "1", "s0000001.cls": "0", "s0000001.png": picture(90, "PNG")},
    )
    tar(root / "test/1.tar", {"s0000002.jpg": picture(130), "s0000002.cls": "7", "s0000003.jpg": picture(170)})
    return root


def test_clip_benchmark_classification(tmp_path):
    source = ClipBenchmarkTars(data_root=classification(tmp_path / "wds_pets"))
    assert (source.task, source.classes, source.templates) == (
        "classification",
        ("cat", "dog"),
        ("a photo of a {c}.", "art of a {c}."),
    )
    assert [(source[i].id, source[i].facts["label"]) for i in (0, 1)] == [("0/s0000000", 1), ("0/s0000001", 0)]
    assert [red(source[i]) for i in (0, 1)] == pytest.approx([50, 90], abs=2)
    with pytest.raises(BadSample, match=r"1/s0000002: label 7 is not one of the 2 classes"):
        source[2]
    with pytest.raises(BadSample, match=r"1/s0000003: has no label in a \.cls"):
        source[3]
    assert source.describe().endswith("split 'test', classification of 2 classes, 2 prompts of its own; 4 images in 2 tars")


def test_clip_benchmark_retrieval(tmp_path):
    write(tmp_path, {"dataset_type.txt": "retrieval\n", "test/nshards.txt": "1"})
    tar(tmp_path / "test/0.tar", {"s0000000.jpg": picture(), "s0000000.txt": "one\ntwo\n\nthree", "s0000001.jpg": picture()})
    source = ClipBenchmarkTars(data_root=tmp_path)
    assert source.task == "retrieval"
    assert source[0].captions == {"caption-1": "one", "caption-2": "two", "caption-3": "three"}
    with pytest.raises(BadSample, match=r"0/s0000001: has no caption in a \.txt"):
        source[1]


def test_clip_benchmark_names_what_is_missing(tmp_path):
    root = classification(tmp_path)
    with pytest.raises(ValueError, match=r"holds no folder train/; it holds classnames\.txt, test/"):
        ClipBenchmarkTars(data_root=root, split="train")
    write(root, {"test/nshards.txt": "4"})
    with pytest.raises(ValueError, match=r"lacks 2\.tar, 3\.tar of the 4 tars"):
        ClipBenchmarkTars(data_root=root)
    (root / "test/nshards.txt").unlink()
    with pytest.raises(ValueError, match=r"nshards\.txt must hold the number of tars; test/ holds 0\.tar, 1\.tar"):
        ClipBenchmarkTars(data_root=root)
    (root / "classnames.txt").unlink()
    with pytest.raises(ValueError, match=r"holds no classnames\.txt, which classification needs"):
        ClipBenchmarkTars(data_root=root)
    write(root, {"dataset_type.txt": "multilabel"})
    with pytest.raises(ValueError, match="says 'multilabel'; FineViT evaluates classification and retrieval"):
        ClipBenchmarkTars(data_root=root)


# --- Batches --------------------------------------------------------------------------------------------------------


def test_every_caption_and_no_replacement_reaches_the_batch(tmp_path):
    write(tmp_path, {"dataset_type.txt": "retrieval", "test/nshards.txt": "1"})
    tar(tmp_path / "test/0.tar", {
        "a.jpg": picture(), "a.txt": "a cat\na dog", "b.jpg": b"torn", "b.txt": "torn", "c.jpg": picture(), "c.txt": "a tree " * 40,
    })  # fmt: skip
    transforms = [
        {"type": "finevit.ResizeToBudget"},
        {"type": "finevit.Patchify"},
        {"type": "finevit.AllCaptions", "tokenizer": "scenes"},
    ]
    dataset = NativeImages(source=ClipBenchmarkTars(data_root=tmp_path), transforms=transforms, max_seq_len=16)
    batch = pack_evaluation([dataset[0], dataset[1], dataset[2]], keys=["captions_list", "truncated"])
    assert batch["id"] == ["0/a", "0/c"]
    assert batch["caption_counts"] == (2, 1)
    assert batch["texts"].seqlens[2] == 16
    assert len(batch["texts"].seqlens) == 3
    assert batch["captions_list"][0] == ["a cat", "a dog"]
    assert batch["truncated"] == [[False, False], [True]]
    assert batch["counts"]["truncated"] == 1
    assert [message.partition(":")[0] for message in batch["skipped"]] == ["0/b"]
    own = dataset.transforms.transforms[-1]
    ids = own.tokenizer(["a dog"], 16)[0][0]
    start, end = (int(offset) for offset in batch["texts"].cu_seqlens[1:3])
    assert batch["texts"].tokens[start:end].tolist() == ids
    with pytest.raises(BadSample, match="no image of a batch can be used"):
        pack_evaluation([dataset[1]])


def test_labels_reach_the_batch(tmp_path):
    transforms = [{"type": "finevit.ResizeToBudget"}, {"type": "finevit.Patchify"}, {"type": "finevit.Label"}]
    dataset = NativeImages(source=ClipBenchmarkTars(data_root=classification(tmp_path)), transforms=transforms)
    batch = pack_evaluation([dataset[0], dataset[1]], keys=["label"])
    assert batch["label"] == [1, 0]
    assert "texts" not in batch
    assert np.array_equal(batch["images"].seqlens, [4, 4])


def test_images_without_a_usable_split_or_listed_twice_are_left_out_and_named(tmp_path):
    images = [{"filename": "a.jpg", "split": split, "sentences": [{"raw": "one"}]} for split in ("test", ["test"], "test")]
    write(tmp_path, {"a.jpg": picture(), "k.json": {"images": [5, *images, None]}})
    source = Karpathy(annotations=tmp_path / "k.json")
    assert source.skipped.listed == ["k.json: image 2: its split is ['test']", "a.jpg was there already; an image counts once"]
    assert (
        "1 images, 1 captions; INCOMPLETE: 2 of 3 images left out; not read: 2 of 'images' that are no objects" in source.describe()
    )


def test_ids_of_coco_captions_may_be_floats_and_name_one_image(tmp_path):
    listed = [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2)] + [{"id": "2", "file_name": "other.jpg"}]
    told = [
        {"id": 3, "image_id": 1.0, "caption": "third"},
        {"image_id": 1, "caption": None},
        {"id": 2, "image_id": 1, "caption": "second"},
    ]
    write(
        tmp_path,
        {"1.jpg": picture(), "c.json": {"images": listed, "annotations": [*told, {"id": 4, "image_id": 2, "caption": "x"}]}},
    )
    source = CocoCaptions(annotations=tmp_path / "c.json")
    assert [captions(source, i) for i in range(len(source))] == [["second", "third"]]
    assert source.skipped.listed == [
        "c.json: image 1: the file has several images of the id 2",
        "c.json: image 2: the file has several images of the id 2",
        "c.json: annotation 1: its caption is None",
        "c.json: annotation 3: its image 2 is not in the file",
    ]


def test_urban_names_images_without_a_text_and_texts_that_cannot_be_read(tmp_path):
    write(tmp_path, {f"image/{n}.jpg": picture() for n in (1, 2, 3)} | {"caption/1.TXT": "one", "caption/2.txt/x": "folder"})
    source = Urban1k(data_root=tmp_path)
    assert captions(source, 0) == ["one"]
    assert source.skipped.listed[0].startswith("2.txt: cannot read ")
    assert source.skipped.listed[1:] == [f"{tmp_path}/image/3.jpg: has no caption in {tmp_path}/caption"]
    assert "INCOMPLETE: 2 of 3 images left out" in source.describe()


def test_json_that_is_too_deep_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"deep\.json is not valid JSON \(maximum recursion depth"):
        list(first_of_list(write(tmp_path, {"deep.json": "[" * 100_000}) / "deep.json", 10))


@pytest.mark.parametrize("number", ["²", "9" * 5000, "1.0", "0"])
def test_a_number_of_tars_that_is_none_is_refused(tmp_path, number):
    root = classification(tmp_path)
    (root / "test/nshards.txt").write_text(number)
    with pytest.raises(ValueError, match=r"nshards\.txt must hold the number of tars"):
        ClipBenchmarkTars(data_root=root)


def test_captions_of_dci_that_are_no_texts_are_left_out_and_named(tmp_path):
    told = [{"image": "1.jpg", "short_caption": text, "extra_caption": "b"} for text in ("a", None, 5, ["x"])]
    write(tmp_path, {"photos/1.jpg": picture()} | {f"annotations/{i}.json": entry for i, entry in enumerate(told)})
    source = DCI(data_root=tmp_path)
    assert [captions(source, i) for i in range(len(source))] == [["a b"], ["b"]]
    assert [said.rpartition("/")[2] for said in source.skipped.listed] == ["2.json: 5 is no caption", "3.json: ['x'] is no caption"]

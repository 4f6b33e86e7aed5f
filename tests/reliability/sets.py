"""Small whole sets of every kind that a reader reads, and their way to a sample, for trials that break them."""

import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from finevit.contracts import BadSample, Source
from finevit.datasets.dataset import NativeImages
from finevit.evaluation import benchmarks
from finevit.evaluation.probes.data import folders
from finevit.registry import DATASETS

CAPTIONS = [{"type": "finevit.AllCaptions", "tokenizer": "scenes"}]
DRAWN = [{"type": "finevit.PickCaption"}, {"type": "finevit.Tokenize", "tokenizer": "scenes"}]
QUESTIONS, LABEL = [{"type": "finevit.AskRecorded"}], [{"type": "finevit.Label"}]
NUMBERS, SIZES = [1, 2, 3, 4], {"width": 40, "height": 20}


class Kind(NamedTuple):
    """A set: its ``files`` by their names, how it is opened below a folder, and what transforms make samples of it."""

    files: dict[str, object]
    open: Callable[[Path], list[Source]]
    transforms: list[dict]


class Pickled(NamedTuple):
    """Plain values that are written as a pickle."""

    content: object


class Tar(NamedTuple):
    """Members of a tar, in a format of ``tarfile``, with records of pax headers."""

    members: dict[str, bytes]
    format: int = tarfile.USTAR_FORMAT
    pax: dict[str, str] = {}


def picture(value: int = 0, size: tuple[int, int] = (40, 20), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, (value, 0, 0) if mode == "RGB" else value).save(file, "PNG")
    return file.getvalue()


PICTURE = picture()


def write(root: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, bytes | Path):
            content = encoded(content)
        path.write_bytes(content)


def encoded(content: object) -> bytes:
    """A file: text, a tar, a pickle, lines of JSON where the content is a tuple, else one JSON document."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, Tar):
        return tarred(content)
    if isinstance(content, Pickled):
        return pickle.dumps(content.content, protocol=2)
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    return ("\n".join(map(dumps, content)) if isinstance(content, tuple) else dumps(content)).encode()


def dumps(content: object) -> str:
    return json.dumps(content)


def tarred(tar: Tar) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tar.format) as archive:
        for name, data in tar.members.items():
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(data), dict(tar.pax)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def benchmark(text: str) -> Callable[[Path], list[Source]]:
    """Opens an evaluation set as ``tools/test.py --benchmark`` does; ``{}`` stands for the folder."""
    return lambda root: [DATASETS.build(benchmarks.parse(text.replace("{}", str(root)))[1])]


def own(name: str = "") -> Callable[[Path], list[Source]]:
    """Opens people's own data, as ``data_root=PATH`` does."""
    return lambda root: [DATASETS.build({"type": "finevit.OpenData", "data_root": str(root / name), "split": "all"})]


def probed(probe: str) -> Callable[[Path], list[Source]]:
    """Opens what a probe learns from, as ``tools/probe.py --data`` does."""
    return lambda root: [source for data in folders(root, [probe]) for source in (data.train, data.test)]


def sampled(kind: Kind, root: Path) -> list[str]:
    """Every record of a set's sources as a sample; what was left out, and why."""
    said = []
    for source in kind.open(root):
        said += [source.describe(), *source.skipped.listed, source.skipped.said()]
        dataset = NativeImages(source=source, transforms=kind.transforms, max_seq_len=64)
        for place in range(len(dataset)):
            source.size(place)
            try:
                said += dataset[place]["skipped"]
            except BadSample as error:
                said.append(str(error))
    return said


# --- the sets -------------------------------------------------------------------------------------------------------


def _images(pattern: str = "{}.png") -> dict[str, object]:
    return {pattern.format(number): PICTURE for number in NUMBERS}


def _karpathy() -> Kind:
    def image(number: int) -> dict:
        sentences = [{"raw": f"image {number} text {n}.", "tokens": ["image"], "sentid": n} for n in range(3)]
        where = {"filepath": "val2014", "filename": f"{number}.png", "split": "test", "cocoid": number, "imgid": number}
        return {**where, "sentences": sentences, "sentids": [1, 2, 3]}

    document = {"dataset": "coco", "images": [image(number) for number in NUMBERS]}
    files = {"dataset_coco.json": document, **_images("val2014/{}.png")}
    return Kind(files, benchmark("coco-karpathy={}/dataset_coco.json"), CAPTIONS)


def _coco() -> Kind:
    images = [{"id": number, "file_name": f"{number}.png", **SIZES} for number in NUMBERS]
    annotations = [{"id": 10 + n, "image_id": 1 + n % 4, "caption": f"a dog and {n} cats"} for n in range(8)]
    files = {"captions.json": {"info": {}, "images": images, "annotations": annotations}, **_images()}
    return Kind(files, benchmark("coco-val2017={}/captions.json"), CAPTIONS)


def _urban() -> Kind:
    texts = {f"caption/{number}.txt": f"A long text of image {number}.\nAnother line.\n" for number in NUMBERS}
    return Kind({**texts, **_images("image/{}.png")}, benchmark("urban-1k={}"), CAPTIONS)


def _sharegpt4v() -> Kind:
    def entry(number: int) -> dict:
        turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": f"A long caption of {number}."}]
        return {"id": f"{number}", "image": f"sam/{number}.png", "conversations": turns}

    files = {"share.json": [entry(number) for number in NUMBERS], **_images("sam/{}.png")}
    return Kind(files, benchmark("sharegpt4v-1k={}/share.json"), CAPTIONS)


def _dci() -> Kind:
    def entry(number: int) -> dict:
        mask = {"idx": 1, "caption": "a part", "label": "part", "bounds": {"topLeft": {"x": 1, "y": 2}}}
        return {"image": f"{number}.png", "short_caption": f"a dog {number}", "extra_caption": "It sits.", "mask_data": {"1": mask}}

    files = {f"annotations/{number}.json": entry(number) for number in NUMBERS}
    return Kind({**files, **_images("photos/{}.png")}, benchmark("dci={}"), CAPTIONS)


def _clip_classes() -> Kind:
    members = {f"s{number}.{ending}": data for number in NUMBERS for ending, data in (("png", PICTURE), ("cls", b"1"))}
    files = {"classnames.txt": "cat\ndog\n", "zeroshot_classification_templates.txt": "a photo of {c}.\n", "test/nshards.txt": "2"}
    tars = {"test/0.tar": Tar(members), "test/1.tar": Tar(members, tarfile.PAX_FORMAT, {"mtime": "1.5", "comment": "x"})}
    return Kind({**files, **tars}, benchmark("clip-benchmark={}"), LABEL)


def _clip_retrieval() -> Kind:
    members = {f"s{number}.{ending}": data for number in NUMBERS for ending, data in (("png", PICTURE), ("txt", b"a dog\na cat"))}
    files = {"dataset_type.txt": "retrieval", "test/nshards.txt": "1", "test/0.tar": Tar(members)}
    return Kind(files, benchmark("clip-benchmark={}"), CAPTIONS)


def _annotations(count: int = 8) -> list[dict]:
    return [
        {"id": 100 + n, "image_id": 1 + n % 4, "category_id": 1 + n % 2, "bbox": [n, 2, 9.5, 8], "area": 76.0, "iscrowd": 0}
        for n in range(count)
    ]


def _instances() -> dict:
    images = [{"id": number, "file_name": f"{number}.png", **SIZES} for number in NUMBERS]
    categories = [{"id": 1, "name": "cat", "supercategory": "animal"}, {"id": 2, "name": "dog", "supercategory": "animal"}]
    return {"images": images, "annotations": _annotations(), "categories": categories}


def _refcoco(name: str = "refcoco") -> Kind:
    def reference(number: int) -> dict:
        sentences = [{"sent_id": n, "sent": f"left dog {n}", "raw": "Left dog", "tokens": ["left", "dog"]} for n in range(2)]
        ids = {"ref_id": number, "ann_id": 100 + number, "image_id": 1 + number % 4, "category_id": 1, "sent_ids": [0, 1]}
        return {**ids, "split": "val" if number % 2 else "testA", "sentences": sentences, "file_name": f"{number}.png"}

    references = Pickled([reference(number) for number in range(8)])
    return Kind({"refs(unc).p": references, "instances.json": _instances(), **_images()}, benchmark(f"{name}={{}}"), QUESTIONS)


def _lvis() -> Kind:
    content = _instances()
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{image.pop('file_name')}"
    files = {f"annotations/instances_{split}2017.json": content for split in ("train", "val")}
    pictures = _images("train2017/{}.png") | _images("val2017/{}.png")
    return Kind({**files, **pictures}, probed("regions"), [])


def _regions() -> Kind:
    files = {f"annotations/instances_{split}2017.json": _instances() for split in ("train", "val")}
    return Kind({**files, **_images("train2017/{}.png"), **_images("val2017/{}.png")}, probed("regions"), [])


def _maps() -> Kind:
    parts = ("training", "validation")
    files = {f"annotations/{part}/{number}.png": picture(number, mode="L") for part in parts for number in NUMBERS}
    return Kind({**files, **_images("images/training/{}.png"), **_images("images/validation/{}.png")}, probed("segmentation"), [])


def _countbench() -> Kind:
    rows = [{"image": f"{number}.png", "number": 1 + number, "text": f"a photo of {1 + number} dogs"} for number in NUMBERS]
    return Kind({"countbench.json": rows, **_images()}, benchmark("countbench={}/countbench.json"), QUESTIONS)


def _countbench_lines() -> Kind:
    rows = tuple({"image_path": f"{number}.png", "number": 1 + number, "text": f"{1 + number} dogs"} for number in NUMBERS)
    asked = [{"image_path": f"{number}.png", "question": "How many dogs are there?"} for number in NUMBERS]
    opened = benchmark("countbench={}/countbench.jsonl,questions={}/questions.json")
    return Kind({"countbench.jsonl": rows, "questions.json": asked, **_images()}, opened, QUESTIONS)


def _ocrbench() -> Kind:
    def question(number: int) -> dict:
        name = "HME100k" if number == 1 else "IIIT5K"
        asked = {"question": "what is written in the image?", "answers": ["EXIT", "Exit"], "type": "Text"}
        return {"dataset_name": name, "id": number, "image_path": f"IIIT5K/{number}.png", **asked}

    files = {"OCRBench.json": [question(number) for number in NUMBERS], **_images("OCRBench_Images/IIIT5K/{}.png")}
    return Kind(files, benchmark("ocrbench={}/OCRBench.json"), QUESTIONS)


def _docvqa() -> Kind:
    def question(number: int) -> dict:
        asked = {"question": "what is the date?", "answers": ["1/8/93", "8 January"], "question_types": ["handwritten"]}
        ids = {"questionId": number, "docId": number, "ucsf_document_id": "x", "data_split": "val"}
        return {**ids, **asked, "image": f"documents/{number}.png"}

    document = {"dataset_name": "SP-DocVQA", "dataset_split": "val", "data": [question(number) for number in NUMBERS]}
    files = {"val.json": document, **_images("documents/{}.png")}
    return Kind(files, benchmark("docvqa={}/val.json"), QUESTIONS)


def _imagenet() -> Kind:
    files = {f"val/n0000000{label}/{number}.png": PICTURE for label in (1, 2) for number in NUMBERS}
    return Kind(files, benchmark("imagenet={}"), LABEL)


def _real() -> Kind:
    files = {f"val/ILSVRC2012_val_{number:08}.png": PICTURE for number in NUMBERS}
    return Kind({"real.json": [[1, 2], [3], [], [4]], **files}, benchmark("imagenet={},real={}/real.json"), LABEL)


def _entries() -> tuple[dict, ...]:
    region = {"box": [0.1, 0.2, 0.5, 0.9], "phrase": "brown dog", "class_id": 3}
    pixels = {"box": [4, 6, 20, 18], "text": "EXIT", "kind": "text_line"}
    return (
        {"image": "1.png", "caption": "A dog on a sofa."},
        {"id": "2", "image": "2.png", "captions": {"long": "A brown dog lies.", "short": ["A dog.", "A dog on a sofa."]}},
        {"image": "3.png", "text": "One more place for a caption.", "regions": [region]},
        {"image": "4.png", **SIZES, "caption": ["a cat", "a dog"], "regions": [pixels, region]},
    )


def _json_lines() -> Kind:
    return Kind({"data.jsonl": _entries(), **_images()}, own("data.jsonl"), DRAWN)


def _tars(format: int, pax: dict[str, str]) -> Kind:
    entries = [{key: value for key, value in entry.items() if key not in ("image", "id")} for entry in _entries()]
    members = dict[str, bytes]()
    for number, entry in zip(NUMBERS, entries, strict=True):
        members |= {f"a/{number}.png": PICTURE, f"a/{number}.txt": b"a dog on a sofa", f"a/{number}.json": encoded(entry)}
    return Kind({"data.tar": Tar(members, format, pax)}, own(), DRAWN)


def _folder() -> Kind:
    texts = {f"a/{number}.txt": f"A dog on sofa {number}." for number in NUMBERS}
    return Kind({**texts, **_images("a/{}.png"), "b/c/1.png": PICTURE, "b/c/1.txt": "a cat"}, own(), DRAWN)


KINDS = {
    "karpathy": _karpathy(),
    "coco": _coco(),
    "urban": _urban(),
    "sharegpt4v": _sharegpt4v(),
    "dci": _dci(),
    "clip classes": _clip_classes(),
    "clip retrieval": _clip_retrieval(),
    "refcoco": _refcoco(),
    "refcocog": _refcoco("refcocog"),
    "lvis": _lvis(),
    "regions": _regions(),
    "label maps": _maps(),
    "countbench": _countbench(),
    "countbench lines": _countbench_lines(),
    "ocrbench": _ocrbench(),
    "docvqa": _docvqa(),
    "imagenet": _imagenet(),
    "real": _real(),
    "json lines": _json_lines(),
    "tar": _tars(tarfile.USTAR_FORMAT, {}),
    "gnu tar": _tars(tarfile.GNU_FORMAT, {}),
    "pax tar": _tars(tarfile.PAX_FORMAT, {"mtime": "1.5", "comment": "x"}),
    "folder": _folder(),
}
"""Every kind of set that a reader reads, whole."""

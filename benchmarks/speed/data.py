"""From JPEG files to a pack, on one core: our dataset beside its decoder with one resize alone, and beside torchvision's folder.

The images are drawn here: noise with the spectrum of photographs, 1 megapixel each. They lie in the page cache when it counts.
"""

import argparse
import io
import math
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks.speed.benchmark import SPEED_BENCHMARKS, SpeedBenchmark
from benchmarks.speed.measure import Step, in_turn, ratio
from benchmarks.speed.output import Column, Panel, Result

OURS = "finevit"
DECODERS = ("Pillow decoder, one resize", "OpenCV decoder, one resize")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ASPECTS = (4 / 3, 3 / 4, 1.0, 3 / 2)


@SPEED_BENCHMARKS.register_module(name="data")
class DataSpeed(SpeedBenchmark):
    """Images a second of each pipeline."""

    compares = "JPEG files to a pack on one core: our dataset, its decoder alone, a folder of torchvision"
    unit = "images/s"
    columns = (
        Column("pipeline", "pipeline"),
        Column("rate", "images/s", ",.1f"),
        Column("ours", "ours is", ".2f"),
    )
    quick = {"images": 4, "megapixels": 0.2, "side": 112, "rounds": 1}

    @staticmethod
    def add_options(command: argparse.ArgumentParser) -> None:
        command.add_argument("--images", type=int, default=32, help="how many JPEGs (default: 32)")
        command.add_argument("--megapixels", type=float, default=1.0, help="of each (default: 1)")
        command.add_argument("--side", type=int, default=448, help="they are reduced to the area of this square (default: 448)")

    @staticmethod
    def run(arguments: argparse.Namespace) -> Result:
        """Measures each pipeline on the same files, with one thread."""
        torch.set_num_threads(1)
        cv2.setNumThreads(0)
        with TemporaryDirectory() as folder:
            files = write_images(Path(folder), arguments.images, arguments.megapixels)
            steps = pipelines(Path(folder), files, arguments.side)
            seconds = in_turn(steps, device=torch.device("cpu"), rounds=arguments.rounds)
            size = sum(file.stat().st_size for file in files) / len(files)
        rates = {name: [len(files) / each for each in taken] for name, taken in seconds.items()}
        rows = [
            {"pipeline": name, "rate": median(each), "ours": ratio(rates[OURS], each), "seconds": seconds[name]}
            for name, each in rates.items()
        ]
        settings = {"images": len(files), "megapixels": arguments.megapixels, "side": arguments.side, "bytes": round(size)}
        files_are = f"{len(files)} JPEGs of {arguments.megapixels:g} megapixels and {size / 1000:,.0f} kB"
        notes = [f"{files_are}, to about {arguments.side}^2 pixels"]
        panels = [Panel("one core", {row["pipeline"]: row["rate"] for row in rows})]
        return Result(settings, rows, panels, notes)


def pipelines(folder: Path, files: list[Path], side: int) -> dict[str, Step]:
    """Each step takes every file once."""
    dataset, collate = ours(folder, side)
    sizes = [(rows * 14, cols * 14) for rows, cols in (dataset[index]["shape"] for index in range(len(files)))]
    wanted = list(zip(sorted(files), sizes, strict=True))
    folder_of_torchvision = torchvision_folder(folder, side)
    default_collate = torch.utils.data.default_collate
    return {
        OURS: lambda: collate([dataset[index] for index in range(len(files))]),
        DECODERS[0]: lambda: [pillow(file.read_bytes(), *size) for file, size in wanted],
        DECODERS[1]: lambda: [opencv(file.read_bytes(), *size) for file, size in wanted],
        "torchvision folder": lambda: default_collate([folder_of_torchvision[index] for index in range(len(files))]),
    }


def ours(folder: Path, side: int) -> tuple:
    """The dataset of the stages, without what captions need, and its collate function."""
    from finevit.datasets import ImageFolder, NativeImages
    from finevit.packing.collate import pack_samples

    transforms = [{"type": "finevit.ResizeToBudget"}, {"type": "finevit.Patchify"}]
    return NativeImages(source=ImageFolder(data_root=folder, split="all"), transforms=transforms, pixels=side**2), pack_samples


def pillow(data: bytes, height: int, width: int) -> np.ndarray:
    """Decoded at the smallest scale of a JPEG that is large enough, then resized once."""
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (width, height))
    return cv2.resize(np.asarray(image), (width, height), interpolation=cv2.INTER_AREA)


def opencv(data: bytes, height: int, width: int) -> np.ndarray:
    """The same by OpenCV, which must be told the scale: the images here are less than four times as large as wanted, or more."""
    image = Image.open(io.BytesIO(data))
    half = min(image.width // width, image.height // height) >= 2
    kind = cv2.IMREAD_REDUCED_COLOR_2 if half else cv2.IMREAD_COLOR
    pixels = cv2.resize(cv2.imdecode(np.frombuffer(data, np.uint8), kind), (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def torchvision_folder(folder: Path, side: int) -> torch.utils.data.Dataset:
    """As in torchvision's own examples: the shorter side resized, the centre cut out, a normalised float tensor."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    steps = [transforms.Resize(side), transforms.CenterCrop(side), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    return ImageFolder(str(folder), transforms.Compose(steps))


def write_images(folder: Path, count: int, megapixels: float) -> list[Path]:
    """JPEGs of so many megapixels and several aspect ratios, in one class of a folder."""
    inner = folder / "class"
    inner.mkdir()
    files = []
    for index in range(count):
        aspect = ASPECTS[index % len(ASPECTS)]
        height = round(math.sqrt(1e6 * megapixels / aspect))
        files.append(inner / f"{index:03d}.jpg")
        Image.fromarray(picture(height, round(height * aspect), seed=index)).save(files[-1], quality=90)
    return files


def picture(height: int, width: int, *, seed: int) -> np.ndarray:
    """``uint8 [height, width, 3]``: noise whose amplitude falls with the frequency, as in photographs; mostly grey."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    fall = np.maximum(frequency, 1 / max(height, width)) ** -1.2
    grey, *colours = (np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) * fall, (height, width)) for _ in range(4))
    mixed = np.stack([grey / grey.std() + 0.3 * colour / colour.std() for colour in colours], -1)
    return (128 + 50 * mixed).clip(0, 255).astype(np.uint8)

"""Images that cost far more than they look: by every reader each is read or refused by a reason, within two seconds and 1 GiB."""

import io
import json
import os
import re
import resource
import signal
import tarfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from bombs import BOMBS

from finevit.contracts import BadSample, Source
from finevit.datasets.dataset import NativeImages
from finevit.datasets.readers import CocoCaptions, ImageFolder, JsonLines, TarShards
from finevit.datasets.transforms.image_transforms import Patchify, ResizeToBudget

SECONDS, MEMORY = 2.0, 2**30
"""Of a processor, and above what the process holds before."""
TRIES = 3
GOOD = b"P6 2 2 255\n" + bytes(12)
TRANSFORMS = (ResizeToBudget(), Patchify())


def folder(root: Path) -> Source:
    return ImageFolder(data_root=root, split="all")


def lines(root: Path) -> Source:
    entries = [json.dumps({"image": name}) for name in ("bomb.jpg", "good.ppm")]
    (root / "set.jsonl").write_text("\n".join(entries))
    return JsonLines(data_root=root, split="all")


def tar(root: Path) -> Source:
    with tarfile.open(root / "set.tar", "w") as file:
        for name in ("bomb.jpg", "good.ppm"):
            file.add(root / name, name)
    return TarShards(data_root=root / "set.tar", split="all")


def evaluation(root: Path) -> Source:
    names = ("bomb.jpg", "good.ppm")
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    captions = [{"id": number, "image_id": number, "caption": "A dog."} for number in range(len(names))]
    (root / "set.json").write_text(json.dumps({"images": images, "annotations": captions}))
    return CocoCaptions(annotations=root / "set.json")


READERS: tuple[Callable[[Path], Source], ...] = (folder, lines, tar, evaluation)


def kibibytes(field: str) -> int:
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def costs(root: Path, reader: Callable[[Path], Source]) -> tuple[float, int, str]:
    """Seconds, bytes and the reason of a refusal, of opening a set, asking for the size and training on the image."""
    before = kibibytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    begin = time.process_time()
    source = reader(root)
    dataset = NativeImages(source=source, transforms=TRANSFORMS)
    source.size(0)
    try:
        said = "; ".join(dataset[0]["skipped"])
    except BadSample as error:
        said = str(error)
    return time.process_time() - begin, (kibibytes("VmHWM") - before) * 1024, said


def apart(work: Callable[[], object], seconds: int = 60) -> object:
    """What ``work`` returns in a process of its own; ``TimeoutError`` where it does not end."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        try:
            os.write(writing, json.dumps(work()).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with io.FileIO(reading) as pipe:
        said = pipe.readall()
    os.waitpid(child, 0)
    if not said:
        raise TimeoutError(f"no answer within {seconds} s")
    return json.loads(said)


def test_image_bombs(trial, tmp_path):
    worst_seconds, worst_memory, refused, attempts = 0.0, 0, 0, 0
    count = trial.count(len(BOMBS) * len(READERS))
    chosen = list(BOMBS.items())[:: max(1, len(BOMBS) * len(READERS) // count)]
    for number, (name, make) in enumerate(chosen):
        data = make()
        for place, reader in enumerate(READERS):
            if count <= len(BOMBS) and place != number % len(READERS):
                continue
            root = tmp_path / f"{number}-{place}"
            root.mkdir()
            (root / "bomb.jpg").write_bytes(data)
            (root / "good.ppm").write_bytes(GOOD)
            for _ in range(TRIES):  # other processes share the caches of the processor
                seconds, memory, said = apart(lambda root=root, reader=reader: costs(root, reader))
                if seconds <= SECONDS:
                    break
            print(f"{name:50} {reader.__name__:10} {seconds:5.2f} s {memory >> 20:5} MiB  {said[:120]}", flush=True)
            assert seconds <= SECONDS, name
            assert memory <= MEMORY, name
            for file in root.iterdir():
                file.unlink()
            worst_seconds, worst_memory = max(worst_seconds, seconds), max(worst_memory, memory)
            refused, attempts = refused + bool(said), attempts + 1
    trial.record(attempts=attempts, refused=refused, most_seconds=round(worst_seconds, 2), most_mib=worst_memory >> 20)

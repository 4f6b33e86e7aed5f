"""Pipes, sockets, devices and folders in the place of every file that a command line may name: each is told, none is waited for."""

import os
import random
import shutil
import socket
from pathlib import Path

from forked import HUNG, forked
from readers import CONFIG

SECONDS = 60
"""A command that has not ended by then hangs: busy processors make ten seconds of two."""
KINDS = ("pipe", "link", "socket", "folder", "/dev/zero", "/dev/stdin", "/dev/random")
BESIDE = ("sample", "caption", "entry", "digest", "held_out", "of_a_folder")
"""What is one of several files: the others are used, and the odd one is named, or nobody needs it."""


def put(path: Path, kind: str) -> Path:
    """Makes ``path`` something that is no regular file; a device is named as it is, where a command can name it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        os.mkfifo(path.with_name(f"behind_{path.name}"))
        path.symlink_to(path.with_name(f"behind_{path.name}"))
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # its name may have 108 bytes
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
        os.chdir(here)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(kind)
    return path


def images(folder: Path, count: int = 12) -> Path:
    """A folder of small captioned images."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number}.ppm").write_bytes(b"P6 64 64 255\n" + bytes([number]) * 64 * 64 * 3)
        (folder / f"{number}.txt").write_text(f"a picture of shade {number}")
    return folder


class Roads:
    """Command lines, each with something odd of a kind in it; the methods are roads."""

    def __init__(self, base: Path, place: Path, kind: str) -> None:
        self.base, self.place, self.kind = base, place, kind
        self.config, self.checkpoint, self.out = base / "config.py", base / "run/iter_2.pth", place / "out"

    def odd(self, name: str) -> Path:
        return put(self.place / name, self.kind)

    def _train(self, *options: object, flags: tuple = ()) -> tuple:
        return ("train", self.config, *flags, "--work-dir", self.out, *(("--cfg-options", *options) if options else ()))

    def resume(self) -> tuple:
        return self._train(flags=("--resume", self.odd("odd.pth")))

    def load_from(self) -> tuple:
        return self._train(f"load_from={self.odd('odd.pth')}")

    def pretrained(self) -> tuple:
        start = "model.backbone.init_cfg"
        return self._train(f"{start}.type=Pretrained", f"{start}.checkpoint={self.odd('odd.pth')}", f"{start}.prefix=backbone.")

    def test(self) -> tuple:
        return ("test", self.config, self.odd("odd.pth"), "--work-dir", self.out)

    def export(self) -> tuple:
        return ("export", self.odd("odd.safetensors"), "--to", "safetensors", "--out", self.out)

    def probe(self) -> tuple:
        return ("probe", self.odd("odd.pth"), "--work-dir", self.out)

    def serve(self) -> tuple:
        return ("serve", self.config, self.odd("odd.pth"), "--port", "0")

    def config_of_train(self) -> tuple:
        return ("train", self.odd("odd.py"), "--work-dir", self.out)

    def config_of_plan(self) -> tuple:
        return ("train", self.odd("odd.yaml"), "--plan", "--work-dir", self.out)

    def config_of_test(self) -> tuple:
        return ("test", self.odd("odd.py"), self.checkpoint, "--work-dir", self.out)

    def config_of_export(self) -> tuple:
        return ("export", self.checkpoint, "--config", self.odd("odd.json"), "--to", "hf", "--out", self.out)

    def config_of_serve(self) -> tuple:
        return ("serve", self.odd("odd.py"), self.checkpoint, "--port", "0")

    def config_of_inspect(self) -> tuple:
        return ("inspect_config", self.odd("odd.py"))

    def base_of_config(self) -> tuple:
        self.odd("odd.py")
        (self.place / "leaf.py").write_text("_base_ = ['./odd.py']\n")
        return ("train", self.place / "leaf.py", "--work-dir", self.out)

    def data_root(self) -> tuple:
        return ("show_data", "--data-root", self.odd("odd"), "--out", self.place / "page.html")

    def jsonl(self) -> tuple:
        return ("show_data", "--data-root", self.odd("odd.jsonl"), "--out", self.place / "page.html")

    def tar(self) -> tuple:
        return ("show_data", "--data-root", self.odd("odd.tar"), "--out", self.place / "page.html")

    def json_of_training(self) -> tuple:
        return self._train(f"data_root={self.odd('odd.json')}")

    def held_out(self) -> tuple:
        return self._train(f"data_root={self.base / 'images'}", f"val_data_root={self.odd('odd.jsonl')}")

    def sample(self) -> tuple:
        images(self.place / "data")
        self.odd("data/odd.png")
        return ("show_data", "--data-root", self.place / "data", "--n", "20", "--out", self.place / "page.html")

    def caption(self) -> tuple:
        images(self.place / "data")
        (self.place / "data/3.txt").unlink()
        self.odd("data/3.txt")
        return ("show_data", "--data-root", self.place / "data", "--n", "20", "--out", self.place / "page.html")

    def entry(self) -> tuple:
        images(self.place / "data")
        self.odd("data/odd.png")
        lines = ['{"image": "odd.png", "caption": "odd"}', *(f'{{"image": "{n}.ppm", "caption": "{n}"}}' for n in range(12))]
        (self.place / "data/set.jsonl").write_text("\n".join(lines))
        return ("show_data", "--data-root", self.place / "data/set.jsonl", "--n", "20", "--out", self.place / "page.html")

    def annotations(self) -> tuple:
        return ("test", self.config, self.checkpoint, "--work-dir", self.out, "--benchmark", f"docvqa={self.odd('odd.json')}")

    def of_probe(self) -> tuple:
        return ("probe", self.checkpoint, "--data", self.odd("odd"), "--work-dir", self.out)

    def captions_of_tokenizer(self) -> tuple:
        return ("train_tokenizer", "--data-root", self.odd("odd.jsonl"), "--size", "300", "--out", self.out)

    def tokenizer(self) -> tuple:
        return self._train(f"model.llm.tokenizer={self.odd('odd')}")

    def of_a_folder(self) -> tuple:
        (self.place / "llm").mkdir()
        (self.place / "llm/config.json").write_text('{"model_type": "llama"}')
        self.odd("llm/odd.safetensors")
        return self._train("model.llm.type=HuggingFaceLLM", f"model.llm.model={self.place / 'llm'}")

    def results_of_test(self) -> tuple:
        self.odd("out/results.json")
        return ("test", self.config, self.checkpoint, "--work-dir", self.out)

    def results_of_probe(self) -> tuple:
        self.odd("out/results.json")
        return ("probe", self.checkpoint, "--images", "8", "4", "--probes", "knn", "--work-dir", self.out)

    def results_of_resume(self) -> tuple:
        shutil.copytree(self.base / "run", self.out)
        (self.out / "results.json").unlink()
        self.odd("out/results.json")
        return self._train(flags=("--resume",))

    def digest(self) -> tuple:
        shutil.copy(self.checkpoint, self.place / "iter_2.pth")
        self.odd("iter_2.pth.sha256")
        return ("export", self.place / "iter_2.pth", "--to", "safetensors", "--out", self.out)


def test_irregular_files(trial, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    text = CONFIG.replace("custom_hooks = []", 'custom_hooks = [dict(type="finevit.ReportHook", images=2)]')
    (base / "config.py").write_text(text)
    images(base / "images")
    os.mkfifo(tmp_path / "stdin")
    roads = [name for name, road in vars(Roads).items() if not name.startswith("_") and callable(road) and name != "odd"]
    attempts = [(road, kind) for road in roads for kind in KINDS if (road, kind) not in FINE]
    random.Random(0).shuffle(attempts)
    attempts, told = attempts[: trial.count(150)], 0
    with forked() as tools:
        code, said = tools.run("train", base / "config.py", "--work-dir", base / "run", log=tmp_path / "log")
        assert code == 0, said
        for number, (road, kind) in enumerate(attempts):
            place = tmp_path / f"{number}"
            place.mkdir()
            argv = getattr(Roads(base, place, kind), road)()
            code, said = tools.run(*argv, log=tmp_path / "log", seconds=SECONDS, stdin=str(tmp_path / "stdin"))
            print(road, kind, code, said[-300:], flush=True)
            assert code != HUNG, (road, kind, said)
            assert "Traceback" not in said, (road, kind, said)
            if road not in BESIDE:
                assert code == 2, (road, kind, said)
                error = said[said.rindex("error: ") :]
                assert "odd" in error or "results.json" in error, (road, kind, said)
                assert len(error.strip().splitlines()) <= 3, (road, kind, said)
            told += 1
    trial.record(attempts=len(attempts), told=told)


FINE = {("data_root", "folder"), ("of_probe", "folder")}
"""Folders where folders belong: what an empty one is told is no matter of this trial."""

"""Every command in README.md, CONTRIBUTING.md and docs/*.md: its own parser reads it and its config is checked; some run.

A command that no rule here knows fails. Those that are run by default are small; the long test runs the README from its first
command to its last, with smaller sizes.
"""

import argparse
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image
from pyarrow import parquet

from finevit.__main__ import names
from finevit.commands.recaption import load as load_recaption
from finevit.commands.recaption import parse_args as recaption_options
from finevit.config.loading import load
from finevit.plugins import load_plugins
from finevit.recaption.run import Watch, recaption
from finevit.recaption.work import ordered

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:finevit|make|python|pip) [^`\n]+)`")

ELSEWHERE = {
    "source ": "the shell's own",
    "curl ": "asks a server, as tests/test_serving.py does",
    "echo ": "asks a server, as tests/test_serving.py does",
    "python -m lmms_eval ": "of another package; tests/test_serving.py sends what it sends",
    "python run_api.py ": "of another repository; tests/test_serving.py sends what it sends",
    "python -m finevit.downstream.ops": "changes the environment; tests/test_downstream_finder.py looks at what it writes",
}
"""What is not run here, by its beginning, and why."""
UNCHECKED = {
    "mask_rcnn_finevit_l_coco": "asks for COCO's files; tests/test_downstream_configs.py checks it",
    "Alternating": "is in the package of the page; tests/test_own_parts.py checks it",
}
"""Configs that cannot be whole here, by a name in their command, and why."""
RUN: dict[str, list[str]] = {
    "finevit plugins": [],
    "finevit inspect --names": [],
    "finevit show --level easy --n 12 --out page.html": [],
    "finevit show --data-root PATH --n 12 --out page.html": [],
    "finevit write-scenes work_dirs/scenes": ["--train", "3", "--val", "2"],
}
"""What is run by default, with what makes it smaller."""
RECAPTION = ROOT / "docs/recaption.md"
SMALLER = {
    "plan": ["train_cfg.max_iters=2", "train_dataloader.batch_size=2"],
    "train": ["train_cfg.max_iters=2", "train_dataloader.batch_size=2", "val_dataloader.dataset.source.length=4"],
    "test": ["val_dataloader.dataset.source.length=4"],
}
"""What makes the commands of the README smaller."""


def fences(page: Path, language: str) -> Iterator[str]:
    return (code for _, said, code in FENCE.findall(page.read_text()) if said == language)


def commands(page: Path) -> list[str]:
    """The commands in the fences of a page, each on one line and without comments."""
    found, open_line = [], ""
    for line in "\n".join(fences(page, "bash")).splitlines():
        open_line = " ".join([open_line, re.sub(r"(^|\s+)# .*", "", line).strip()]).strip()
        if open_line.count("'") % 2 == 0 and not open_line.endswith(("\\", "|")):
            found += [open_line] * bool(open_line)
            open_line = ""
        open_line = open_line.removesuffix("\\")
    assert not open_line
    return [" ".join(command.split()) for command in found]


def mentioned(page: Path) -> list[str]:
    """The commands in the text of a page; a bare name of one, and what is left open, are no commands."""
    found = INLINE.findall(FENCE.sub("", page.read_text()))
    return [command for command in found if "..." not in command and command not in ("finevit NAME", "pip install")]


ALL = list(dict.fromkeys((page.name, command) for page in PAGES for command in [*commands(page), *mentioned(page)]))


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """A folder with images and their captions, and a file that lists them."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "images").mkdir()
    for number in range(60):
        Image.new("RGB", (56, 84), (4 * number, 0, 0)).save(folder / f"images/{number}.png")
        (folder / f"images/{number}.txt").write_text(f"Image number {number}.")
    lines = [f'{{"image": "images/{number}.png", "caption": "Image number {number}."}}\n' for number in range(60)]
    (folder / "captions.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def filled(here) -> Callable[[str], str]:
    """Puts what there is in the place of names that stand for something."""

    places = {
        "/path/to/images": here / "images",
        "/path/to/captions.jsonl": here / "captions.jsonl",
        "data_root=PATH": f"data_root={here / 'captions.jsonl'}",
        "--data-root PATH": f"--data-root {here / 'images'}",
        "CONFIG": "finevit_tiny_stage2",
    }

    def fill(command: str) -> str:
        for name, place in places.items():
            command = command.replace(name, str(place))
        return re.sub(r"work_dirs/finevit_\w+?_stage(\d)/iter_\w+\.pth", rf"{ROOT}/tests/golden/stage\1_before.pth", command)

    return fill


class Parsed(BaseException):
    """Carries what a program made of its arguments; the program goes no further."""


@pytest.fixture
def parse(monkeypatch) -> Callable[[Callable, list[str]], argparse.Namespace]:
    """Has a program read its arguments, and do nothing else."""
    read = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *given) -> None:
        raise Parsed(read(parser, *given))

    def parse(call: Callable, arguments: list[str]) -> argparse.Namespace:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["program", *arguments])
            patch.setattr(sys, "path", list(sys.path))
            patch.setattr(argparse.ArgumentParser, "parse_args", stop)
            with pytest.raises(Parsed) as parsed:
                call()
        return parsed.value.args[0]

    return parse


def recipe_of(words: list[str]) -> str:
    """What ``make`` would run; the tests may be run by ``make`` themselves."""
    command = ["make", "-n", "--no-print-directory", *words]
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def program(words: list[str]) -> tuple[Callable, list[str]]:
    """What a command calls, and with which arguments; of ``make``, what its recipe calls."""
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE), f"make has no {words[1]}"
        recipe = recipe_of(words[1:])
        words = shlex.split(recipe.strip().splitlines()[-1]) if len(words) > 2 else ["python", ""]
    if words[0] == "finevit":
        assert words[1] in names(), f"finevit has no command {words[1]}"
        return import_module(f"finevit.commands.{names()[words[1]]}").main, words[2:]
    assert words[0].endswith("python"), f"{words}: say in this file how it is tested"
    if words[1] == "-m":
        return lambda: runpy.run_module(words[2], run_name="__main__"), words[2:]
    return lambda: runpy.run_path(str(ROOT / words[1]), run_name="__main__"), words[2:]


def check_packages(asked: list[str]) -> None:
    """That pip is asked for FineViT, with extras that it has, or for packages that setup.py names."""
    setup = (ROOT / "setup.py").read_text()
    for word in asked:
        name, extra = re.fullmatch(r"([\w-]+)(?:\[(\w+)\])?", word).groups()
        assert name in ("finevit", "parameterized") or f'"{name}' in setup, word
        assert not extra or f'"{extra}": ' in setup, word


@pytest.mark.parametrize(("page", "command"), ALL, ids=[f"{page}: {command}" for page, command in ALL])
def test_a_command_of_the_documentation_is_read_and_its_config_checked(page, command, filled, parse):
    command = re.sub(r"^([A-Z_]+=\S+ )+", "", command)
    if command.startswith(tuple(ELSEWHERE)):
        return
    words = shlex.split(filled(command))
    if words[0] == "pip":
        return check_packages(words[2:])
    if "--help" in words or (len(words) == 2 and words[0] == "finevit"):
        assert words[1] in ("--help", *names())
        return
    call, arguments = program(words)
    if words[0] == "make" and (len(words) == 2 or "pytest" in arguments):
        return
    found = parse(call, arguments)
    if words[:2] == ["finevit", "recaption"] and not found.config.endswith(".py"):
        load_recaption(found)
    if words[1] in ("train", "plan", "test", "inspect") and found.config and not any(name in command for name in UNCHECKED):
        load_plugins()
        load(found.config, found.cfg_options)


SETTINGS = [
    pytest.param(code, id=f"{page.name}: {code.partition('(')[0]}{number}")
    for page in PAGES
    for number, code in enumerate(fences(page, "python"))
    if re.match(r"\w+ = (dict\(|\[)", code) and 'type="finevit.FineViT"' not in code
]
"""The parts of configs that pages show, but for those of other packages."""


@pytest.mark.parametrize("code", SETTINGS)
def test_a_config_of_the_documentation_is_whole(code, tmp_path):
    (tmp_path / "config.py").write_text(f"_base_ = ['finevit::finevit_tiny_stage2.py']\n{code}")
    load_plugins()
    load(tmp_path / "config.py")


def test_the_recaptioning_of_the_documentation_is_whole(here, tmp_path):
    config = tmp_path / "photos.py"
    (code,) = (code for code in fences(RECAPTION, "python") if code.startswith("# photos.py"))
    config.write_text(code.replace("/path/to/images", str(here / "images")))
    cfg = load_recaption(recaption_options([str(config)]))
    assert ordered(cfg.passes).keys() == cfg.passes.keys()


def test_the_parts_of_recaptioning_in_the_documentation_run(here, tmp_path, monkeypatch):
    (code,) = (code for code in fences(RECAPTION, "python") if code.startswith("# my_parts.py"))
    (tmp_path / "my_parts.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    import_module("my_parts")
    parrot = {"type": "Parrot", "text": "A bird."}
    passes = {
        "index": {"type": "Index", "images_per_shard": 20},
        "captions": {"type": "GlobalCaptions", "captioners": {"parrot": parrot}},
        "colour": {"type": "MeanColour"},
    }
    source = {"type": "ImageFolder", "data_root": str(here / "images"), "split": "all"}
    ended: list[str] = []
    watch = Watch(done=lambda outcome: ended.append(f"{outcome.name} {outcome.shard} {outcome.state}"))
    told = {"source": source, "executor": {"type": "LastFirst"}, "passes": passes}
    report = recaption(told, tmp_path / "run", watch=watch)
    assert not report.errors
    assert ended[3:6] == [f"captions 0000{number} done" for number in (2, 1, 0)]
    read = parquet.read_table(tmp_path / "run/passes/colour/00000.colours.parquet").to_pylist()
    assert len(read) == 20
    assert all(0 <= row["colour"][0] <= 240 and row["colour"][1:] == [0, 0] for row in read)


def test_the_scenes_of_the_documentation_are_what_it_says():
    (code,) = fences(ROOT / "docs/scenes.md", "python")
    made: dict = {}
    exec(code, made)
    assert len(made["scenes"].classes) == 16
    assert list(made["record"].captions) == ["long", "short"]


def test_commands_that_are_run_are_in_the_documentation():
    assert not RUN.keys() - {command for _, command in ALL}


@pytest.mark.parametrize("command", RUN)
def test_a_small_command_runs(command, filled, monkeypatch, tmp_path, capsys):
    call, arguments = program(shlex.split(filled(command)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", *arguments, *RUN[command]])
    call()
    if "--out" in arguments:
        assert (tmp_path / arguments[-1]).read_text().count("<img") >= 1
    else:
        assert len(capsys.readouterr().out.splitlines()) >= 1


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub names them in links."""
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_short_and_its_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    lines = len(page.read_text().splitlines())
    assert lines <= {"README.md": 100, "lab_notebook.md": 10_000}.get(page.name, 200)
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link
    named = re.findall(r"`((?:finevit|plugins|configs|tools|tests|benchmarks)/[\w/.\-]*)`", text)
    gone = [name for name in named if not (ROOT / name).exists()]
    assert not gone or page.name == "lab_notebook.md", gone


def smaller(command: str, here: Path) -> list[str]:
    """A command of the README, for the folder ``here`` and two steps."""
    if command == "make train":
        recipe = recipe_of(["train"])
        assert "tools/train.py configs/finevit_tiny_stage1.py" in recipe
        command = "finevit train finevit_tiny_stage1"
    for name, place in (("/path/to/images", "images"), ("/path/to/captions.jsonl", "captions.jsonl")):
        command = command.replace(name, f"{here / place} --work-dir run_{place}")
    words = shlex.split(re.sub(r"iter_\d+", "iter_2", command))
    scenes = "data_root" not in command
    options = [option for option in SMALLER.get(words[1], []) if scenes or "source.length" not in option]
    return [*words, *(["--cfg-options", *options] if options else [])]


@pytest.mark.slow
def test_the_readme_runs_from_its_first_command_to_its_last(here, tmp_path):
    """The commands in their order, then the code, in one folder: each finds what those before it left. FineViT-L takes 24 GiB."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    chosen = [command for command in commands(ROOT / "README.md") if command != "make test" and "finevit_l_" not in command]
    assert len(chosen) == 8
    for command in chosen:
        done = subprocess.run(smaller(command, here), cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "exported/README.md").is_file()
    Image.new("RGB", (640, 480)).save(tmp_path / "photo.jpg")
    (code,) = fences(ROOT / "README.md", "python")
    shapes = "assert (output.tokens.shape, output.pooled.shape, features.shape) == ((768, 256), (1, 256), (256, 24, 32))\n"
    subprocess.run([sys.executable, "-c", code.replace("iter_600", "iter_2") + shapes], cwd=tmp_path, check=True)

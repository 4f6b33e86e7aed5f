"""Run mmdet's and mmseg's own unit tests, of the parts that our configs use, over the stand-ins for mmcv's compiled operations.

    python tools/upstream_tests.py --mmdet FOLDER --mmseg FOLDER

Their packages hold no tests: a FOLDER is a checked-out repository, open-mmlab's or the fork of VBTI-development. Its tests run
on the installed code, with compiled operations out of the way. Tests left out are shown with the reason; any other failure fails.
"""

import argparse
import importlib
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

TESTS = {
    "mmdet": """
        test_evaluation/test_metrics/test_coco_metric.py
        test_models/test_data_preprocessors
        test_models/test_dense_heads
        test_models/test_detectors/test_deformable_detr.py
        test_models/test_detectors/test_detr.py
        test_models/test_detectors/test_dino.py
        test_models/test_detectors/test_rpn.py
        test_models/test_detectors/test_two_stage.py
        test_models/test_layers
        test_models/test_losses
        test_models/test_necks
        test_models/test_roi_heads
        test_models/test_task_modules
        test_models/test_tta
        test_models/test_utils
        test_structures
    """,
    "mmseg": """
        test_models/test_data_preprocessor.py
        test_models/test_forward.py
        test_models/test_heads
        test_models/test_losses
        test_models/test_necks
        test_models/test_segmentors
        test_models/test_utils
        test_structures
    """,
}
RESNET = "downloads the weights of a ResNet"
LEFT_OUT = {
    "TestDINO::test_dino_head_loss": RESNET,
    "TestDeformableDETR::test_deformable_detr_head_loss": RESNET,
    "TestDETR::test_detr_head_loss": RESNET,
    "test_psa_head": "needs PSANet's operation, which has no stand-in",
}
"""Ends of the names of tests, with the reason."""


class Upstream:
    """What pytest does beside: shows the installed library the configs of its repository, and leaves tests out."""

    def __init__(self, library: str, folder: Path) -> None:
        self.library, self.folder = library, folder

    def pytest_configure(self) -> None:
        ops = importlib.import_module("finevit.downstream.ops")
        sys.modules["mmcv._ext"] = ops  # also where a compiled module is installed
        found = importlib.import_module(self.library).__file__ or ""
        assert not Path(found).is_relative_to(self.folder), f"{found} is the repository's, not the installed code"
        if self.library == "mmdet":  # looks for its configs above the installed package
            importlib.import_module("mmdet.testing._utils")._get_config_directory = lambda: str(self.folder / "configs")  # type: ignore[attr-defined]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            reason = next((reason for name, reason in LEFT_OUT.items() if item.nodeid.endswith(f"::{name}")), None)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def run(library: str, folder: Path) -> int:
    """Runs the tests of one library in this process; pytest's exit status."""
    os.chdir(folder)
    options = ["-q", "-rsfE", "-c", os.devnull, f"--rootdir={folder}", "-p", "no:cacheprovider", "--import-mode=importlib"]
    files = [f"tests/{name}" for name in TESTS[library].split()]
    return int(pytest.main([*options, "--disable-warnings", *files], plugins=[Upstream(library, folder)]))


def main() -> None:
    """Each library in a process of its own; exits with 1 where any has failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for library in TESTS:
        parser.add_argument(f"--{library}", type=Path, metavar="FOLDER", help=f"a checked-out repository with {library}'s tests")
    given = {library: folder for library, folder in vars(parser.parse_args()).items() if folder}
    if not given:
        parser.error(f"give at least one of {', '.join(f'--{library} FOLDER' for library in TESTS)}")
    for library, folder in given.items():
        if not (folder / "tests").is_dir():
            parser.error(f"--{library} {folder}: has no folder 'tests'; give a checked-out repository")
    failed = []
    for library, folder in given.items():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            status = pool.submit(run, library, folder.absolute()).result()
        failed += [library] if status else []
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()

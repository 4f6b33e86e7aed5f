"""Which values an argument may have is said by its signature alone: in force in configs and where it is built, and in words."""

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf
from mmengine.hooks import Hook
from pydantic import FiniteFloat, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import nn

from finevit.config.loading import ConfigError, load_config
from finevit.config.validation import check_config
from finevit.plugins import load_plugins
from finevit.registry import HOOKS, REGISTRIES, Enforcing
from finevit.signatures import enforce, is_enforced, words, wrong_value, wrong_values

TINY = Path(__file__).parents[1] / "configs/finevit_tiny_stage1.py"
SHARE = Annotated[float, Ge(0), Le(1)]


@pytest.mark.parametrize(
    ("annotation", "good", "bad", "said"),
    [
        (int, [0, -3], [True, 1.0, "1", None, 10**13], "a whole number"),
        (float, [0, 0.5, math.inf], [True, "0.5", math.nan, 10.0**13], "a number"),
        (bool, [True, False], [0, 1, "yes"], "True or False"),
        (str, ["a"], [1, Path("a")], "a text"),
        (str | Path, ["a", Path("a")], [1], "a text or Path"),
        (PositiveInt, [1], [0, True, 1.0], "a whole number, at least 1"),
        (PositiveInt | None, [1, None], [0], "a whole number, at least 1, or None"),
        (NonNegativeFloat, [0, 2.5], [-1, math.inf, math.nan, True], "a finite number, at least 0"),
        (FiniteFloat, [-2.5], [math.inf, math.nan], "a finite number"),
        (SHARE, [0, 1, 0.5], [1.5, -0.1, math.nan, "0.5"], "a number from 0 to 1"),
        (Annotated[float, Ge(0), Lt(1)], [0], [1], "a number from 0 to below 1"),
        (Annotated[float, Gt(0), Le(100.0)], [100], [0, 101], "a number above 0, at most 100"),
        (Annotated[float, Gt(0), Le(math.inf)], [math.inf], [0, math.nan], "a number above 0"),
        (Annotated[int, Ge(1), Le(10**6)], [10**6], [10**6 + 1], "a whole number from 1 to 1,000,000"),
        (Annotated[int, Ge(2), MultipleOf(2)], [4], [3], "a whole number, at least 2, a multiple of 2"),
        (Annotated[int, Ge(1), "a whole number of steps"], [1], [0], "a whole number of steps, at least 1"),
        (Annotated[SHARE, "a share of the samples"], [0.1], [2], "a share of the samples, from 0 to 1"),
        (Literal["mean", "concat"], ["mean"], ["max", 1], "'mean' or 'concat'"),
        (Literal["a", "b", "c"], ["a"], ["d"], "one of a, b, c"),
        (float | bool, [True, 0.5], ["a"], "a number, or True or False"),
        (Sequence[str], [["a"], ("a",)], ["a", 3], "a list of (a text)"),
        (Annotated[Sequence[int], MinLen(1), "a list of block numbers"], [[1], (1,)], [(), 1], "a list of block numbers"),
        (dict, [{}], [[], "a"], "a dict"),
    ],
    ids=str,
)
def test_values_and_words(annotation, good, bad, said):
    assert [value for value in good if wrong_value("x", value, annotation)] == []
    assert [wrong_value("x", value, annotation) for value in bad] == [[f"x={value!r}: give {said}"] for value in bad]
    assert words(annotation) == said


@pytest.mark.parametrize(
    ("annotation", "value", "lines"),
    [
        (str | Mapping[str, PositiveInt], {"dim": 0, "depth": 1}, ["x.dim=0: give a whole number, at least 1"]),
        (Sequence[tuple[int, SHARE]], [(0, 1), (5, 2)], ["x.1.1=2: give a number from 0 to 1"]),
        (SHARE | Sequence[SHARE], [0.5, -1, "a"], [f"x.{i}: give a number from 0 to 1" for i in ("1=-1", "2='a'")]),
        (tuple[int, int], [1], ["x=[1]: give a list of (a whole number, a whole number)"]),
    ],
)
def test_the_wrong_item_of_a_list_or_dict_is_named(annotation, value, lines):
    assert wrong_value("x", value, annotation) == lines


def test_components_and_what_has_no_annotation_are_taken_as_they_are():
    def build(part: nn.Module, *, untold, number=3, share: SHARE = 2.0) -> None:
        """Nothing."""

    assert wrong_values("x", {"part": {"type": "Linear"}, "untold": object(), "number": 2.5}, build) == []
    assert wrong_values("x", {"share": build.__kwdefaults__["share"], "other": 3}, build) == []
    assert wrong_values("x", {"number": "a", "share": 3}, build) == [
        "x.number='a': give a number",
        "x.share=3: give a number from 0 to 1",
    ]


@pytest.fixture
def own_hook():
    """As a plugin, or a file beside a config, would register it."""

    class OwnHook(Hook):
        def __init__(self, *, share: Annotated[float, Ge(0), Le(1)], sides: Sequence[PositiveInt] = (), begin: NonNegativeInt = 0):
            self.given = share, sides, begin

    OwnHook.__module__ = "another_package"
    HOOKS.register_module(module=OwnHook)
    yield OwnHook
    del HOOKS.module_dict["OwnHook"]


def test_ranges_of_an_own_part_hold_in_a_config(own_hook):
    load_plugins()
    hook = {"type": "OwnHook", "share": 1.5, "sides": [2, 0]}
    with pytest.raises(ConfigError) as caught:
        check_config(load_config(TINY, {"custom_hooks": [hook]}))
    assert str(caught.value).splitlines()[1:] == [
        "  custom_hooks.0.share=1.5: give a number from 0 to 1",
        "  custom_hooks.0.sides.1=0: give a whole number, at least 1",
    ]
    check_config(load_config(TINY, {"custom_hooks": [{**hook, "share": 1, "sides": [2]}]}))


def test_ranges_of_an_own_part_hold_where_it_is_built(own_hook):
    assert own_hook(share=1, sides=[2], begin=3).given == (1, [2], 3)  # nothing is converted
    with pytest.raises(ValueError, match=r"^OwnHook\.share=1\.5: give a number from 0 to 1; OwnHook\.begin=True: give a whole"):
        own_hook(share=1.5, begin=True)
    with pytest.raises(ValueError, match=r"^OwnHook\.share='0\.5': give a number from 0 to 1$"):
        HOOKS.build({"type": "OwnHook", "share": "0.5"})
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'share'"):
        own_hook()


def test_a_class_is_checked_once_and_under_the_name_of_the_one_that_is_built(own_hook):
    class Derived(own_hook):
        """Inherits the constructor."""

    first = own_hook.__init__
    enforce(own_hook)
    enforce(Derived)
    assert own_hook.__init__ is first
    assert "__init__" not in vars(Derived)
    with pytest.raises(ValueError, match=r"^Derived\.share=2"):
        Derived(share=2)


def test_the_signatures_of_all_components_can_be_read():
    """A name that is imported for type checkers alone would leave its class unchecked."""
    load_plugins()
    for registry in REGISTRIES.values():
        registry.import_from_location()
    enforcing = [registry for registry in REGISTRIES.values() if isinstance(registry, Enforcing)]
    found: list[Any] = [part for registry in enforcing for part in registry.module_dict.values()]
    own = [part for part in found if part.__module__.startswith("finevit")]
    assert len(own) > 60
    for part in own:
        assert get_type_hints(part.__init__ if inspect.isclass(part) else part) is not None
        assert not inspect.isclass(part) or part.__init__ is object.__init__ or is_enforced(part)

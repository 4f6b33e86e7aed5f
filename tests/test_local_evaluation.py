"""Measures of Stage III: grounding, OCR, counting and captions by hand and against naive ones, and the MMEngine metric."""

import pickle
import random
from functools import cache
from types import SimpleNamespace

import pytest

from finevit.boxes import STYLES, render
from finevit.contracts import Question
from finevit.evaluation import local
from finevit.evaluation.benchmarks import configure, parse
from finevit.evaluation.local import anls, common, contains, exact, grounded, iou, levenshtein, number, rouge_l
from finevit.evaluation.local_metrics import LocalTasks
from finevit.registry import METRICS

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
SIZE = (280, 448)


def test_iou_by_hand():
    assert iou(LEFT, LEFT) == 1
    assert iou(LEFT, RIGHT) == 0
    assert iou(LEFT, (0.0, 0.0, 1.0, 1.0)) == 0.5
    assert iou((0.0, 0.0, 0.4, 0.4), (0.2, 0.2, 0.6, 0.6)) == pytest.approx(0.04 / 0.28)
    assert iou((0.0, 0.0, 0.1, 0.1), (0.5, 0.5, 0.6, 0.6)) == 0


def test_iou_equals_counting_cells():
    rng = random.Random(0)
    for _ in range(100):
        (a, b), (c, d), (e, f), (g, h) = (sorted(rng.sample(range(13), 2)) for _ in range(4))
        cells = [(x, y) for x in range(12) for y in range(12)]
        one, other = (
            {(x, y) for x, y in cells if x1 <= x < x2 and y1 <= y < y2} for x1, y1, x2, y2 in ((a, c, b, d), (e, g, f, h))
        )
        found = iou((a / 12, c / 12, b / 12, d / 12), (e / 12, g / 12, f / 12, h / 12))
        assert found == pytest.approx(len(one & other) / len(one | other))


def test_grounding_takes_the_first_box_and_half_is_enough():
    whole = (0.0, 0.0, 1.0, 1.0)
    assert grounded([whole], [LEFT])
    assert not grounded([(0.0, 0.0, 1.0, 1.0)], [(0.0, 0.0, 0.499, 1.0)])
    assert not grounded([RIGHT, LEFT], [LEFT])
    assert grounded([LEFT, RIGHT], [LEFT])
    assert not grounded([], [LEFT])


def test_half_is_enough_however_it_is_rounded():
    true = (0.1, 0.2, 0.5, 0.8)
    assert iou((0.1, 0.2, 0.3, 0.8), true) < 0.5  # by rounding alone
    assert grounded([(0.1, 0.2, 0.3, 0.8)], [true])
    assert not grounded([(0.1, 0.2, 0.2999, 0.8)], [true])


def test_several_true_boxes_have_to_be_found_one_to_one():
    whole = (0.0, 0.0, 1.0, 1.0)
    assert grounded([RIGHT, LEFT], [LEFT, RIGHT])
    assert not grounded([LEFT], [LEFT, RIGHT])
    assert not grounded([LEFT, LEFT], [LEFT, RIGHT])
    assert not grounded([LEFT, whole, RIGHT], [LEFT, (0.9, 0.0, 1.0, 1.0)])
    # the exact box takes LEFT, which leaves RIGHT to the whole image: IoU 0.5 for both orders
    assert grounded([whole, LEFT], [LEFT, RIGHT])
    assert grounded([whole, LEFT], [RIGHT, LEFT])


def test_exact_match_knows_widths_but_not_cases():
    assert exact(" Ｃａｆé１ ", ["Café1"])
    assert exact("ﬁne", ["x", "fine"])
    assert not exact("cafe1", ["Cafe1"])
    assert not exact("fine print", ["fine"])


@pytest.mark.parametrize(
    ("said", "accepted", "value"),
    [
        ("hello", ["hello"], 1),
        ("  Hello\n World ", ["hello world"], 1),
        ("helo", ["hello"], 0.8),
        ("a  b", ["a c"], 0.75),  # spaces count in the length
        ("helo", ["world", "hello", "xx"], 0.8),
        ("ab", ["ax"], 0.5),
        ("abc", ["axx"], 0),
        ("", ["x"], 0),
        ("ABCD", ["abce"], 0.75),
    ],
)
def test_anls_by_hand(said, accepted, value):
    assert anls(said, accepted) == pytest.approx(value)


def words(rng: random.Random, most: int) -> str:
    return "".join(rng.choice("abc") for _ in range(rng.randint(0, most)))


def test_distances_equal_the_naive_recursions():
    @cache
    def edits(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(edits(a[1:], b) + 1, edits(a, b[1:]) + 1, edits(a[1:], b[1:]) + (a[0] != b[0]))

    @cache
    def longest(a: str, b: str) -> int:
        if not a or not b:
            return 0
        return 1 + longest(a[1:], b[1:]) if a[0] == b[0] else max(longest(a[1:], b), longest(a, b[1:]))

    rng = random.Random(0)
    for _ in range(300):
        a, b = words(rng, 12), words(rng, 12)
        assert levenshtein(a, b) == edits(a, b)
        assert common(a, b) == longest(a, b)
    assert levenshtein("kitten", "sitting") == 3
    assert common("abcdae", "daeabc") == 3


def test_rouge_by_hand():
    # "the cat sat" is common: precision 3/4, recall 3/6
    assert rouge_l("the cat sat down", ["The cat, it sat on it."]) == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert rouge_l("The CAT sat!", ["the cat sat"]) == 1
    assert rouge_l("a dog", ["the cat sat", "a dog runs"]) == pytest.approx(0.8)
    assert rouge_l("...", ["the cat"]) == 0
    assert rouge_l("sat cat the", ["the cat sat"]) == pytest.approx(1 / 3)


def test_ocrbench_is_a_substring():
    assert contains("The word is\nCENTRE .", ["x", "is centre"])
    assert not contains("center", ["centre"])
    assert contains(r"It is \frac { 1 }{ X }", [r"\frac{1}{X}"], formula=True)
    assert not contains(r"\frac { 1 }{ X }", [r"\frac{1}{X}"])
    assert not contains(r"\frac{1}{x}", [r"\frac{1}{X}"], formula=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("There are three cats and 4 dogs.", 3), ("Twenty", 20), ("zero", 0), ("1,234 birds", 1234), ("3, 4 or 5", 3),
        ("12.", 12), ("3.0", 3), ("2.5", 2.5), ("-3", -3), ("2-3", 2), ("有5个", 5), ("7cats", 7), ("123456", 123456),
        ("none", None), ("", None), ("someone", None), ("twenty-one", None), ("A4 paper", None), ("seventeen", 17),
    ],
)  # fmt: skip
def test_numbers_in_texts(text, value):
    assert number(text) == value


# --- The metric -----------------------------------------------------------------------------------------------------


def evaluated(samples: list[dict], size: int | None = None) -> tuple[dict[str, float], LocalTasks]:
    metric = METRICS.build({"type": "LocalTasks"})
    metric.process({}, samples)
    values = metric.evaluate(len(samples) if size is None else size)
    assert all(key.startswith("stage3/") for key in values)
    return {key.removeprefix("stage3/"): value for key, value in values.items()}, metric


def where(box: tuple, task: str = "text2box", style: str = "norm1000") -> Question:
    return Question(task, "Where is the cat?", render([box], style, SIZE), boxes=(box,), style=style, size=SIZE)


def count(true: int) -> Question:
    return Question("counting", "How many?", str(true))


def test_every_task_by_hand():
    said_and_asked = [
        ("at [0, 0, 500, 1000].", where(LEFT)), ("[500, 0, 1000, 1000]", where(LEFT)), ("on the left", where(LEFT)),
        ("[0, 0, 480, 1000]", where(LEFT, "ocr2box")),
        ("Exit", Question("box2ocr", "Read.", "Exit")), ("exit", Question("box2ocr", "Read.", "Exit")),
        ("four", count(4)), ("5 of them", count(4)), ("many", count(4)), ("6", count(6)),
        ("the cat sat down", Question("box2text", "Describe.", "the cat, it sat on it")),
        ("a dog", Question("global_caption", "Describe.", "a cat", strings=("a dog runs",))),
    ]  # fmt: skip
    said, asked = zip(*said_and_asked, strict=True)
    values, _ = evaluated([{"id": "a", "questions": list(asked), "predictions": list(said)}])
    assert values == pytest.approx({
        "text2box_iou50": 1 / 3, "text2box_n": 3, "ocr2box_iou50": 1, "ocr2box_n": 1,
        "box2ocr_exact": 0.5, "box2ocr_anls": 1, "box2ocr_n": 2, "counting_exact": 0.5, "counting_n": 4,
        "box2text_score": 0.6, "box2text_n": 1, "global_caption_score": 0.8, "global_caption_n": 1,
        "parse_failures": 2 / 8, "local": (1 / 3 + 1 + 0.5 + 0.5) / 4,
    })  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
def test_boxes_are_read_in_the_style_of_the_question(style):
    box = (0.1, 0.2, 0.6, 0.9)
    values, metric = evaluated(
        [{"id": "a", "questions": [where(box, style=style)], "predictions": [f"It is {render([box], style, SIZE)}."]}]
    )
    assert values == {"text2box_iou50": 1, "text2box_n": 1, "parse_failures": 0, "local": 1}
    assert metric.protocol == f"local/iou50-v2; boxes as {style}"


def test_benchmarks_of_documents():
    asked = [
        Question("ocrbench", "q", "Centre", strings=("center",)), Question("ocrbench", "q", "x y"),
        Question("ocrbench_formula", "q", "x y"), Question("docvqa", "q", "1/8/93", strings=("January 8",)),
        Question("docvqa", "q", "abcde", style="norm1000"),
    ]  # fmt: skip
    values, metric = evaluated([{"id": "a", "questions": asked, "predictions": ["the CENTER", "xy", "xy", "january 8", "abcdx"]}])
    expected = {"ocrbench_share": 2 / 3, "ocrbench": 2, "ocrbench_n": 3, "docvqa_anls": 0.9, "docvqa_n": 2}
    assert values == pytest.approx(expected)
    assert metric.protocol == "local/ocrbench-substring-v1, local/anls50-v2"


def test_images_that_come_twice_count_once_and_latest_keeps_what_was_said():
    samples = [{"id": f"image-{i}", "questions": [count(i), where(LEFT)], "predictions": ["2", "[0, 0, 1, 1]"]} for i in range(4)]
    values, metric = evaluated([*samples, samples[2], samples[2]], size=6)
    assert values["counting_exact"] == 0.25
    assert values["counting_n"] == 4
    assert [answer.id for answer in metric.latest[::2]] == [f"image-{i}" for i in range(4)]
    assert metric.latest[4].question == count(2)
    assert (metric.latest[4].prediction, metric.latest[4].scores) == ("2", {"exact": 1.0, "unread": 0.0})
    assert isinstance(metric.latest[5].question, Question)
    assert pickle.loads(pickle.dumps(samples)) == samples


def test_nothing_asked_is_no_number():
    assert evaluated([{"id": "a", "questions": [], "predictions": []}])[0] == {}


def test_misuse_is_named():
    metric = LocalTasks()
    with pytest.raises(ValueError, match="a: 1 answers to 2 questions"):
        metric.process({}, [{"id": "a", "questions": [count(1), count(2)], "predictions": ["1"]}])
    with pytest.raises(ValueError, match=r"the task 'box2txt', which is unknown \(did you mean 'box2text'\?\); known are text2box"):
        metric.process({}, [{"id": "a", "questions": [Question("box2txt", "q", "a")], "predictions": ["1"]}])
    with pytest.raises(ValueError, match="the text2box question 'q' has no true box"):
        metric.process({}, [{"id": "a", "questions": [Question("text2box", "q", "")], "predictions": ["1"]}])
    with pytest.raises(ValueError, match="box style '' is unknown; choose one of norm1000"):
        metric.process({}, [{"id": "a", "questions": [Question("text2box", "q", "", boxes=(LEFT,))], "predictions": ["1"]}])


def test_protocols_have_ids_of_their_own():
    ids = [value for name, value in vars(local).items() if name.endswith("_PROTOCOL")]
    assert len(set(ids)) == len(ids) == 6
    assert LocalTasks().protocol.split(", ") == [
        local.GROUNDING_PROTOCOL, local.OCR_PROTOCOL, local.ANLS_PROTOCOL, local.COUNTING_PROTOCOL, local.CAPTION_PROTOCOL,
        local.OCRBENCH_PROTOCOL,
    ]  # fmt: skip


def test_a_benchmark_of_questions_replaces_what_is_asked_in_training():
    name, source = parse("refcoco+=/data/refcoco+,split=testA,image_root=/data/train2014")
    assert name == "refcoco+,split=testA"
    assert source == {
        "type": "finevit.RefCOCO", "data_root": "/data/refcoco+", "split": "testA", "image_root": "/data/train2014",
    }  # fmt: skip
    assert parse("countbench=/data/a.parquet,questions=/data/b.json")[0] == "countbench,questions=b.json"
    before, after = [{"type": "finevit.ResizeToBudget"}, {"type": "RandomFlip"}], [{"type": "finevit.TokenizeDialogue"}]
    ask = {"type": "finevit.AskQuestions", "draw": False, "style": "unit3"}
    loader, metrics = configure(
        name, SimpleNamespace(task="questions"), {"dataset": {"transforms": [*before, ask, *after]}, "batch_size": 7}
    )
    assert loader["dataset"]["transforms"] == [before[0], {"type": "finevit.AskRecorded", "style": "unit3"}, *after]
    assert loader["collate_fn"] == {"type": "finevit.pack_dialogues", "keys": ["questions"]}
    assert loader["batch_size"] == 7
    assert metrics == [{"type": "finevit.LocalTasks"}]
    with pytest.raises(ValueError, match="holds no AskQuestions; give the config of a model that answers questions"):
        configure(name, SimpleNamespace(task="questions"), {"dataset": {"transforms": [*before, *after]}})

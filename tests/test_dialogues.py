"""From records to dialogues: which questions are asked, how boxes follow augmentations, what is learned, what is left out."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from finevit.boxes import parse
from finevit.contracts import BadSample, ImageBudget, Question, Record, Region, Source
from finevit.datasets.samplers import NativeBatchSampler
from finevit.engine.eval_caveats import LeftOut
from finevit.engine.hooks.dialogues_hook import DialogueHook, check_evaluation, check_tokenizer, check_training, summary
from finevit.hub.chat_templates import load_chat
from finevit.packing.collate import pack_dialogues
from finevit.packing.packs import IGNORE_INDEX, IMAGE_TOKEN
from finevit.registry import DATA_SAMPLERS, DATASETS, MODELS, TRANSFORMS
from finevit.tasks import task as tasks
from finevit.tasks.names import fits, words
from finevit.tasks.task import Material, asked_tasks, check_weights

pytestmark = pytest.mark.usefixtures("plugins")

HOUSE = Region(box=(0.1, 0.2, 0.5, 0.6), phrase="red house", caption="a red house with a door")
BIRD = Region(box=(0.6, 0.1, 0.9, 0.3), phrase="bird", caption="a small bird")
BIRD2 = Region(box=(0.6, 0.5, 0.9, 0.7), phrase="Bird", caption="a tall bird")
SIGN = Region(box=(0.2, 0.7, 0.8, 0.9), kind="text_line", phrase="the text “STOP”", text="STOP")


def sample(*regions: Region, size: tuple[int, int] = (112, 224), seed: int = 0, **more: object) -> dict:
    return {
        "id": "one",
        "image": np.zeros((*size, 3), np.uint8),
        "captions": {"long": "A red house."},
        "regions": regions,
        "label_map": None,
        "facts": {"counts": {"house": 1, "bird": 2}},
        "max_seq_len": 512,
        "counts": Counter(),
        "rng": np.random.default_rng(seed),
        **more,
    }


def ask(found: dict, **options: object) -> list[Question]:
    return TRANSFORMS.build({"type": "AskQuestions", **options})(found)["questions"]


def dialogue(found: dict, **options: object) -> dict:
    for transform in (
        {"type": "AskQuestions", **options},
        {"type": "Patchify"},
        {"type": "TokenizeDialogue", "tokenizer": "scenes-chat"},
    ):
        found = TRANSFORMS.build(transform)(found)
    return found


def drafts(regions, caption, facts, **options) -> tuple[list, dict]:
    material = Material(regions, caption, facts, **options)
    return tasks.drafts(material), +material.dropped


# --- which questions -----------------------------------------------------------------------------------------------------


def test_every_task_is_asked_of_a_record_that_has_all():
    found, dropped = drafts([HOUSE, BIRD, SIGN], "A red house.", {"counts": {"house": 1}})
    assert [draft.task for draft in found] == [
        "global_caption",
        "box2text",
        "box2text",
        "box2ocr",
        "text2box",
        "text2box",
        "ocr2box",
        "counting",
        "counting",
    ]
    assert {draft.task for draft in found} == set(asked_tasks())
    assert [(draft.about, draft.boxes, draft.answer) for draft in found[-5:]] == [
        ("red house", (HOUSE.box,), ""),
        ("bird", (BIRD.box,), ""),
        ("STOP", (SIGN.box,), ""),
        ("house", (), "1"),
        ("objects of any kind", (), "1"),
    ]
    assert not dropped


@pytest.mark.parametrize(
    ("short", "long", "fit"),
    [
        ("bird", "Bird", True),
        ("house", "red house", True),
        ("red house", "house", False),
        ("bird", "birdhouse", False),
        ("a b", "x a b c", True),
        ("STOP", "stop!", True),
        ("dog", "dog, brown", True),
        ("dog.", "a “dog”", True),
        ("C", "ABC", False),
    ],
)
def test_what_a_phrase_fits(short, long, fit):
    assert fits(words(short), words(long)) is fit


def test_ill_posed_questions_are_dropped_or_answered_in_full():
    house = Region(box=(0, 0, 0.1, 0.1), phrase="house")
    regions = [HOUSE, house, BIRD, BIRD2, SIGN, replace(SIGN, box=(0, 0, 0.1, 0.1))]
    found, dropped = drafts(regions, "", {})
    assert [draft.about for draft in found if draft.task in ("text2box", "ocr2box")] == ["red house"]
    assert dropped == {"ambiguous text2box": 2, "ambiguous ocr2box": 1}
    found, dropped = drafts(regions, "", {}, answer_all=True)
    assert {draft.about: len(draft.boxes) for draft in found if draft.task == "text2box"} == {
        "red house": 1,
        "house": 2,
        "bird": 2,
    }
    assert not dropped


DOG, DOG2 = (Region(box=(left, 0.1, left + 0.2, 0.5), phrase="dog") for left in (0.1, 0.6))


def located(*regions: Region, task: str = "text2box", **options: bool) -> tuple[dict[str, tuple], dict[str, int]]:
    """What is asked for, with the boxes of the answer, and what was left out."""
    found, dropped = drafts(regions, "", {}, captions=True, **options)
    asked = [draft for draft in found if draft.task == task]
    assert len({draft.about for draft in asked}) == len(asked)
    return {draft.about: draft.boxes for draft in asked}, dict(dropped)


def test_phrases_and_captions_are_names_alike():
    named = replace(DOG, caption="Dog.")
    assert located(named) == ({"dog": (DOG.box,)}, {})
    assert located(named, DOG2) == ({}, {"ambiguous text2box": 1})
    assert located(named, DOG2, answer_all=True) == ({"dog": (DOG.box, DOG2.box)}, {})
    assert located(DOG, DOG, named) == ({"dog": (DOG.box,)}, {})
    assert located(DOG, replace(DOG2, phrase="", caption="a brown dog")) == ({}, {"ambiguous text2box": 1})


@pytest.mark.parametrize("answer_all", [False, True])
def test_what_a_caption_tells_of_beside_its_own_region_is_no_answer(answer_all):
    man = replace(DOG2, phrase="man", caption="a man with a dog")
    expected = {"man": (man.box,), "a man with a dog": (man.box,)}
    assert located(DOG, man, answer_all=answer_all) == (expected, {"ambiguous text2box": 1})


def test_a_twin_that_holds_a_text_is_a_twin():
    sign = Region(box=HOUSE.box, phrase="the text “STOP”")
    assert located(sign, SIGN) == ({}, {"ambiguous text2box": 1})
    assert located(sign, SIGN, answer_all=True) == ({"the text “STOP”": (sign.box, SIGN.box)}, {})


@pytest.mark.parametrize("answer_all", [False, True])
def test_a_twin_without_a_possible_box_leaves_no_answer(answer_all):
    lost = replace(DOG2, box=(0.5, 0.1, 0.5, 0.5))
    assert located(DOG, lost, answer_all=answer_all) == ({}, {"impossible boxes": 1, "text2box of an impossible box": 1})
    torn = replace(SIGN, box=(0, 0, 2, 1))
    asked = located(SIGN, torn, task="ocr2box", answer_all=answer_all)
    assert asked == ({}, {"impossible boxes": 1, "ocr2box of an impossible box": 1})
    assert located(lost) == ({}, {"impossible boxes": 1})


def test_strings_that_differ_in_signs_alone_are_one():
    other = replace(SIGN, box=HOUSE.box, text="Stop!")
    for answer_all in (False, True):  # the box of "Stop!" is no answer to "STOP"
        assert located(SIGN, other, task="ocr2box", answer_all=answer_all) == ({}, {"ambiguous ocr2box": 1})
    assert located(DOG, replace(DOG2, phrase="dog, brown"))[0] == {"dog, brown": (DOG2.box,)}
    found, dropped = drafts([replace(DOG, phrase="?!")], "", {})
    assert (found, dropped) == ([], {"phrases without words": 1})


@pytest.mark.parametrize(("style", "fine"), [("norm1000", False), ("unit3", False), ("bins1000", False), ("abs_resized", True)])
def test_boxes_too_thin_for_the_style_are_counted_and_never_taught(style, fine):
    thin = replace(DOG, box=(0.1001, 0.1, 0.1004, 0.5))
    found = sample(thin, BIRD, size=(1000, 20000))
    asked = ask(found, draw=False, style=style)
    assert all(len(parse(question.answer, style, question.size)) == 1 for question in asked if question.task == "text2box")
    assert [question.task for question in asked].count("box2text") == 1 + fine
    assert found["counts"]["boxes too thin for the style"] == (0 if fine else 2)
    twins = sample(thin, DOG2)
    assert not any(question.task == "text2box" for question in ask(twins, draw=False, ill_posed="answer"))


def test_what_no_weight_asks_for_is_not_counted():
    for weights, count in (({"text2box": 1, "counting": 1}, 1), ({"text2box": 0, "counting": 1}, 0)):
        found = sample(DOG, DOG2)
        ask(found, task_weights=weights)
        assert found["counts"]["ambiguous text2box"] == count


def test_evaluations_ask_in_order_and_in_the_first_wording():
    asked = ask(sample(HOUSE, BIRD, SIGN), draw=False, max_questions=1)
    assert [(question.task, question.text, question.answer) for question in asked] == [
        ("global_caption", "Describe this image.", "A red house."),
        ("box2text", "What is in [100, 200, 500, 600]?", "a red house with a door"),
        ("box2ocr", "What is written in [200, 700, 800, 900]?", "STOP"),
        ("text2box", "Where is red house?", "[100, 200, 500, 600]"),
        ("ocr2box", "Where is the text “STOP”?", "[200, 700, 800, 900]"),
        ("counting", "How many of these are there: house?", "1"),
    ]
    assert all(question.style == "norm1000" and question.size == (112, 224) for question in asked)


@pytest.mark.parametrize(("style", "expected"), [("norm1000", "[100, 200, 500, 600]"), ("abs_resized", "[22, 22, 112, 67]")])
def test_boxes_are_rendered_in_the_style_and_the_size_that_the_model_sees(style, expected):
    asked, by_caption = ask(sample(HOUSE), task_weights={"text2box": 1}, style=style)
    assert asked.answer == by_caption.answer == expected
    (read,) = parse(asked.answer, style, asked.size)
    assert np.abs(np.subtract(read, HOUSE.box)).max() <= 0.5 / (112 if style == "abs_resized" else 1000) + 1e-9


def test_questions_are_drawn_by_weight_and_none_twice():
    counts = Counter[str]()
    for seed in range(600):
        asked = ask(sample(HOUSE, BIRD, SIGN, seed=seed), task_weights={"text2box": 3, "counting": 1}, max_questions=1)
        counts[asked[0].task] += 1
    assert set(counts) == {"text2box", "counting"}
    assert counts["text2box"] / 600 == pytest.approx(0.75, abs=0.06)
    asked = ask(sample(HOUSE, BIRD, SIGN), max_questions=100)
    assert len({(draft.task, draft.text, draft.answer) for draft in asked}) == len(asked) == 12
    texts = {ask(sample(HOUSE, seed=seed), task_weights={"text2box": 1})[0].text for seed in range(80)}
    assert len(texts) == 2 * len(asked_tasks()["text2box"].templates)  # by the phrase and by the caption


def test_a_schedule_of_the_mixture_takes_the_place_of_the_weights():
    transforms = [{"type": "finevit.AskQuestions", "task_weights": {"text2box": 1}, "max_questions": 9}]
    dataset = DATASETS.build({"type": "NativeImages", "source": Houses(), "transforms": transforms})
    (scheduled,) = dataset.transforms_at({"AskQuestions": {"task_weights": {"counting": 1.0, "text2box": 0.0}}})
    asked = scheduled(sample(HOUSE, BIRD, SIGN))["questions"]
    assert [question.task for question in asked] == ["counting"] * 3


@pytest.mark.parametrize(
    "box", [(0.5, 0.2, 0.5, 0.6), (0.5, 0.2, 0.4, 0.6), (-0.2, 0, 0.5, 0.5), (0, 0, 1.5, 0.5), (float("nan"), 0, 1, 1)]
)
def test_impossible_boxes_are_counted_and_never_asked_for(box):
    found = sample(Region(box=box, phrase="cloud"), HOUSE)
    asked = ask(found, draw=False)
    assert found["counts"]["impossible boxes"] == 1
    assert not any("cloud" in question.text + question.answer for question in asked)


def test_what_is_there_all_of_it_and_what_is_not_there_are_counted():
    facts = {"counts": {"house": 1, "bird": 2}, "absent": ["boat", "car", "cup"]}
    asked = ask(sample(facts=facts), task_weights={"counting": 1}, draw=False)
    assert [(question.text[29:-1], question.answer) for question in asked] == [
        ("house", "1"),
        ("bird", "2"),
        ("objects of any kind", "3"),
        ("cup", "0"),
    ]
    zeros = {question.text for seed in range(40) for question in ask(sample(facts=facts, seed=seed)) if question.answer == "0"}
    assert sum(any(name in text for text in zeros) for name in facts["absent"]) == 3


@pytest.mark.parametrize("wrong", [-1, 1.5, "2", True, None])
def test_counts_that_are_none_are_counted_and_not_asked_for(wrong):
    found = sample(facts={"counts": {"house": np.int64(1), "bird": wrong}})
    asked = ask(found, task_weights={"counting": 1}, draw=False)
    assert [(question.text[29:-1], question.answer) for question in asked] == [("house", "1")]  # and nothing of all objects
    assert found["counts"]["counts that are no whole numbers"] == 1


def test_a_record_without_questions_is_a_bad_sample():
    with pytest.raises(BadSample, match="one: no question can be asked of it; it has 0 regions"):
        ask(sample(captions={}, facts={}))


def test_training_looks_for_regions_by_their_captions_too_unless_told_not_to():
    told = [
        {question.text for seed in range(30) for question in ask(sample(HOUSE, seed=seed), task_weights={"text2box": 1}, **more)}
        for more in ({}, {"captions": False})
    ]
    assert [any("with a door" in text for text in texts) for texts in told] == [True, False]
    assert all("red house" in text for texts in told for text in texts)


# --- augmentations move boxes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("EXIT", "\uff25\uff38\uff29\uff34"),
        ("stop_sign", "stop sign"),
        ("\u72d7", "\u68d5\u8272\u7684\u72d7"),
        ("\u51fa\u53e3", "\u51fa\u53e3A"),
    ],
)
def test_names_fit_whatever_their_script_and_their_form_in_unicode(one, other):
    assert fits(words(one), words(other))


def test_vowel_signs_tell_words_from_others():
    assert words("\u0915\u093f") != words("\u0915\u093e")
    assert words("re\u0301sume\u0301") == words("r\u00e9sum\u00e9")
    assert not fits(words("cat"), words("concatenate"))


@pytest.mark.parametrize(
    "moved", [{"type": "RandomFlip"}, {"type": "CropToRegion"}, {"type": "ResizeToBudget"}, {"type": "AskQuestions"}]
)
def test_what_moves_boxes_cannot_come_after_what_writes_them(moved):
    found = sample(HOUSE, budget=ImageBudget(56 * 56))
    found["questions"] = ask(found)
    with pytest.raises(ValueError, match=f"transforms: {moved['type']} comes after the questions are asked; put it before"):
        TRANSFORMS.build(moved)(found)
    found = TRANSFORMS.build({"type": "Patchify"})(sample(HOUSE, budget=ImageBudget(56 * 56)))
    with pytest.raises(ValueError, match=f"transforms: {moved['type']} comes after Patchify; put it before"):
        TRANSFORMS.build(moved)(found)


def test_a_text_in_braces_is_asked_as_it_is():
    found = ask(sample(replace(SIGN, text="see {box}")), task_weights={"ocr2box": 1}, draw=False)
    assert [question.text for question in found] == ["Where is the text “see {box}”?"]


def test_white_space_is_no_answer():
    blank = replace(SIGN, text=" ", phrase="", caption="")
    assert drafts([blank], " ", {})[0] == []
    assert [draft.answer for draft in drafts([replace(HOUSE, caption=" ")], "", {})[0] if draft.task == "box2text"] == ["red house"]


def test_a_set_s_impossible_boxes_are_missing_questions():
    torn, fine = (Question("text2box", "dog", "", boxes=(box,)) for box in ((0.5, 0.1, 0.4, 0.5), HOUSE.box))
    found = recorded(torn, fine)
    assert [question.boxes for question in found["questions"]] == [fine.boxes]
    assert found["counts"]["questions with impossible boxes"] == 1


def flipped(*regions: Region, **more: object) -> dict:
    return TRANSFORMS.build({"type": "RandomFlip", "probability": 1.0})(sample(*regions, **more))


def test_a_flip_moves_the_boxes_before_they_are_rendered():
    asked = ask(flipped(HOUSE), task_weights={"text2box": 1})
    assert {question.answer for question in asked} == {"[500, 200, 900, 600]"}


@pytest.mark.parametrize(
    "region",
    [SIGN, Region(box=HOUSE.box, phrase="house", caption="a house on the left"), Region(box=HOUSE.box, phrase="leftmost house")],
)
def test_what_says_left_or_is_written_is_not_mirrored(region):
    assert flipped(region)["regions"] == (region,)


def cropped(*regions: Region, seed: int = 0, **more: object) -> dict:
    image = np.arange(112 * 224 * 3, dtype=np.uint32).reshape(112, 224, 3).astype(np.uint8)
    found = sample(*regions, image=image, label_map=np.zeros((112, 224), np.int16), seed=seed)
    return TRANSFORMS.build({"type": "CropToRegion", "probability": 1.0, **more})(found)


def test_a_crop_shows_one_region_with_its_margin_and_moves_the_boxes():
    sign, heights = replace(SIGN, box=(0.2, 0.8, 0.8, 0.95)), set()
    for seed in range(20):
        found = cropped(HOUSE, sign, margin=(0.25, 0.25), seed=seed)  # of the shorter sides, 44.8 and 16.8 pixels
        (region,) = found["regions"]
        true, (height, width) = sign if region.text else HOUSE, found["image"].shape[:2]
        assert (region.box[2] - region.box[0]) * width == pytest.approx((true.box[2] - true.box[0]) * 224, abs=1e-6)
        assert (region.box[3] - region.box[1]) * height == pytest.approx((true.box[3] - true.box[1]) * 112, abs=1e-6)
        assert region.caption == ""
        assert found["label_map"].shape == found["image"].shape[:2]
        assert found["captions"] == found["facts"] == {}
        heights.add(height)
    assert heights == {68, 26}  # floor(22.4 - 11.2) to ceil(67.2 + 11.2), floor(89.6 - 4.2) to ceil(106.4 + 4.2)


def test_a_crop_cuts_through_no_other_region():
    sign = Region(box=(0.45, 0.62, 0.7, 0.68), phrase="the text “GO”", kind="text_line", text="GO")
    found = [cropped(HOUSE, BIRD, sign, seed=seed, margin=(0.0, 1.0)) for seed in range(60)]
    cut = [each for each in found if each["image"].shape[1] < 224]
    assert len(cut) > 20
    for each in cut:
        width = each["image"].shape[1]
        widths = {region.phrase: (region.box[2] - region.box[0]) * width for region in each["regions"]}
        assert widths.get("the text “GO”", 56) == pytest.approx(56, abs=1e-4)
        assert 0.5 * 89.6 <= widths.get("red house", 89.6) <= 89.6 + 1e-4


def test_what_no_window_shows_whole_stays_uncut():
    house, text = Region(box=(0.1, 0.1, 0.9, 0.9), phrase="house"), replace(SIGN, box=(0.0, 0.4, 1.0, 0.6))
    found = cropped(house, text, margin=(0.0, 0.0), kinds=["object"])
    assert found["image"].shape == (112, 224, 3)
    assert found["regions"] == (house, text)
    assert found["captions"]


def test_crops_look_at_the_kinds_of_regions_that_are_asked_for():
    found = [cropped(HOUSE, SIGN, kinds=["text_line"], margin=(0.0, 0.1), seed=seed)["regions"] for seed in range(20)]
    assert {region.text for regions in found for region in regions} == {"STOP"}
    assert cropped(HOUSE, kinds=["text_line"])["image"].shape == (112, 224, 3)


@pytest.mark.parametrize(("scheduled", "probability", "cut"), [(0.0, 1.0, 0), (1.0, 0.0, 20), (None, 1.0, 20), (None, 0.0, 0)])
def test_a_schedule_of_region_crops_takes_the_place_of_the_probability(scheduled, probability, cut):
    transforms = [{"type": "finevit.CropToRegion", "probability": probability}]
    dataset = DATASETS.build({"type": "NativeImages", "source": Houses(), "transforms": transforms})
    (crop,) = dataset.transforms_at({} if scheduled is None else {"CropToRegion": {"probability": scheduled}})
    image = np.zeros((112, 224, 3), np.uint8)
    found = [crop(sample(HOUSE, image=image, seed=seed))["image"].shape for seed in range(20)]
    assert sum(shape != image.shape for shape in found) == cut


def test_an_impossible_box_stays_as_it_is_in_a_crop():
    wrong = Region(box=(0.5, 0.2, 0.4, 0.6), phrase="cloud")
    assert wrong in cropped(HOUSE, wrong)["regions"]


@pytest.mark.parametrize(("setting", "value"), [("probability", 1.5), ("visible", -0.1), ("margin", (1, 0)), ("margin", (0,))])
def test_settings_of_a_crop_are_checked(setting, value):
    with pytest.raises(ValueError, match=rf"CropToRegion.{setting}="):
        TRANSFORMS.build({"type": "CropToRegion", setting: value})


# --- tokens --------------------------------------------------------------------------------------------------------------


def test_answers_alone_are_learned_and_each_with_its_closing_token():
    chat = load_chat("scenes-chat")
    found = dialogue(sample(HOUSE, SIGN), draw=False)
    batch = pack_dialogues([{**found, "skipped": []}], keys=["questions"])
    packed = batch["dialogues"]
    assert packed.visual == (4 * 8,)
    assert packed.tokens[:34].tolist() == [2, *[IMAGE_TOKEN] * 32, packed.tokens[33]]
    assert packed.answers == (len(found["questions"]),)
    for number, question in enumerate(found["questions"], start=1):
        segment = packed.segment_ids == number
        said = [token for token in packed.labels[segment].tolist() if token != IGNORE_INDEX]
        assert said == [*chat.encode(question.answer), 4]
        asked = packed.tokens[segment & (packed.labels == IGNORE_INDEX)].tolist()
        assert asked == [*chat.encode(question.text), 4, 3]
        assert packed.position_ids[segment].tolist() == list(range(33, 33 + int(segment.sum())))
    assert (packed.labels[packed.segment_ids == 0] == IGNORE_INDEX).all()


def test_what_does_not_fit_is_left_out_whole_and_counted():
    whole = dialogue(sample(HOUSE, BIRD, SIGN, captions={"long": "word " * 5000}), draw=False)
    assert whole["counts"]["questions too long"] == 1
    assert "global_caption" not in {question.task for question in whole["questions"]}
    short = dialogue(sample(HOUSE, BIRD, SIGN, max_seq_len=100), draw=False)
    assert 0 < len(short["questions"]) < len(whole["questions"])
    assert len(short["dialogue"][0]) <= 100
    with pytest.raises(BadSample, match="one: no question fits into 40 tokens, of which the image takes 33"):
        dialogue(sample(HOUSE, max_seq_len=40), draw=False)


def test_an_evaluation_keeps_every_question_that_fits_alone():
    found = sample(HOUSE, BIRD, SIGN, captions={"long": "word " * 5000}, max_seq_len=55)
    for transform in ({"type": "AskQuestions", "draw": False}, {"type": "Patchify"}):
        found = TRANSFORMS.build(transform)(found)
    kept = TRANSFORMS.build({"type": "TokenizeDialogue", "tokenizer": "scenes-chat", "together": False})(found)
    assert len(kept["questions"]) == 7
    assert kept["counts"]["questions too long"] == 3  # those that spell out a box


def recorded(*questions: Question, style: str = "norm1000") -> dict:
    found = sample(facts={"questions": questions})
    return {**TRANSFORMS.build({"type": "AskRecorded", "style": style})(found), "counts": found["counts"]}


@pytest.mark.parametrize("text", ["What is it?", "<image>\nWhat is it?", "What is it?\n<image>"])
def test_a_placeholder_is_taken_out_of_a_question_that_a_set_brings_along(text):
    asked = recorded(Question("global_caption", text, "a house"), Question("text2box", text, "", boxes=(HOUSE.box,)))["questions"]
    assert [question.text for question in asked] == ["What is it?", "Where is What is it??"]
    with pytest.raises(BadSample, match="one: 2 times <image> in a question about one image"):
        recorded(Question("global_caption", "<image> or <image>?", "a house"))


def test_what_is_written_in_an_image_is_asked_as_it_is():
    found = sample(replace(SIGN, text="<image> <image>"), captions={}, facts={})
    (asked,) = ask(found, task_weights={"ocr2box": 1}, draw=False)
    tokenize = TRANSFORMS.build({"type": "TokenizeDialogue", "tokenizer": "scenes-chat"})
    tokens = tokenize({**found, "shape": (4, 4), "questions": [asked]})["dialogue"][0]
    assert (tokens == IMAGE_TOKEN).sum() == 4
    assert "<image> <image>" in load_chat("scenes-chat").decode([token for token in tokens[5:] if token > 4])


def test_a_set_s_boxes_that_the_style_cannot_write_are_missing_questions():
    thin, fine = (Question("text2box", "dog", "", boxes=(box,)) for box in ((0.1, 0.1, 0.1003, 0.5), HOUSE.box))
    found = recorded(thin, fine)
    assert [question.boxes for question in found["questions"]] == [fine.boxes]
    assert found["counts"]["boxes too thin for the style"] == 1
    with pytest.raises(BadSample, match="one: brings no question along whose boxes norm1000 can write; they are impossible, or"):
        recorded(thin)


def test_odd_sides_cannot_be_merged():
    with pytest.raises(ValueError, match="a grid of 3 x 4 patches cannot be merged 2 x 2; sides must be multiples of 28 pixels"):
        TRANSFORMS.build({"type": "TokenizeDialogue", "tokenizer": "scenes-chat"})({**sample(), "shape": (3, 4), "questions": []})


# --- through the dataset -----------------------------------------------------------------------------------------------------


class Houses(Source):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Record:
        if index == 3:
            raise BadSample("house 3 burnt down")
        image = np.full((100, 180, 3), 40 * index, np.uint8)
        return Record(str(index), image, {"long": f"House {index}."}, (HOUSE, SIGN), facts={"counts": {"house": index}})

    def describe(self) -> str:
        return "houses"


def loader(weights: dict | None = None) -> tuple[object, NativeBatchSampler]:
    transforms = [
        {"type": "finevit.ResizeToBudget"},
        {"type": "finevit.AskQuestions"},
        {"type": "finevit.Patchify"},
        {"type": "finevit.TokenizeDialogue", "tokenizer": "scenes-chat"},
    ]
    dataset = DATASETS.build({"type": "NativeImages", "source": Houses(), "transforms": transforms})
    order = DATA_SAMPLERS.build({"type": "StatelessSampler", "dataset": dataset, "seed": 0})
    length = {"max_seq_len": {"type": "Constant", "value": 256}}
    batches = {
        "resolution": {"type": "ConstantResolution", "side": 112},
        "schedules": {"TokenizeDialogue": length, "AskQuestions": {"task_weights": weights}},
    }
    return dataset, DATA_SAMPLERS.build({"type": "NativeBatchSampler", "sampler": order, "batch_size": 3, **batches})


def test_batches_are_functions_of_the_step_and_follow_the_mixture():
    ramp = {"type": "Linear", "begin_value": 1.0, "end_value": 0.0, "end": 10}
    rise = {"type": "Linear", "begin_value": 0.0, "end_value": 1.0, "end": 10}
    dataset, batches = loader({"global_caption": ramp, "text2box": rise})
    first, again, last = ([dataset[request] for request in batches.requests(step)] for step in (0, 0, 10))
    for one, two in zip(first, again, strict=True):
        assert one["questions"] == two["questions"]
        assert all(np.array_equal(a, b) for a, b in zip(one["dialogue"], two["dialogue"], strict=True))
    assert {question.task for found in first for question in found["questions"]} == {"global_caption"}
    assert {question.task for found in last for question in found["questions"]} == {"text2box"}
    assert batches.values(5)["AskQuestions"] == {"task_weights": {"global_caption": 0.5, "text2box": 0.5}}


def test_a_bad_sample_is_replaced_and_told():
    dataset, batches = loader()
    found = [dataset[request] for step in range(2) for request in batches.requests(step)]
    assert sum(("house 3 burnt down" in "".join(one["skipped"])) for one in found) == 1
    packed = pack_dialogues(found, keys=["questions"])["dialogues"]
    assert sum(packed.seqlens) == len(packed.tokens) == packed.cu_seqlens[-1]


# --- refusals ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task_weights": {"text2bix": 1}}, r"AskQuestions.task_weights: 'text2bix' is no task \(did you mean 'text2box'"),
        ({"task_weights": {"text2box": -1}}, "AskQuestions.task_weights=.*: give weights of at least 0, and one above 0"),
        ({"task_weights": 3}, "AskQuestions.task_weights=3: give a weight for each task, as dict"),
        ({"task_weights": ["counting"]}, r"AskQuestions.task_weights=\['counting'\]: give a weight for each task, as dict"),
        ({"task_weights": True}, "AskQuestions.task_weights=True: give a weight for each task, as dict"),
        ({"task_weights": {"text2box": True}}, "give weights of at least 0, and one above 0"),
        ({"task_weights": {"text2box": 0}}, "give weights of at least 0, and one above 0"),
        ({"style": "norm100"}, "box style 'norm100' is unknown"),
        ({"style": 3}, "AskQuestions.style=3: give a text"),
        ({"style": ["unit3"]}, r"AskQuestions.style=\['unit3'\]: give a text"),
        ({"ill_posed": "guess"}, "AskQuestions.ill_posed='guess': give 'drop' or 'answer'"),
        ({"max_questions": 0}, "AskQuestions.max_questions=0: give a whole number of questions, at least 1"),
        ({"max_questions": True}, "AskQuestions.max_questions=True: give a whole number of questions, at least 1"),
    ],
)
def test_what_questions_refuse(options, said):
    with pytest.raises(ValueError, match=said):
        TRANSFORMS.build({"type": "AskQuestions", **options})


def test_weights_of_a_schedule_are_checked_before_the_run():
    with pytest.raises(ValueError, match=r"batch_sampler.schedules.AskQuestions.task_weights.*'txt2box' is no task"):
        loader({"txt2box": {"type": "Constant", "value": 1.0}})
    assert check_weights("x", {"counting": 2}) == {"counting": 2.0}


def test_a_run_tells_what_it_asked_and_left_out():
    totals = Counter({"images": 40, "answers": 1234, "ambiguous text2box": 5, "impossible boxes": 0, "questions too long": 2})
    assert summary(totals) == "dialogues: 40 images, 1,234 questions asked; left out: 5 ambiguous text2box, 2 questions too long"
    assert summary(Counter(images=1, answers=1)).endswith("left out: none")


def test_what_the_language_model_cannot_read_is_refused_before_the_run():
    llm = MODELS.build({"type": "PlainLLM", "depth": 1, "dim": 16, "heads": 2, "context": 128})
    check_training(10, 128, llm)
    with pytest.raises(
        ValueError, match=r"max_seq_len is 129 at step 10, but the language model reads 128 positions; end the schedule"
    ):
        check_training(10, 129, llm)
    with pytest.raises(ValueError, match=r"max_seq_len is not set, the most tokens of a dialogue"):
        check_training(0, 0, llm)
    check_tokenizer(TRANSFORMS.build({"type": "TokenizeDialogue", "tokenizer": "scenes-chat"}), llm)
    with pytest.raises(ValueError, match=r"tokenizer='scenes', but the language model's is 'scenes-chat'; leave out"):
        check_tokenizer(TRANSFORMS.build({"type": "TokenizeDialogue", "tokenizer": "scenes"}), llm)


def evaluated(max_seq_len: int, tokenizer: str = "scenes-chat") -> SimpleNamespace:
    """A loader of questions for evaluation."""
    tokenize = {"type": "finevit.TokenizeDialogue", "tokenizer": tokenizer}
    return SimpleNamespace(
        dataset=DATASETS.build({"type": "NativeImages", "source": Houses(), "transforms": [tokenize], "max_seq_len": max_seq_len})
    )


@pytest.mark.parametrize("part", ["val", "test"])
def test_what_the_language_model_cannot_read_is_refused_before_evaluations(part):
    llm = MODELS.build({"type": "PlainLLM", "depth": 1, "dim": 16, "heads": 2, "context": 128})
    begin = getattr(DialogueHook(), f"before_{part}")
    for loader, said in (
        (
            evaluated(129),
            rf"{part}_dataloader.dataset.max_seq_len.* is 129, but the language model reads 128 positions; set at most 128",
        ),
        (evaluated(0), rf"{part}_dataloader.dataset.max_seq_len.* is not set, the most tokens of image and question"),
        (evaluated(64, "scenes"), "tokenizer='scenes', but the language model's is 'scenes-chat'"),
    ):
        runner = SimpleNamespace(model=SimpleNamespace(llm=llm), **{f"{part}_dataloader": loader})
        with pytest.raises(ValueError, match=said):
            begin(runner)
        begin(SimpleNamespace(**{**vars(runner), "model": SimpleNamespace()}))
    begin(SimpleNamespace(model=SimpleNamespace(llm=llm), **{f"{part}_dataloader": evaluated(128)}))
    check_evaluation("val_dataloader", SimpleNamespace(), llm)  # asks nothing


def test_a_training_refuses_its_validation_before_it_begins():
    llm = MODELS.build({"type": "PlainLLM", "depth": 1, "dim": 16, "heads": 2, "context": 128})
    train = SimpleNamespace(dataset=loader()[0], batch_sampler=None)
    train.dataset.max_seq_len = 128
    runner = SimpleNamespace(
        model=SimpleNamespace(llm=llm), train_dataloader=train, max_iters=4, val_loop=object(), val_dataloader=evaluated(129)
    )
    with pytest.raises(ValueError, match=r"val_dataloader\.dataset\.max_seq_len is 129"):
        DialogueHook().before_train(runner)
    runner.val_loop = None
    DialogueHook().before_train(runner)


def test_an_evaluation_tells_of_regions_without_a_possible_box():
    left_out = LeftOut()
    left_out.add({"counts": {"impossible boxes": 2, "ambiguous text2box": 1}})
    assert left_out.said() == "; INCOMPLETE: 2 impossible boxes left out"

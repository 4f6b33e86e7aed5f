"""FineCap on 500 embedded scenes, in minutes on two cores: only pixels go in, RapidOCR reads them, a stand-in plays the models.

`finevit stand-in` answers from the hidden truth of the scenes, with a tenth of all facts missing and one in fifty wrong. It is no
model: what it says shows that the pipeline works, and nothing of what a captioner sees. Images of your own: recaption.py.
"""

default_scope = "finevit"
_scenes = dict(level="medium", split="train", length=500, max_side=448)
_wrong = ["--noise", "0.02", "--omissions", "0.1", "--boxes-noise", "0.02", "--faults", "0.02", "--fault-kinds"]
_wrong += ["429", "500", "dropped", "non_json", "refusal", "empty"]  # of which attempts overcome some, and some stay
_knows = ["--level", "medium", "--split", "train", "--length", "500", "--max-side", "448"]
source = dict(type="Scenes", **_scenes)
license = "cc-by-sa-4.0"  # of OpenMoji, whose drawings the scenes are made of
services = dict(stand_in=dict(command=["{python}", "-m", "finevit", "stand-in", "--port", "{port}", *_knows, *_wrong]))
executor = dict(type="ProcessPool")
_model = dict(base_url="service:stand_in/v1", client=dict(deadline_s=10.0))
_captioner = dict(type="OpenAICaptioner", **_model)
_grounder = dict(type="OpenAIGrounder", model="stand-in-a", **_model)
passes = dict(
    index=dict(type="Index", images_per_shard=100, captions=False),
    quality=dict(type="QualityFilter", short_side=112),  # the paper's 448 would reject all: scenes are smaller
    duplicates=dict(type="NearDuplicates"),
    ocr=dict(type="OCR", ocr=dict(type="RapidOCREngine")),
    captions=dict(
        type="GlobalCaptions", captioners={letter: dict(_captioner, model=f"stand-in-{letter}") for letter in ("a", "b", "c")}
    ),
    phrases=dict(type="NounPhrases", extractor=dict(type="OpenAIPhraseExtractor", model="stand-in-a", **_model)),
    grounding=dict(type="Grounding", grounder=_grounder),
    suppress=dict(type="SuppressBoxes"),
    sample=dict(type="ClassBalancedSampling", cap=100, rare=10),
    local_captions=dict(type="LocalCaptions", captioner=dict(_captioner, model="stand-in-a")),
    region_check=dict(type="RegionCheck", grounder=_grounder),
    assemble=dict(type="Assemble"),
)

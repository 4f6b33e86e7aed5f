"""FineCap on images of your own, with the paper's numbers: models behind an OpenAI-compatible server, Grounding DINO, RapidOCR.

finevit recaption recaption --cfg-options data_root=/path/to/images
The servers' addresses and the names of their models are settings: docs/recaption.md.
"""

default_scope = "finevit"
source = dict(type="Scenes", level="easy", split="train", length=1000)  # data_root takes its place
executor = dict(type="ProcessPool")
_server = dict(type="OpenAICaptioner", base_url="http://127.0.0.1:8000/v1", client=dict(in_flight=64))
_grounder = dict(type="GroundingDINOGrounder", model="IDEA-Research/grounding-dino-base")
_captioner = dict(_server, model="Qwen/Qwen3-VL-32B-Instruct", max_tokens=512)
passes = dict(
    index=dict(type="Index", images_per_shard=1000),
    quality=dict(type="QualityFilter", short_side=448, aspect=3.0),
    duplicates=dict(type="NearDuplicates", max_distance=3),
    ocr=dict(type="OCR", ocr=dict(type="RapidOCREngine")),
    captions=dict(type="GlobalCaptions", captioners=dict(qwen3=_captioner)),
    phrases=dict(
        type="NounPhrases", extractor=dict(type="OpenAIPhraseExtractor", base_url=_server["base_url"], model=_captioner["model"])
    ),
    grounding=dict(type="Grounding", grounder=_grounder, min_score=0.3),
    suppress=dict(type="SuppressBoxes", iou=0.7),
    sample=dict(type="ClassBalancedSampling", cap=100_000, rare=1000),
    local_captions=dict(type="LocalCaptions", captioner=dict(_captioner, max_tokens=192)),
    region_check=dict(type="RegionCheck", grounder=_grounder),
    assemble=dict(type="Assemble"),
)

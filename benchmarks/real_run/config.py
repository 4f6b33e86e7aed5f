"""Real images: `run.py` says which, and which captions the stand-in plays."""

default_scope = "finevit"
license = "GFDL, GPL-2, CC-BY-SA, CC0, BSD"
source = {"type": "ImageFolder", "data_root": ".", "split": "all"}
services = {"stand_in": {"command": ["false"]}}
executor = {"type": "ProcessPool"}
_captioner = {"type": "OpenAICaptioner", "base_url": "service:stand_in/v1", "model": "stand-in-a", "client": {"attempts": 1}}
passes = {
    "index": {"type": "Index", "images_per_shard": 200},
    "quality": {"type": "QualityFilter", "short_side": 112},  # the paper's 448 would leave few of these
    "duplicates": {"type": "NearDuplicates"},
    "ocr": {"type": "OCR", "ocr": {"type": "RapidOCREngine"}},
    "captions": {"type": "GlobalCaptions", "captioners": {"people": _captioner}},
    "phrases": {"type": "NounPhrases", "extractor": {"type": "RuleExtractor"}},
    "assemble": {"type": "Assemble"},
}

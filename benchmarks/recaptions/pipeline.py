"""Recaptions of a fixed set of scenes by three stand-ins, out of the pipeline.

``run.py`` says how many scenes, how much noise, and the prompts.
"""

default_scope = "finevit"
custom_imports = {"imports": ["recaptions.data"]}
source = {"type": "DescribedScenes", "level": "easy", "length": 4000}
services = {"stand_in": {"command": []}}
_captioner = {"type": "OpenAICaptioner", "base_url": "service:stand_in/v1"}
passes = {
    "index": {"type": "Index"},
    "captions": {
        "type": "GlobalCaptions",
        "captioners": {letter: {**_captioner, "model": f"stand-in-{letter}"} for letter in "abc"},
    },
    "assemble": {"type": "Assemble"},
}

"""The bundled prompts. A prompt of a config's own takes their place; its text is part of each request's key."""

DENSE = (
    "Describe this image in one dense paragraph of 150 to 300 words. Name every object that can be made out, with its colour, its "
    "material, its state and where it is; say how objects relate to each other; quote all readable text exactly, in double "
    "quotation marks; describe background and style last. Say only what can be seen. Begin directly, without an introduction."
)
SHORT = (
    "Describe this image in one sentence of at most 25 words. Say only what can be seen. Begin directly, without an introduction."
)
LOCAL = (
    "The first image is the whole picture, the second is a part of it. Describe what the part shows in 30 to 80 words: name it, "
    "its colour, material, state and details, any readable text in double quotation marks, and how it relates to what surrounds it "
    "in the whole picture. Describe nothing else. Begin directly, without an introduction."
)
LOCAL_SUFFIX = "The part lies within [x1, y1, x2, y2] = {box} of the whole picture, in thousandths of its sides."
"""Behind the part; ``{box}`` is in the style norm1000."""

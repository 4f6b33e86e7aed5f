"""How the voices of the stand-in tell of backgrounds."""

BACKDROPS: dict[str, tuple[str, ...]] = {
    "flat": (
        "a single-coloured {first} backdrop",
        "a solid {first} ground",
        "plain {first} paper",
        "a {first} background, even and plain",
    ),
    "checker": (
        "a chessboard of {first} and {second} tiles",
        "{first} and {second} checks",
        "a checkered pattern of {first} and {second}",
        "alternating {first} and {second} squares",
        "a checkerboard in {first} and {second}",
    ),
    "dots": (
        "{first} paper with {second} dots",
        "a {first} ground covered in {second} dots",
        "{second} spots on a {first} background",
        "{first} with a pattern of {second} polka dots",
    ),
    "waves": (
        "{first} and {second} waves",
        "a wavy pattern in {first} and {second}",
        "wavy stripes of {first} and {second}",
        "ripples in {first} and {second}",
    ),
    "wood": (
        "wooden boards in {first} and {second}",
        "a wood texture of {first} and {second}",
        "{first} wood with a grain in {second}",
    ),
    "clouds": (
        "blurred clouds of {first} and {second}",
        "a cloudy blend of {first} and {second}",
        "a soft, blurry mix of {first} and {second}",
        "hazy, mottled patches in {first} and {second}",
    ),
    "speckles": (
        "a speckled {first} and {second} texture",
        "grainy noise in {first} and {second}",
        "fine {first} and {second} grains",
        "a noisy, speckled surface in {first} and {second}",
    ),
    "gradient": (
        "a gradient that goes from {first} to {second}",
        "{first} that gradually turns into {second}",
        "a colour gradient, {first} {start} and {second} {end}",
        "a smooth transition, {first} {start}, {second} {end}",
    ),
    "stripes": (
        "stripes of {first} and {second}",
        "a striped pattern in {first} and {second}",
        "{direction} stripes of {first} and {second}",
        "a pattern of {direction} lines in {first} and {second}",
        "{direction} stripes, {first} and {second} in turn",
    ),
    "photograph": ("a photo of {first}", "a photographic view of {first}", "a real photo that shows {first}"),
    "": ("some background", "some backdrop"),
}
ENDS = {
    "left": ("on the left", "on the right"),
    "upper left": ("at the upper left", "at the lower right"),
    "top": ("at the top", "at the bottom"),
    "upper right": ("at the upper right", "at the lower left"),
}
"""Of a gradient, by where it starts."""
STRIPES = ("vertical", "diagonal", "horizontal")

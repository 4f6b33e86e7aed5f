"""English for captions: the templates, kept apart from the logic that fills them. One of a tuple is picked at
random."""

BACKGROUNDS: dict[str, tuple[str, ...]] = {
    "flat": ("a plain {first} background", "a uniform {first} backdrop", "an even {first} surface", "solid {first}"),
    "checker": (
        "{a_first} and {second} checkerboard",
        "a chequered backdrop of {first} and {second} squares",
        "{a_first}-and-{second} checked pattern",
        "a checker pattern in {first} and {second}",
    ),
    "dots": (
        "{a_first} background with {second} dots",
        "{second} polka dots on {first}",
        "{a_first} surface dotted with {second}",
        "a spotted backdrop, {second} on {first}",
    ),
    "waves": (
        "wavy bands of {first} and {second}",
        "a pattern of {first} and {second} waves",
        "undulating {first} and {second} lines",
        "a rippling {first} and {second} backdrop",
    ),
    "wood": (
        "a wood-like grain in {first} and {second}",
        "a wooden-looking backdrop of {first} and {second}",
        "{first} and {second} wood grain",
    ),
    "clouds": (
        "a blurry mottled backdrop of {first} and {second}",
        "soft patches of {first} and {second}",
        "cloudy blotches of {first} and {second}",
        "a hazy mixture of {first} and {second}",
    ),
    "speckles": (
        "a fine speckle of {first} and {second}",
        "a grainy {first} and {second} texture",
        "noisy {first} and {second} speckles",
        "a background speckled in {first} and {second}",
    ),
    "gradient": (
        "a smooth gradient from {first} {start} to {second} {end}",
        "a backdrop that fades from {first} {start} to {second} {end}",
        "a blend running from {first} {start} into {second} {end}",
    ),
    "stripes": (
        "{direction} {first} and {second} stripes",
        "a pattern of {direction} stripes in {first} and {second}",
        "{direction} bands, alternately {first} and {second}",
        "{a_first} and {second} striped backdrop whose bands run {adverb}",
    ),
    "photograph": ("a photograph of {subject}", "part of a photo of {subject}", "a photographic backdrop of {subject}"),
}

GRADIENTS = (
    ("at the left", "at the right"),
    ("at the upper left", "at the lower right"),
    ("at the top", "at the bottom"),
    ("at the upper right", "at the lower left"),
)
STRIPES = (
    ("vertical", "vertically"),
    ("diagonal", "diagonally"),
    ("horizontal", "horizontally"),
    ("diagonal", "diagonally"),
)

FORMATS = {
    "very wide": ("a long, panoramic", "a very wide"),
    "wide": ("a wide", "a landscape-format"),
    "square": ("a nearly square", "a roughly square"),
    "tall": ("a tall", "a portrait-format", "an upright"),
    "very tall": ("a very tall, narrow", "a slender, very tall"),
}
PICTURES = ("picture", "image", "illustration", "scene", "composition", "graphic")

OPENINGS = (
    "This is {format} {picture} of {inventory}, set against {back}.",
    "{Format} {picture} shows {inventory} on {back}.",
    "{Inventory} can be seen in {format} {picture} with {back} behind.",
    "On {back}, {format} {picture} presents {inventory}.",
    "In {format} {picture}, {inventory} can be made out in front of {back}.",
    "Against {back} we see {inventory} in {format} {picture}.",
    "The viewer is shown {inventory} in {format} {picture}; behind: {back}.",
)
TOTALS = (
    "In total there {be} {count} object{s}.",
    "Counting everything, {count} object{s} can be found.",
    "The number of objects is {count}.",
    "Altogether {count} object{s} {be} visible.",
    "Someone counting the objects would arrive at {count}.",
)
COUNTS = (
    "There are {count} {plural} among them.",
    "One can count {count} {plural}.",
    "{Count} {plural} appear here.",
    "Exactly {count} {plural} can be found.",
)
OBJECTS = (
    "{Place} we find {a_noun}{details}.",
    "There {be} {a_noun} {place}{details}.",
    "{A_noun} can be seen {place}{details}.",
    "{Place}, one can spot {a_noun}{details}.",
    "Look {place} for {a_noun}{details}.",
    "{A_noun} occup{ies} a spot {place}{details}.",
    "{Place} sit{s} {a_noun}{details}.",
    "The artist has put {a_noun} {place}{details}.",
    "Our eye meets {a_noun} {place}{details}.",
)
SOLE_OBJECT = (
    "The only object, {a_noun}, can be found {place}{details}.",
    "Its single subject, {a_noun}, appears {place}{details}.",
    "{Place} one sees {a_noun}{details}, and no other object.",
)
RELATIONS: dict[str, tuple[str, ...]] = {
    "left of": (
        "{A} can be found to the left of {b}.",
        "To the right of {a} one finds {b}.",
        "From left to right: first {a}, later {b}.",
    ),
    "right of": (
        "{A} can be found to the right of {b}.",
        "To the left of {a} one finds {b}.",
        "From left to right: first {b}, later {a}.",
    ),
    "above": ("{A} can be found higher up than {b}.", "Above {b} we see {a}.", "Below {a} one finds {b}."),
    "below": ("{A} can be found lower down than {b}.", "Below {b} we see {a}.", "Above {a} one finds {b}."),
    "overlapping": (
        "{A} overlap{s} {b}.",
        "Part of {b} disappears behind {a}.",
        "In front of {b}, covering a part, we see {a}.",
    ),
    "larger than": ("{A} take{s} up more of the picture than {b}.", "More of the picture goes to {a} than to {b}."),
    "smaller than": ("{A} take{s} up less of the picture than {b}.", "More of the picture goes to {b} than to {a}."),
}
LINES = (
    "The {unit} “{text}” {be} written {place} in {ink} {font} letters.",
    "{Place} one can read “{text}” in {ink} {font} type.",
    "A label {place} says “{text}”, set in {ink} {font} letters.",
    "{Ink} {font} lettering {place} spells “{text}”.",
    "Someone has printed “{text}” {place}, in {ink} {font} type.",
)
NO_LINES = (
    "No writing appears anywhere.",
    "There is no text in it.",
    "It contains no words at all.",
    "Nothing is written in it.",
)
LIGHT = (
    "The light is strongest {corner}.",
    "It is brightest {corner} and darkens away from there.",
    "Light seems to come from the corner {corner}.",
)
EVEN_LIGHT = ("The light is even.", "Everything is lit evenly.", "The lighting hardly changes across it.")
BACKS = (
    "The background shows {back}.",
    "Behind everything: {back}.",
    "The backdrop: {back}.",
    "All of it is set on {back}.",
)
PROPORTIONS = (
    "It is about {ratio} times as {long} as it is {short}.",
    "The longer side is about {ratio} times the shorter one.",
    "Its sides are roughly in the ratio {ratio} to 1.",
)
EMPTY = (
    "The {corner} corner is empty.",
    "Nothing has been put into the {corner} corner.",
    "Only background can be seen in the {corner} corner.",
)
LARGEST = (
    "Nothing takes up more of the picture than {the_noun}.",
    "The object that fills most of the frame: {the_noun}.",
    "First in size comes {the_noun}.",
)
ABSENT = (
    "There is no {one} and no {two} to be seen.",
    "Neither {a_one} nor {a_two} is present.",
    "One would look in vain for {a_one} or {a_two}.",
)
DOODLES = ("A few loose pen strokes cross the background.", "Thin coloured scribbles are scattered behind the objects.")
SHORTS = (
    "{Inventory} on {back}{writing}.",
    "{Inventory} against {back}{writing}.",
    "{Picture} of {inventory} on {back}{writing}.",
    "{Back} with {inventory} on it{writing}.",
)
AMONG = (
    "{count} objects, among them {some}",
    "{count} things including {some}",
    "{commas} and {rest} more objects",
    "a crowd of {count} objects such as {some}",
)
DETAILS = (", {}", ", {}", " ({})")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

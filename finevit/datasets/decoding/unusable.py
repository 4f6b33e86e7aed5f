"""The error about an image file of which it is known why it cannot be used."""


class Unusable(ValueError):
    """A file that is beyond a limit, or says too little; the message names the limit, and the remedy, and not the file."""

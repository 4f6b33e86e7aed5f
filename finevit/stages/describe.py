"""What stages say of themselves."""

from finevit.contracts import ImageEncoder


def readable(count: int) -> str:
    """A number of parameters as people write it: 860,123,456 -> 0.86 B."""
    return f"{count / 1e9:.2f} B" if count >= 1e8 else f"{count / 1e6:.2f} M"


def told(encoder: ImageEncoder) -> str:
    """The line about the image encoder."""
    parameters = readable(sum(parameter.numel() for parameter in encoder.parameters()))
    return f"encoder: {type(encoder).__name__}, {encoder.depth} blocks of width {encoder.dim}, {parameters} parameters"

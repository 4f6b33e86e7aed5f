"""What stages say of themselves."""


def readable(count: int) -> str:
    """A number of parameters as people write it: 860,123,456 -> 0.86 B."""
    return f"{count / 1e9:.2f} B" if count >= 1e8 else f"{count / 1e6:.2f} M"

"""Numbers that the commands take as options. argparse explains what raises `ValueError`."""


def positive(text: str) -> float:
    """Above 0, and small enough for every clock."""
    if not 0 < (number := float(text)) <= 1e6:
        raise ValueError
    return number


def count(text: str) -> int:
    """At least 1."""
    if (number := int(text)) < 1:
        raise ValueError
    return number

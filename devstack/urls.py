"""Where the web processes of `manage.py run` serve, told to other commands by a file in the data folder."""

from collections.abc import Sequence
from pathlib import Path

NAME = "urls"


def write_urls(folder: Path, urls: Sequence[str]) -> None:
    """Replace what is said there; none: nothing runs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text("".join(f"{url}\n" for url in urls))


def read_urls(folder: Path) -> list[str]:
    """The base URLs, none when nothing was said. They may be of a run that was killed."""
    try:
        return (folder / NAME).read_text().split()
    except FileNotFoundError:
        return []

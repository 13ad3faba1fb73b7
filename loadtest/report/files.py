"""A folder with the report in all its forms."""

import json
from pathlib import Path

from loadtest.report.document import Document
from loadtest.report.markdown import render_markdown
from loadtest.report.page import render_page


def write_report(folder: Path, document: Document) -> None:
    """Write `report.json`, `report.md` and `report.html`. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(document.data, indent=1) + "\n")
    (folder / "report.md").write_text(render_markdown(document))
    (folder / "report.html").write_text(render_page(document))

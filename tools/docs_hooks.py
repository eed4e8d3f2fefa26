"""What the site needs beyond its pages: the root's documents, and blocks without our marks.

README.md, CONTRIBUTING.md and CHANGELOG.md are pages of the site, their links turned to where the
site has them. The word after a block's language (`run`, `slow`, `show`: tools/check_readme.py) is
for us, so it is taken off.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
_MARK = re.compile(r"^```(bash|python) (?:run|slow|show)$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")
_COLAB = re.compile(r"(?:\.\./)*colab/")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page's text as the site shows it."""
    uri = page.file.src_uri
    if uri in PAGES:
        markdown = (ROOT / PAGES[uri]).read_text(encoding="utf-8")
        markdown = markdown.replace("](docs/", "](")
    return _LINK.sub(_link, _MARK.sub(r"```\1", markdown))


def _link(found: re.Match[str]) -> str:
    """A link to where the site has it; to what it does not have, the text alone."""
    text, target, anchor = found[1], found[2], found[3] or ""
    inside = {name: uri for uri, name in PAGES.items()}
    if target in inside:
        return f"[{text}]({inside[target]}{anchor})"
    if _COLAB.match(target):
        return f"[{text}]({_COLAB.sub('notebooks/', target)}{anchor})"
    if re.match(r"(?:\.\./)*(?:LICENSE|tools/|tfq_ext/|tests/|\.ci/)", target):
        return text
    return found[0]

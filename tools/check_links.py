"""Every link inside the repository leads somewhere: documents, notebooks, headings.

Links to other sites are not followed. Run by `python tools/check.py links`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

FOLDERS = (".", "docs", "colab", "tools/ci_example", "tfq_ext/demo")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def check_links(root: Path) -> list[str]:
    """A sentence for every link that leads nowhere."""
    return [
        f"{path.relative_to(root)}: {target} {why}"
        for path in documents(root)
        for target in links(text_of(path))
        if (why := fault(path, target))
    ]


def documents(root: Path) -> list[Path]:
    """Markdown files and notebooks that people read."""
    deep = {"docs"}
    found: set[Path] = set()
    for folder in FOLDERS:
        for pattern in ("*.md", "*.ipynb"):
            here = root / folder
            found.update(here.rglob(pattern) if folder in deep else here.glob(pattern))
    return sorted(p for p in found if not p.parent.is_symlink())


def text_of(path: Path) -> str:
    """The prose: of a notebook its Markdown cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def links(text: str) -> Iterator[str]:
    """Targets outside of code."""
    return iter(_LINK.findall(_CODE.sub("", _FENCE.sub("", text))))


def anchors(text: str) -> set[str]:
    """The headings of a document as anchors: lower case, no punctuation, blanks as hyphens."""
    made: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug, k = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"), 0
        while (name := f"{slug}-{k}" if k else slug) in made:
            k += 1
        made.add(name)
    return made


def fault(path: Path, target: str) -> str:
    """What is wrong with one link; "" if nothing is."""
    if re.match(r"[a-z]+:", target):
        return ""
    name, _, anchor = target.partition("#")
    there = path.parent / name if name else path
    if not there.exists():
        return "is not there"
    if anchor and anchor not in anchors(text_of(there)):
        return f"has no heading #{anchor}"
    return ""

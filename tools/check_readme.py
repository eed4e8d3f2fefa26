"""Run the code blocks of the documents, in order, each document in a folder of its own.

The README and the guide's first page begin in an empty folder; the guide's other pages begin with
what that first page left, as they say. The word after a block's language says what happens to it:
```` ```bash run ```` always runs, ```` ```python slow ```` only with --slow,
```` ```bash show ```` never (it would install things or needs files that only the reader has). A
bash or python block without such a word is a fault, so that nothing stays unchecked by accident.

    python tools/check.py readme [--slow]
    python tools/check_readme.py docs/guide/repair.md       one page, slow blocks too
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FIRST = Path("docs", "guide", "first_file.md")
WAYS = ("run", "slow", "show")
SECONDS = 600  # for one block; the longest is `tfq demo`, under two minutes on free cores
_FENCE = re.compile(r"^```(\w*)[ ]*(.*?)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Args:
        line: of its opening fence, from 1.
        language: "bash" or "python".
        way: one of WAYS, or whatever else stands there.
        text: the code.
    """

    line: int
    language: str
    way: str
    text: str


def blocks(markdown: str) -> list[Block]:
    """The bash and python blocks of a document."""
    return [
        Block(markdown.count("\n", 0, m.start()) + 1, m[1], m[2].strip(), m[3])
        for m in _FENCE.finditer(markdown)
        if m[1] in ("bash", "python")
    ]


def documents(root: Path) -> list[Path]:
    """Every page with blocks: the README, then the guide, its first page first."""
    first = root / FIRST
    pages = [p for p in sorted((root / "docs").rglob("*.md")) if p != first]
    return [root / "README.md", first, *(p for p in pages if blocks(p.read_text("utf-8")))]


def check_documents(
    root: Path, *, slow: bool = False, only: Sequence[Path] | None = None
) -> list[str]:
    """The same for all documents (`only`: these, with what they begin from)."""
    found = []
    with tempfile.TemporaryDirectory(prefix="tfq_documents_") as folder:
        start, empty = Path(folder, "first"), Path(folder, "empty")
        for path in documents(root):
            first = path == root / FIRST
            if only is not None and path not in only and not first:
                continue  # the first page is what the others begin from
            here = start if first else Path(folder, path.stem)
            shutil.copytree(start if start.is_dir() and not first else _made(empty), here)
            found += check_readme(path, slow=slow, folder=here)
    return found


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def check_readme(path: Path, *, slow: bool = False, folder: Path | None = None) -> list[str]:
    """A sentence for every block that is unmarked or fails.

    Args:
        path: the document.
        slow: run the blocks marked slow too.
        folder: where; None: an empty one.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="tfq_readme_") as made:
            return check_readme(path, slow=slow, folder=Path(made))
    found = []
    for block in blocks(path.read_text(encoding="utf-8")):
        where = f"{path.name}:{block.line}"
        if block.way not in WAYS:
            found.append(f"{where}: say one of {', '.join(WAYS)} after {block.language}")
        elif block.way == "run" or (slow and block.way == "slow"):
            start = time.monotonic()
            if said := _run(block, folder):
                found.append(f"{where}: {said}")
            print(f"  {where} {block.language} {time.monotonic() - start:.1f} s", flush=True)
    return found


def _run(block: Block, folder: Path) -> str:
    """Run one block; "" when it went well, else what it said."""
    here = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # `tfq`, `python`
    try:
        done = subprocess.run(
            [*here[block.language], block.text],
            cwd=folder,
            env={**os.environ, "PATH": tools},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"took longer than {SECONDS} s"
    if done.returncode == 0:
        return ""
    return f"exit code {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"


if __name__ == "__main__":
    ROOT = Path(__file__).resolve().parent.parent
    ASKED = [Path(word).resolve() for word in sys.argv[1:]]
    FAULTS = check_documents(ROOT, slow=True, only=ASKED or None)
    print("\n".join(FAULTS))
    sys.exit(bool(FAULTS))

"""Run the README's code blocks, in order, in a folder of their own.

The word after a block's language says what happens to it: ```` ```bash run ```` always runs,
```` ```python slow ```` only with --slow, ```` ```bash show ```` never (it would install things or
needs files that only the reader has). A bash or python block without such a word is a fault, so
that nothing stays unchecked by accident. Run by `python tools/check.py readme [--slow]`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

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


def check_readme(path: Path, *, slow: bool = False) -> list[str]:
    """A sentence for every block that is unmarked or fails.

    Args:
        path: the document.
        slow: run the blocks marked slow too.
    """
    found = []
    every = blocks(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="tfq_readme_") as folder:
        for block in every:
            where = f"{path.name}:{block.line}"
            if block.way not in WAYS:
                found.append(f"{where}: say one of {', '.join(WAYS)} after {block.language}")
            elif block.way == "run" or (slow and block.way == "slow"):
                start = time.monotonic()
                if said := _run(block, Path(folder)):
                    found.append(f"{where}: {said}")
                print(f"  {where} {block.language} {time.monotonic() - start:.1f} s")
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

"""Everything that must hold before a change is handed over, in one command.

    python tools/check.py                    all steps
    python tools/check.py layers sizes       some of them
    python tools/check.py readme --slow      with the documents' slow blocks
    python tools/check.py notebooks --slow   every notebook is run
    python tools/check.py tests --slow       with the slow tests

Exit code 0: every step passed. Run it from the environment that `pip install -e ".[test]"` made.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import sys
import time
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from check_layers import check_layers
from check_links import check_links
from check_readme import check_documents

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES = 400
FUNCTION_LINES = 30  # of code: docstring, comments and blank lines do not count
FOLDERS = ("tfq_ext", "tests", "tools")

_LAYOUT = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)


def check_sizes(root: Path) -> list[str]:
    """A sentence for every file and function that has outgrown its room."""
    found = []
    for path in sorted(p for folder in FOLDERS for p in (root / folder).rglob("*.py")):
        source, where = path.read_text(encoding="utf-8"), path.relative_to(root)
        if (lines := source.count("\n")) > FILE_LINES:
            found.append(f"{where}: {lines} lines, at most {FILE_LINES}")
        for name, line, length in long_functions(source):
            found.append(f"{where}:{line}: {name} has {length} lines, at most {FUNCTION_LINES}")
    return found


def long_functions(source: str) -> Iterator[tuple[str, int, int]]:
    """(name, line, lines of code) of the functions whose body is too long."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            first = body[0].lineno if body else node.end_lineno or 0
            length = len(code & set(range(first, (node.end_lineno or 0) + 1)))
            if body and length > FUNCTION_LINES:
                yield node.name, node.lineno, length


def tool(*words: str) -> list[str]:
    """Run a Python tool in the root, its words on the terminal."""
    command = [sys.executable, "-m", *words]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    return [f"{' '.join(words)}: exit code {code}"] if code else []


def notebooks(slow: bool) -> list[str]:
    """What is wrong with the notebooks as stored, or with a run of each."""
    if slow:
        command = [sys.executable, "tools/notebooks.py", "run", "--jobs", "2"]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        return ["a notebook failed"] if code else []
    from notebooks import FOLDER, faults

    return [said for path in sorted(FOLDER.glob("*.ipynb")) for said in faults(path)]


@dataclass(frozen=True)
class Step:
    """One check.

    Args:
        run: with --slow given or not, to sentences about what is wrong.
        doc: one line.
    """

    run: Callable[[bool], list[str]]
    doc: str


STEPS: dict[str, Step] = {
    "format": Step(lambda slow: tool("ruff", "format", "--check", "."), "ruff format"),
    "lint": Step(lambda slow: tool("ruff", "check", "."), "ruff check"),
    "types": Step(lambda slow: tool("mypy"), "mypy over the package and the tools"),
    "layers": Step(lambda slow: check_layers(ROOT), "imports point down only"),
    "sizes": Step(lambda slow: check_sizes(ROOT), "small files, small functions"),
    "links": Step(lambda slow: check_links(ROOT), "links inside the repository lead somewhere"),
    "readme": Step(
        lambda slow: check_documents(ROOT, slow=slow), "the blocks of README and guide run"
    ),
    "docs": Step(
        lambda slow: tool("mkdocs", "build", "--quiet", "--strict"),
        'the site builds without a warning; needs pip install -e ".[docs]"',
    ),
    "notebooks": Step(lambda slow: notebooks(slow), "stored as they should be; --slow runs them"),
    "tests": Step(
        lambda slow: tool("pytest", *([] if slow else ["-m", "not slow"])), "the quick tests"
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the steps asked for; 0 when all passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = "; ".join(f"{name}: {step.doc}" for name, step in STEPS.items())
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"{known} (default: all)")
    parser.add_argument("--slow", action="store_true", help="slow README blocks and tests too")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.steps if name not in STEPS]:
        parser.error(f"no step {', '.join(unknown)}; known: {', '.join(STEPS)}")
    failed = []
    for name in given.steps or STEPS:
        start = time.monotonic()
        found = STEPS[name].run(given.slow)
        print("\n".join(found), end="\n" if found else "")
        print(
            f"{'FAILED' if found else 'ok':6} {name} {time.monotonic() - start:.1f} s", flush=True
        )
        failed += [name] if found else []
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

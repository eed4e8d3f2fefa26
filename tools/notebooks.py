"""Run the notebooks of `colab/`, store what they print, keep their first cells alike.

    python tools/notebooks.py run               every one, in an empty folder; 1 if a cell fails
    python tools/notebooks.py run 02 07         some of them
    python tools/notebooks.py write             run, and store the outputs in the files
    python tools/notebooks.py head              write the first cells: badge and install

The address that Colab installs from is one setting: `[tool.tfq] repository` in `pyproject.toml`;
`head` carries it into every notebook. Needs `pip install -e ".[test]"`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "colab"
SECONDS = 600  # for one cell
KILOBYTES = 200  # of one notebook, outputs included
KEEP = ("tags",)  # of a cell's metadata; the rest are times and tools
_COLORS = re.compile(r"\x1b\[[\d;]*m")
_PRIVATE = re.compile(r"/(?:tmp|home|root|opt|mnt)/\S*")

BADGE = (
    "[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{repository}/blob/main/colab/{name})"
)
INSTALL = """\
# Colab installs the package here; where it is installed already, nothing happens.
import importlib.util

if importlib.util.find_spec("tfq_ext") is None:
    %pip install -q "tfq_ext[all] @ git+https://github.com/{repository}\""""


def repository() -> str:
    """`OWNER/NAME`, from pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return settings["tool"]["tfq"]["repository"]


def paths(names: list[str]) -> list[Path]:
    """The notebooks whose name begins with one of these; all of them without."""
    every = sorted(FOLDER.glob("*.ipynb"))
    chosen = [p for p in every if not names or any(p.name.startswith(n) for n in names)]
    if not chosen:
        known = ", ".join(p.stem for p in every)
        raise SystemExit(f"no notebook {' or '.join(names)}; known: {known}")
    return chosen


def read(path: Path) -> Any:
    """The notebook, in the format's fourth version."""
    import nbformat

    return nbformat.read(path, as_version=4)


def headed(notebook: Any, name: str) -> Any:
    """The notebook with its first cells as they must be, in front of its own."""
    from nbformat.v4 import new_code_cell, new_markdown_cell

    own = [c for c in notebook.cells if not {"badge", "install"} & set(c.metadata.get("tags", ()))]
    badge = new_markdown_cell(BADGE.format(repository=repository(), name=name), id="badge")
    install = new_code_cell(INSTALL.format(repository=repository()), id="install")
    badge.metadata["tags"], install.metadata["tags"] = ["badge"], ["install"]
    notebook.cells = [own[0], badge, install, *own[1:]]
    return notebook


def executed(notebook: Any) -> Any:
    """The notebook after its cells ran, in an empty folder, `tfq` and `python` being ours."""
    from nbclient import NotebookClient

    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(prefix="tfq_notebook_") as folder:
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
        )
        client.execute(env={**os.environ, "PATH": tools})
    return notebook


def tidy(notebook: Any) -> Any:
    """Without what differs from run to run; stderr goes too, for it is TensorFlow's."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    count = 0
    for cell in notebook.cells:
        cell.metadata = {key: cell.metadata[key] for key in KEEP if key in cell.metadata}
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            for output in cell.outputs:
                output.pop("execution_count", None)
                if output.output_type == "execute_result":
                    output["execution_count"] = count
    return notebook


def faults(path: Path) -> list[str]:
    """A sentence for everything that a stored notebook must not have."""
    notebook = read(path)
    found = []
    if (kilobytes := path.stat().st_size / 1000) > KILOBYTES:
        found.append(f"{kilobytes:.0f} kB, at most {KILOBYTES}")
    if [c.source for c in headed(read(path), path.name).cells] != [
        c.source for c in notebook.cells
    ]:
        found.append("the first cells are not those of `python tools/notebooks.py head`")
    code = [c for c in notebook.cells if c.cell_type == "code"]
    if not any(c.outputs for c in code):
        found.append("no outputs: run `python tools/notebooks.py write`")
    if not any(re.search(r"^\s*assert ", c.source, re.MULTILINE) for c in code):
        found.append("asserts nothing")
    for number, cell in enumerate(code, start=1):
        found += [f"code cell {number}: {said}" for said in _cell_faults(cell)]
    return [f"{path.name}: {said}" for said in found]


def _cell_faults(cell: Any) -> list[str]:
    found = []
    for output in cell.outputs:
        text = str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
        if output.output_type == "error":
            found.append(f"stored an error: {output.ename}")
        if output.get("name") == "stderr":
            found.append(f"stored something from stderr: {output.text[:80]!r}")
        if private := _PRIVATE.search(text):
            found.append(f"shows a path of the machine that ran it: {private[0]}")
    return found


def run(path: Path, write: bool) -> str:
    """Execute one notebook; "" when it went well, else which cell failed and how."""
    import nbformat
    from nbclient.exceptions import CellExecutionError

    start = time.monotonic()
    try:
        notebook = executed(headed(read(path), path.name))
    except CellExecutionError as error:
        return f"{path.name}: {_COLORS.sub('', str(error))}"
    if write:
        nbformat.write(tidy(notebook), path)
    print(f"  {path.name} {time.monotonic() - start:.0f} s", flush=True)
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Do what is asked for; 0 when nothing failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("run", "write", "head"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="how file names begin")
    parser.add_argument("--jobs", type=int, default=1, help="so many at a time (default: 1)")
    given = parser.parse_args(arguments)
    chosen = paths(given.names)
    if given.action == "head":
        import nbformat

        for path in chosen:
            nbformat.write(tidy(headed(read(path), path.name)), path)
        return 0
    with ProcessPoolExecutor(given.jobs) as pool:
        said = [*pool.map(run, chosen, [given.action == "write"] * len(chosen))]
    found = [text for text in said if text] or [s for p in chosen for s in faults(p)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())

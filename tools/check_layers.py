"""Which module may import which: DESIGN.md section 3 as two tables, read against the code by ast.

Run by `python tools/check.py layers`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# From top to bottom. Imports point down only, and those in one row never import each other.
# "tfq_ext" is the package's own __init__ (public names, loaded lazily); a dotted entry is a part
# that lies elsewhere than its parent: audit and search emit and measure files, so they use
# quantize()'s steps, and what prints their findings lies above them.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("tfq_ext",),
    ("converter", "testing"),
    ("report.audit_text", "report.search_text"),
    ("repair.audit", "search"),
    ("qat",),
    ("several",),
    ("pipeline",),
    ("report",),
    ("result",),
    ("scale",),
    ("validation",),
    ("repair",),
    ("emit",),
    ("rewrite",),
    ("calibrate", "rounding", "tflite"),
    ("numerics", "recipe"),
    ("samples", "demo"),
    ("spec",),
    ("_table", "_optional", "_files", "_terminal"),
    ("errors",),
)

# (who, whom) -> why. Such an import must stand inside a function, so that no import cycle arises.
LATE: dict[tuple[str, str], str] = {
    ("result", "report"): "printing a Result asks report for its text",
    ("repair.audit", "report.audit_text"): "printing an Audit does the same",
    ("pipeline", "search"): "a recipe with budgets has its widths chosen first, on finished files",
    ("search", "report.search_text"): "printing and drawing a Sensitivity or Found does the same",
    ("validation", "report"): "printing a check's report does the same",
}

# package -> units, or dotted parts of units, that may name it; () means all of them.
FOREIGN: dict[str, tuple[str, ...]] = {
    "numpy": (),
    "ai_edge_litert": ("tflite", "validation", "emit"),  # emit: the flatbuffer schema
    "flatbuffers": ("tflite", "converter"),  # converter: the metadata's own schema
    "numba": ("numerics", "samples"),  # samples: the checksum of TFRecord files
    "scipy": ("numerics", "calibrate", "search"),
    "pydantic": ("recipe",),
    "PIL": ("samples",),
    "click": ("cli",),
    "rich": ("cli", "report", "samples"),  # samples: the progress bar
    "tensorflow": ("rewrite", "qat", "emit", "converter", "repair.audit", "repair.distill"),
    "keras": ("rewrite", "qat", "emit", "converter"),
    "tf_keras": ("qat", "emit"),
    "tensorflow_model_optimization": ("qat",),
    "h5py": ("emit",),  # comes with Keras
    "google": ("emit",),  # protobuf, comes with TensorFlow
    "ray": ("scale",),
    "matplotlib": ("report",),
    "jinja2": ("report",),
    "markupsafe": ("report",),  # comes with jinja2
}
# Absent or slow to load: reached through _optional.need only, never by an import statement.
OPTIONAL = frozenset(
    {"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization"}
    | {"h5py", "google", "ray", "matplotlib", "jinja2", "markupsafe"}
)
ROOT = "tfq_ext"


@dataclass(frozen=True)
class Import:
    """One import of one module.

    Args:
        line: where.
        target: dotted name.
        late: inside a function or under TYPE_CHECKING, so not at import time.
        typing: under TYPE_CHECKING.
        needed: by `_optional.need("...")` or import_module, not by a statement.
    """

    line: int
    target: str
    late: bool = False
    typing: bool = False
    needed: bool = False


def imports(tree: ast.AST, late: bool = False, typing: bool = False) -> Iterator[Import]:
    """Every import below a node, with where it stands."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, late, typing)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for alias in node.names:
                yield Import(node.lineno, f"{module}.{alias.name}", late, typing)
        elif isinstance(node, ast.Call) and (name := _needed(node)):
            yield Import(node.lineno, name, late, typing, needed=True)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        guarded = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        yield from imports(node, late or function or guarded, typing or guarded)


def _needed(call: ast.Call) -> str:
    """The module that `need("name")` or `import_module("name")` asks for; "" for other calls."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    first = call.args[0] if call.args else None
    if name not in ("need", "import_module") or not isinstance(first, ast.Constant):
        return ""
    return str(first.value)


def unit_of(module: str, units: frozenset[str]) -> str:
    """The row entry that a dotted name inside the package belongs to; the longest that fits."""
    parts = module.split(".")[1:]
    names = (".".join(parts[:k]) for k in range(len(parts), 0, -1))
    return next((name for name in names if name in units), ROOT)


def module_name(path: Path, root: Path) -> str:
    """ "tfq_ext.emit.plan" for root/tfq_ext/emit/plan.py."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def check_layers(root: Path) -> list[str]:
    """A sentence for every import that the tables forbid.

    Args:
        root: the folder that holds tfq_ext/.
    """
    package = root / ROOT
    rank = {name: k for k, row in enumerate(LAYERS) for name in row}
    code = {p.parent.name for p in package.glob("*/__init__.py")}
    code |= {p.stem for p in package.glob("*.py")} - {"__init__"}
    units = frozenset(code | rank.keys())
    found = [f"tfq_ext/{name}: in no row of LAYERS" for name in sorted(code - rank.keys())]
    for path in sorted(package.rglob("*.py")):
        module = module_name(path, root)
        for row in imports(ast.parse(path.read_text(encoding="utf-8"))):
            if reason := _verdict(module, row, rank, units):
                found.append(f"{path.relative_to(root)}:{row.line}: {reason}")
    return found


def _verdict(module: str, row: Import, rank: dict[str, int], units: frozenset[str]) -> str:
    """Why this import is wrong; "" when it is right."""
    head = row.target.partition(".")[0]
    if head == ROOT:
        return _inside(unit_of(module, units), unit_of(row.target, units), row, rank)
    if head == "":
        return "a relative import; write tfq_ext...."
    if head in sys.stdlib_module_names:
        return ""
    if head not in FOREIGN:
        return f"imports {head}, which FOREIGN does not list"
    if FOREIGN[head] and not any(f"{module}.".startswith(f"{ROOT}.{u}.") for u in FOREIGN[head]):
        return f"names {head}, which only {', '.join(FOREIGN[head])} may"
    if head in OPTIONAL and not (row.needed or row.typing):
        return f"imports {head} by a statement; use _optional.need"
    return ""


def _inside(mine: str, theirs: str, row: Import, rank: dict[str, int]) -> str:
    if mine == theirs or (mine == ROOT and row.late):  # the facade's names load lazily
        return ""
    if mine not in rank or theirs not in rank:
        return f"{mine} or {theirs} is in no row of LAYERS"
    if (mine, theirs) in LATE:
        return "" if row.late else f"{mine} imports {theirs}: only inside a function"
    if rank[mine] == rank[theirs]:
        return f"{mine} imports its sibling {theirs}"
    if rank[mine] > rank[theirs]:
        return f"{mine} imports {theirs}, which lies above it"
    return ""

"""The house is in order: light imports, one version, documents that tell what there is."""

import json
import re
import string
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from check import ROOT, STEPS, check_sizes, long_functions
from check_layers import FOREIGN, LAYERS, check_layers
from check_links import anchors, check_links
from check_readme import blocks, check_documents, check_readme, documents
from test_oldest import lower_bound, pins

import tfq_ext
from tfq_ext._optional import SUPPORTED_TENSORFLOW
from tfq_ext.calibrate.choosers import CHOOSER_NAMES
from tfq_ext.cli import VERBS
from tfq_ext.cli import main as tfq
from tfq_ext.recipe.presets import PRESETS
from tfq_ext.rounding.table import ROUNDERS

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
GUIDE = {p.stem: p.read_text(encoding="utf-8") for p in (ROOT / "docs" / "guide").glob("*.md")}
REFERENCE = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
MODULES = ("qat", "rewrite")
LETTERS = string.ascii_letters
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEAVY = ("tensorflow", "keras", "ai_edge_litert", "numba")


def loaded_by(statement):
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement", ["import tfq_ext; dir(tfq_ext)", "import tfq_ext.cli; tfq_ext.cli.VERBS"]
)
def test_importing_loads_nothing_heavy(statement):
    assert loaded_by(statement).isdisjoint({*HEAVY, "numpy"})


def test_help_loads_nothing_heavy():
    statement = "import tfq_ext.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass"
    assert loaded_by(statement).isdisjoint(HEAVY)


@pytest.mark.parametrize("name", tfq_ext.__all__)
def test_every_public_name_is_there(name):
    assert getattr(tfq_ext, name) is not None


def test_there_is_one_version():
    assert tfq_ext.__version__ == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_docs_extra_brings_what_the_site_names():
    """`mkdocs build` stops where an extension or plugin is not installed."""
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"^ *- (mkdocs[a-z-]*)", site, re.MULTILINE))
    brought = {re.split(r"[\[>=<]", row)[0] for row in PROJECT["optional-dependencies"]["docs"]}
    assert {"mkdocs-click", "mkdocs-jupyter", "mkdocstrings"} <= named
    assert named <= brought


def test_there_is_one_range_of_tensorflow():
    low, high = SUPPORTED_TENSORFLOW.split(" to ")
    major, minor = map(int, high.split("."))
    row = next(r for r in PROJECT["optional-dependencies"]["tensorflow"])
    assert row == f"tensorflow>={low},<{major}.{minor + 1}"
    assert f"TensorFlow {SUPPORTED_TENSORFLOW}" in README
    assert lower_bound("tensorflow", "tensorflow") == low
    assert pins("2.18.1") == ["tensorflow==2.18.1", "tf_keras==2.18.*"]
    with pytest.raises(LookupError, match="no lower bound for nothing"):
        lower_bound("nothing", "tensorflow")


def commands():
    """The README's two lines: install and show, install and test."""
    found = [b.text.strip() for b in blocks(README) if b.text.startswith("pip install")]
    assert len(found) == 2
    return found


def test_ci_runs_what_the_readme_says():
    for command in commands():
        assert f"step '{command}'" in CI


def test_ci_is_a_valid_script():
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=True)
    assert "set -euo pipefail" in CI


@pytest.mark.parametrize("name", VERBS)
def test_the_readme_names_every_verb(name):
    assert f"tfq {name}" in README


@pytest.mark.parametrize("name", PRESETS)
def test_the_guide_names_every_recipe(name):
    assert f"| `{name}` |" in GUIDE["recipes"]


@pytest.mark.parametrize("name", CHOOSER_NAMES)
def test_the_guide_names_every_calibrator(name):
    assert re.search(rf"^\| `{name}(:\w+)?` \|", GUIDE["calibrators"], re.MULTILINE)


@pytest.mark.parametrize("name", ROUNDERS)
def test_the_guide_names_every_rounder(name):
    assert f"`{name}`" in GUIDE["repair"]


@pytest.mark.parametrize("name", [n for n in tfq_ext.__all__ if n not in ("__version__", *MODULES)])
def test_the_reference_names_everything_public(name):
    assert re.search(rf"^::: tfq_ext\.(?:[\w.]+\.)?{name}$", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize(
    "name", [f"{m}.{n}" for m in MODULES for n in dir(getattr(tfq_ext, m)) if n[0] in LETTERS]
)
def test_the_reference_names_what_training_and_rewriting_offer(name):
    module, _, name = name.partition(".")
    if callable(getattr(getattr(tfq_ext, module), name)):
        assert re.search(rf"^::: tfq_ext\.{module}\.[\w.]*{name}$", REFERENCE, re.MULTILINE)


def test_the_site_has_every_page():
    """mkdocs --strict says so too, where it is installed."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    pages |= {f"notebooks/{p.name}" for p in (ROOT / "colab").glob("*.ipynb")}
    assert set(re.findall(r": ([\w/]+\.(?:md|ipynb))$", nav, re.MULTILINE)) == pages


def tfq_lines():
    """Every `tfq VERB ...` of the documents, inline or in a block."""
    text = "".join([README, CONTRIBUTING, *GUIDE.values()])
    inline = re.findall(r"`(tfq [a-z]+[^`]*)`", text)
    return sorted({*inline, *re.findall(r"^(tfq [a-z]+.*)$", text, re.MULTILINE)})


@pytest.mark.parametrize("line", tfq_lines())
def test_the_options_in_the_documents_exist(line):
    """Parses without running: click raises on an unknown verb, option or choice."""
    _, verb, *words = line.split()
    assert verb in VERBS
    command = tfq.get_command(click.Context(tfq), verb)
    if words and "--help" not in words:
        command.make_context(verb, words)


def test_the_tree_in_contributing_is_the_tree():
    tree = CONTRIBUTING.split("## The tree")[1].split("```")[1]
    named = set(re.findall(r"^  (\w+)(?:/|\.py) ", tree, re.MULTILINE))
    package = ROOT / "tfq_ext"
    there = {p.stem for p in package.glob("*.py")} | {p.parent.name for p in package.glob("*/*.py")}
    assert named == there


def test_the_layers_in_contributing_are_those_checked():
    rows = CONTRIBUTING.split("## Layers")[1].split("```")[1].split("\n")[1:-1]
    written = [tuple(re.sub(r"\(.*", "", row).strip().split(" | ")) for row in rows]
    assert written == [*LAYERS]


@pytest.mark.parametrize("step", ["layers", "sizes"])
def test_the_code_passes(step):
    assert STEPS[step].run(False) == []


@pytest.mark.slow
@pytest.mark.parametrize("step", ["format", "lint", "types"])
def test_the_code_passes_the_tools(step):
    assert STEPS[step].run(False) == []


@pytest.mark.slow
@pytest.mark.tf
def test_the_documents_run():
    """CI runs them by `tools/check.py readme --slow` before the slow tests."""
    assert check_documents(ROOT, slow=True) == []


def test_every_block_says_whether_it_runs():
    marked = {b.way for path in documents(ROOT) for b in blocks(path.read_text("utf-8"))}
    assert marked == {"run", "slow", "show"}


def test_links_inside_the_repository_lead_somewhere():
    assert check_links(ROOT) == []


def test_a_dead_link_is_found(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.md").write_text("# One `two`, three\n# Twice\n# Twice\n```\n# no\n```")
    (tmp_path / "a.md").write_text(
        "[x](docs/b.md#one-two-three) [y](docs/b.md#no) [z](c.md) `[w](d.md)` [v](https://e.f)"
    )
    assert check_links(tmp_path) == [
        "a.md: docs/b.md#no has no heading #no",
        "a.md: c.md is not there",
    ]
    assert anchors((tmp_path / "docs" / "b.md").read_text()) == {
        "one-two-three",
        "twice",
        "twice-1",
    }


def test_the_wheel_holds_what_the_package_needs():
    """By pyproject's patterns: they pick every file that is not code, and nothing big."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["tfq_ext"]
    package = ROOT / "tfq_ext"
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    other = {p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert packed == {p for p in other if p.suffix != ".py"}
    assert sum(path.stat().st_size for path in packed) < 3_000_000


def written(folder: Path, files):
    for name, text in files.items():
        path = folder / "tfq_ext" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


BROKEN = {
    "imports pipeline, which lies above": ("emit/a.py", "from tfq_ext.pipeline import quantize"),
    "imports its sibling": ("rounding/a.py", "def f():\n    from tfq_ext.calibrate import b"),
    "only inside a function": ("result.py", "from tfq_ext.report import text"),
    "use _optional.need": ("emit/a.py", "import tensorflow"),
    "names keras, which only": ("tflite/a.py", "need('keras.layers', why='x')"),
    "imports pandas, which FOREIGN does not": ("numerics/a.py", "import pandas"),
    "in no row of LAYERS": ("misc.py", "import numpy"),
    "a relative import": ("emit/a.py", "from . import b"),
}
FINE = {
    "emit/a.py": "from tfq_ext.tflite.read import Model\ntf = need('tensorflow', why='x')",
    "result.py": "def f():\n    from tfq_ext.report import text",
    "repair/audit/a.py": "from tfq_ext.pipeline import quantize\nimport numpy, json",
    "converter/a.py": "if TYPE_CHECKING:\n    import tensorflow",
    "__init__.py": "if TYPE_CHECKING:\n    from tfq_ext.pipeline import quantize",
}
SKELETON = {f"{name}/__init__.py": "" for name in ("emit", "tflite", "report", "calibrate")}


@pytest.mark.parametrize("said", BROKEN)
def test_a_forbidden_import_is_found(tmp_path, said):
    name, text = BROKEN[said]
    extra = {"pipeline.py": "", f"{name.split('/')[0]}/__init__.py": ""} if "/" in name else {}
    found = check_layers(written(tmp_path, SKELETON | extra | {name: text}))
    assert len(found) >= 1
    assert all(said in row or "in no row" in row for row in found)


def test_allowed_imports_pass(tmp_path):
    folder = written(tmp_path, SKELETON | FINE | {"pipeline.py": "", "repair/__init__.py": ""})
    assert check_layers(folder) == []


def test_every_dependency_is_in_the_table():
    modules = {"ai-edge-litert": "ai_edge_litert", "pillow": "PIL"}
    names = [re.split(r"[><=]", row)[0] for row in PROJECT["dependencies"]]
    assert {modules.get(name, name) for name in names} <= FOREIGN.keys()


def test_an_outgrown_file_and_function_are_found(tmp_path):
    for folder in ("tests", "tools"):
        (tmp_path / folder).mkdir()
    body = "    x = 1\n"
    doc = '    """Doc.\n' + "    .\n" * 40 + '    """\n'
    text = f"def short():\n{doc}{body * 30}\n\ndef f():\n{body * 31}"
    assert [(n, k) for n, _, k in long_functions(text)] == [("f", 31)]
    folder = written(tmp_path, {"a.py": text + "# .\n" * 330})
    assert [row.split(": ", 1)[1] for row in check_sizes(folder)] == [
        f"{text.count(chr(10)) + 330} lines, at most 400",
        "f has 31 lines, at most 30",
    ]


README_BLOCKS = """
```bash run
echo hello > file
```
```python slow
assert open("file").read() == "bye"
```
```python run
assert open("file").read() == "hello\\n"
```
```bash show
false
```
"""


def test_readme_blocks_share_a_folder_and_failures_are_told(tmp_path):
    path = tmp_path / "R.md"
    path.write_text(README_BLOCKS)
    assert check_readme(path) == []
    (found,) = check_readme(path, slow=True)
    assert found.startswith("R.md:5: exit code 1")
    assert "AssertionError" in found


def test_pages_of_the_guide_begin_where_the_first_page_ended(tmp_path):
    guide = tmp_path / "docs" / "guide"
    guide.mkdir(parents=True)
    (tmp_path / "README.md").write_text("```bash run\ntest ! -e made\n```\n")
    (guide / "first_file.md").write_text("```bash run\ntest ! -e made; echo 1 > made\n```\n")
    (guide / "a.md").write_text("```bash run\ntest -e made; echo 2 > more\n```\n")
    (guide / "b.md").write_text("```bash run\ntest -e made; test ! -e more\n```\n")
    (guide / "c.md").write_text("no block\n")
    names = [path.stem for path in documents(tmp_path)]
    assert names == ["README", "first_file", "a", "b"]
    assert check_documents(tmp_path) == []
    assert check_documents(tmp_path, only=[guide / "b.md"]) == []
    (guide / "b.md").write_text("```bash run\nfalse\n```\n")
    (found,) = check_documents(tmp_path)
    assert found.startswith("b.md:1: exit code 1")


def test_an_unmarked_block_is_a_fault(tmp_path):
    path = tmp_path / "R.md"
    path.write_text("text\n```bash\necho\n```\n")
    assert check_readme(path) == ["R.md:2: say one of run, slow, show after bash"]

"""Notebooks as stored: alike at the head, small, without errors; and the tool that sees to it."""

import json

import nbformat
import notebooks as tool
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

EVERY = sorted(tool.FOLDER.glob("*.ipynb"))


def stored(folder, *cells, name="09_x.ipynb"):
    notebook = new_notebook(cells=[new_markdown_cell("# 09: X"), *cells])
    path = folder / name
    nbformat.write(tool.headed(notebook, name), path)
    return path


@pytest.mark.parametrize("path", EVERY, ids=[p.stem for p in EVERY])
def test_stored_as_they_should_be(path):
    assert tool.faults(path) == []


@pytest.mark.parametrize("path", EVERY, ids=[p.stem for p in EVERY])
def test_tidy_once_is_tidy(path):
    notebook = tool.read(path)
    before = json.dumps(notebook, sort_keys=True)
    assert json.dumps(tool.tidy(notebook), sort_keys=True) == before


def test_the_head_is_written_once_and_has_the_address(tmp_path):
    path = stored(tmp_path, new_code_cell("assert True"))
    again = tool.headed(tool.read(path), path.name)
    assert [c.source for c in again.cells] == [c.source for c in tool.read(path).cells]
    title, badge, install, own = again.cells
    assert title.source == "# 09: X"
    assert f"{tool.repository()}/blob/main/colab/09_x.ipynb" in badge.source
    assert tool.repository() in install.source
    assert own.source == "assert True"


def test_a_run_stores_outputs_and_drops_stderr(tmp_path):
    code = "import sys\nprint('out')\nprint('noise', file=sys.stderr)\nassert True\n1 + 1"
    path = stored(tmp_path, new_code_cell(code))
    assert tool.run(path, True) == ""
    cell = tool.read(path).cells[-1]
    assert [o.get("text", o.get("data", {}).get("text/plain")) for o in cell.outputs] == [
        "out\n",
        "2",
    ]
    assert tool.faults(path) == []


def test_a_failing_cell_is_told_and_nothing_is_stored(tmp_path):
    path = stored(tmp_path, new_code_cell("assert 1 == 2, 'not so'"))
    before = path.read_bytes()
    said = tool.run(path, True)
    assert said.startswith("09_x.ipynb: ")
    assert "not so" in said
    assert "\x1b" not in said
    assert path.read_bytes() == before


def output(**fields):
    return new_code_cell("assert True", outputs=[nbformat.v4.new_output(**fields)])


FAULTS = {
    "from stderr": output(output_type="stream", name="stderr", text="W"),
    "an error": output(output_type="error", ename="E", evalue="", traceback=[]),
    "a path of the machine": output(output_type="stream", name="stdout", text="in /tmp/abc"),
    "asserts nothing": new_code_cell(
        "1", outputs=[nbformat.v4.new_output("stream", name="stdout", text="x")]
    ),
    "no outputs": new_code_cell("assert True"),
    "at most 200": output(output_type="stream", name="stdout", text="x" * 201_000),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_fault_is_found(tmp_path, said):
    found = tool.faults(stored(tmp_path, FAULTS[said]))
    assert any(said in row for row in found)


def test_another_head_is_a_fault(tmp_path):
    path = stored(tmp_path, output(output_type="stream", name="stdout", text="x"))
    path.write_text(path.read_text().replace(tool.repository(), "SOMEBODY/else"))
    assert any("first cells" in row for row in tool.faults(path))


def test_unknown_names_are_told():
    with pytest.raises(SystemExit, match="known: 01_"):
        tool.paths(["99"])

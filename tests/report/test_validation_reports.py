"""Every form of the report, of a real validation of a file with hostile names."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from small_nets import images, residual

import tfq_ext as tfq
from tfq_ext.tflite.read import Model

HOSTILE = '</td></table><script>alert("x")</script>|`@all` [a](b) \x1b[31m \u202egnp.exe ${x} $y$'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def renamed(content: bytes) -> bytes:
    """Every tensor's name made hostile."""
    model = Model.parse(content)
    for graph in model.graphs:
        for k, tensor in enumerate(graph.tensors):
            tensor.name = f"{HOSTILE}{k}".encode()
    return model.to_bytes()


@pytest.fixture(scope="module")
def pair():
    """(float, int8), both with hostile names."""
    model = residual()
    x = images(24)
    result = tfq.quantize(
        model.to_bytes(), x, recipe={"base": "int8-per-tensor", "calibrator": "minmax"},
        show_progress=False,
    )  # fmt: skip
    return renamed(model.to_bytes()), renamed(result.content)


@pytest.fixture(scope="module")
def validation(pair):
    reference, candidate = pair
    x = images(40, seed=3)
    return tfq.validate(
        candidate,
        reference=reference,
        data=(x, np.arange(40) % 5),
        gates={"top1_drop": "1%", "float_ops": 0, "size": "1kB", "lint": "error"},
        runs=5,
        workers=1,
    )


def test_every_check_of_it_was_made(validation):
    for section in ("accuracy", "comparison", "latency", "run", "lint"):
        assert validation.missing(section) is None, validation.missing(section)
    assert validation.exit_code == 1  # no file of this kind has 1 kB
    assert {g.name for g in validation.gates} == {"runs", "top1_drop", "float_ops", "size", "lint"}


class Page(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]


def test_the_page_has_no_script_no_link_and_no_way_out(validation):
    page = Page(validation.to_html())
    assert "script" not in page.tags
    assert "alert(" not in [value for _, value in page.attributes]
    assert not {"iframe", "object", "embed", "link", "img", "base", "form"} & set(page.tags)
    for key, value in page.attributes:
        assert not key.startswith("on"), key
        if key in ("href", "src", "xlink:href", "action"):
            assert value.startswith("#"), value  # clip paths and markers of the plots


def test_the_page_asks_nothing_of_the_network(validation):
    text = validation.to_html()
    urls = set(re.findall(r"(?:url\(|@import)[^)]*", text))
    assert all(url.startswith("url(#") for url in urls), urls
    assert "default-src 'none'" in text


def test_the_page_balances(validation):
    text = validation.to_html()
    for tag in ("table", "tr", "div", "details", "svg", "dl"):
        assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag


def test_plots_follow_the_theme(validation):
    text = validation.to_html()
    assert text.count("<svg") >= 2  # the timeline is left out where all took no time
    assert "#01020" not in text  # every stand-in colour became a variable
    assert "var(--first)" in text


def test_markdown_keeps_its_tables(validation):
    lines = validation.to_markdown().splitlines()
    tables = [line for line in lines if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in tables}
    assert widths <= {7, 4, 6}  # gates, numbers, findings
    assert "<script" not in validation.to_markdown()
    assert "\x1b" not in validation.to_markdown()


def test_junit_is_xml_with_a_case_a_gate(validation):
    root = ElementTree.fromstring(validation.to_junit().encode())
    suite = root.find("testsuite")
    assert suite is not None
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [gate.name for gate in validation.gates]
    failed = [case.get("name") for case in cases if case.find("failure") is not None]
    assert "size" in failed
    assert int(suite.get("failures", "")) == len(failed)


def test_json_is_json(validation):
    table = json.loads(validation.to_json())
    assert table["exit_code"] == 1
    assert table["gates"][0]["name"] == "runs"
    assert len(table["comparison"]["rows"]) == len(validation.comparison.rows)


def test_the_terminal_gets_no_escape_codes(validation, capsys):
    from rich.console import Console

    from tfq_ext.report.validation.text import view

    Console(markup=False, width=80).print(view(validation))
    out = capsys.readouterr().out
    assert "\x1b[31m" not in out
    assert "\u202e" not in out
    assert "\x1b" not in str(validation)


def test_model_explorer_gets_one_file_a_metric(validation):
    from tfq_ext.report.validation.explorer import model_explorer

    files = model_explorer(validation)
    assert {"own_sqnr_db.json", "sqnr_db.json", "time_ms.json"} <= set(files)
    data = json.loads(files["sqnr_db.json"])
    assert set(data) == {"name", "results", "gradient"}
    names = {row.tensor for row in validation.comparison.rows}
    assert set(data["results"]) <= names
    assert all(isinstance(entry["value"], float) for entry in data["results"].values())
    assert [stop["stop"] for stop in data["gradient"]] == [0, 0.5, 1]


def test_a_validation_without_anything_makes_all_reports(pair):
    result = tfq.validate(pair[1], runs=3)
    assert result.exit_code == 0
    assert "no other gate was set" in str(result)
    assert "Not checked" in result.to_html()
    assert "<testcase" in result.to_junit()
    assert result.to_markdown()


MEASURE = """<iframe id=f src="report.html" style="width:{width}px;height:4000px;border:0"></iframe>
<script>
onload = () => {{
  const page = document.getElementById("f").contentDocument;
  const wide = page.documentElement.scrollWidth;
  const text = page.body.innerText;
  document.body.innerHTML = "<pre id=r>" + JSON.stringify({{
    wide, verdict: page.querySelector(".verdict b").innerText,
    plots: [...page.querySelectorAll("svg")].map(s => s.getBoundingClientRect().height),
    scripts: page.querySelectorAll("script").length,
  }}) + "</pre>";
}};
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [390, 1100])
def test_a_browser_shows_it_without_scrolling_sideways(validation, tmp_path, width):
    (tmp_path / "report.html").write_text(validation.to_html())
    (tmp_path / "frame.html").write_text(MEASURE.format(width=width))
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
            "--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom",
            f"file://{tmp_path / 'frame.html'}",
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r'<pre id="r">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    seen = json.loads(found[1])
    assert "Do not ship" in seen["verdict"]
    assert seen["wide"] <= width
    assert len(seen["plots"]) >= 2
    assert all(height > 60 for height in seen["plots"])
    assert seen["scripts"] == 0


def test_a_page_with_the_gpu_and_the_integers(pair):
    """With a driver the rows have numbers, without one they say why not; both are shown."""
    found = tfq.validate(pair[0], runs=6, gpu=True, bit_exact=True)
    text = found.to_html()
    assert "What fp16 would do" in text
    assert ("ok" if found.delegates.gpu[0].status == "ok" else "not checked") in text
    assert "No op of this file could be compared" in text
    exact = tfq.validate(pair[1], runs=6, bit_exact=True)
    assert "all equal" in exact.to_html()
    assert "multiplier M0" in exact.to_html()

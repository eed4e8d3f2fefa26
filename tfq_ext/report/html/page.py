"""The page: a jinja2 template with autoescape, fed with plain rows."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from tfq_ext._optional import need
from tfq_ext.report import words
from tfq_ext.report.html import figures, rows
from tfq_ext.report.validation import facts
from tfq_ext.validation.verdict import Validation

WHY = "The HTML report"


def page(v: Validation) -> str:
    """One HTML document.

    Raises:
        MissingDependency: jinja2 or matplotlib is absent.
    """
    return str(_template().render({**_head(v), **_body(v)}))


def _head(v: Validation) -> dict[str, Any]:
    """The verdict, and what the page is drawn with."""
    markup = need("markupsafe", why=WHY).Markup
    return {
        "v": v,
        "version": v.origin.versions["tfq_ext"],
        "verdict": facts.verdict(v),
        "state": rows.STATES[v.exit_code],
        "gates": v.gates,
        "states": rows.GATE_STATES,
        "sections": rows.sections(v),
        "counts": facts.counts(v.findings),
        "plots": {name: markup(svg) for name, svg in figures.draw(v).items()},
        "css": markup(_asset("page.css")),
    }


def _body(v: Validation) -> dict[str, Any]:
    """Rows of the tables."""
    return {
        "cards": rows.cards(v),
        "sides": facts.side_by_side(v),
        "findings": facts.grouped(v.findings),
        "suppressed": [f for f in v.findings if f.suppressed],
        "layers": rows.layers(v),
        "changed": rows.changed(v),
        "ops": rows.ops(v),
        "times": rows.times(v),
        "gpu": rows.gpu(v),
        "refused": rows.refused(v),
        "risks": rows.risks(v),
        "notes": rows.notes(v),
        "profile": rows.profile_of(v),
        "integer_line": facts.integer_line(v),
        "integers": rows.integers(v),
        "parts": rows.parts(v),
        "interface": rows.interface(v),
        "origin": rows.origin(v),
        "unchecked": facts.unchecked(v),
    }


@cache
def _template() -> Any:
    jinja2 = need("jinja2", why=WHY)
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    environment.filters["short"] = words.short
    environment.filters["size"] = words.size
    environment.filters["ms"] = facts.ms
    environment.filters["db"] = level
    return environment.get_template("page.html.j2")


def printable(text: object) -> str:
    """Without control and direction marks, which could rearrange what people read."""
    return "".join(c if c.isprintable() else "�" for c in str(text))


def level(value: float | None) -> str:
    """dB, or a dash where nothing was measured."""
    return "–" if value is None else words.db(value)


def _asset(name: str) -> str:
    return files("tfq_ext.report.html").joinpath(name).read_text(encoding="utf-8")

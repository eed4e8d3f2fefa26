"""The report of reproduce_whitepaper: on the terminal, as report.md, and as a page for docs."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import _figures as figures
from _paper import Claim, Found, Grid, Lab, Section

from tfq_ext._files import write_text
from tfq_ext._optional import need

LOG = "whitepaper.jsonl"  # beside the page in the documents
WIDTH = 140  # columns of a terminal that does not say
PACKAGES = ("tfq_ext", "tensorflow", "keras", "ai-edge-litert", "numpy")


def write(
    lab: Lab,
    sections: Mapping[str, Section],
    found: Mapping[str, Found],
    seconds: float,
    docs: Path | None,
) -> None:
    """Print everything; write report.md with its figures, and the same page for `docs`."""
    for name, one in found.items():
        show(sections[name], one)
    show_claims(found)
    places = [(lab.out / "report.md", "")] + (
        [(docs / "whitepaper.md", "whitepaper_")] if docs else []
    )
    for path, prefix in places:
        for name, one in found.items():
            _draw(one, path.parent, f"{prefix}{name}_")
        write_text(path, "\n".join(page(lab, sections, found, seconds, prefix)))
    if docs:
        write_text(docs / LOG, (lab.out / "log.jsonl").read_text(encoding="utf-8"))


def _draw(one: Found, folder: Path, prefix: str) -> None:
    for picture in one.pictures:
        with figures.figure(folder / f"{prefix}{picture.name}.png", *picture.size) as figure:
            picture.draw(figure)


def page(
    lab: Lab,
    sections: Mapping[str, Section],
    found: Mapping[str, Found],
    seconds: float,
    prefix: str = "",
) -> Iterator[str]:
    """Lines of Markdown."""
    yield from ("# The whitepaper's findings, rerun", "", *_head(lab, seconds), "")
    yield f"Every row, with its seconds: [log]({LOG if prefix else 'log.jsonl'})."
    yield from ("", summary(sections, found).markdown())
    for name, one in found.items():
        section = sections[name]
        yield from (
            f"## {section.title}",
            "",
            f"{section.published.source}. {section.published.says}",
            "",
        )
        for grid in one.grids:
            yield grid.markdown()
        if one.claims:
            yield claims(one).markdown()
        for picture in one.pictures:
            yield f"![{picture.caption}]({prefix}{name}_{picture.name}.png)\n\n{picture.caption}\n"
        for note in one.notes:
            yield f"{note}\n"
        yield from ("What differs, and why:", "")
        yield from (f"* {sentence}" for sentence in section.differs)
        yield ""


def _head(lab: Lab, seconds: float) -> Iterator[str]:
    yield (
        "Written by `tools/reproduce_whitepaper.py`" + (" `--quick`" if lab.quick else "") + ". "
        f"{time.strftime('%F')}, {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}; {', '.join(_versions())}. Computing the rows of its "
        f"log took {_total(lab) / 60:.0f} minutes, {seconds / 60:.0f} of them in the last run."
    )
    yield ""
    yield "Networks and images:"
    yield ""
    yield from (f"* {network.name}: {network.about}" for network in lab.networks.values())
    yield from (f"* not given: {sentence}" for sentence in lab.absent)


def _total(lab: Lab) -> float:
    """Seconds that all rows of the log took, those of earlier runs too."""
    return sum(row.get("seconds", 0.0) for kind in KINDS for row in lab.log.rows(kind).values())


KINDS = ("float", "file", "tuned", "bench", "jitter", "folded")


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


def claims(one: Found) -> Grid:
    """What a section's paper says, claim by claim."""
    rows = [(claim.text, claim.shown, claim.word) for claim in one.claims]
    return Grid(
        "What the paper says, and whether it is seen here", ("claim", "seen", ""), tuple(rows)
    )


def summary(sections: Mapping[str, Section], found: Mapping[str, Found]) -> Grid:
    """How many claims hold."""
    rows = []
    for name, one in found.items():
        words = Counter(claim.word for claim in one.claims)
        title = sections[name].title
        link = f"[{title}](#{_anchor(title)})"
        rows.append((link, *(str(words[word]) for word in ("holds", "not here", "FAILS"))))
    note = (
        "A claim that must hold and FAILS makes the tool's exit code 1; one that is not seen here "
        "is a remark about these networks, steps or this CPU."
    )
    return Grid("Claims", ("section", "hold", "not here", "fail"), tuple(rows), (note,))


def _anchor(title: str) -> str:
    """As GitHub and MkDocs make it of a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _failed(found: Mapping[str, Found]) -> list[Claim]:
    return [c for one in found.values() for c in one.claims if c.must and not c.holds]


def outcome(found: Mapping[str, Found]) -> int:
    """Exit code: 1 if a claim that must hold does not."""
    return 1 if _failed(found) else 0


def show(section: Section, one: Found) -> None:
    """One section on the terminal."""
    console = need("rich.console", why="tables").Console(width=WIDTH)
    console.rule(section.title)
    console.print(f"{section.published.source}: {section.published.says}", markup=False)
    for grid in one.grids:
        _print(console, grid)
    for note in (*one.notes, *section.differs):
        console.print(f"* {note}", markup=False, highlight=False)


def show_claims(found: Mapping[str, Found]) -> None:
    """All claims on the terminal."""
    rows = [(n, c.text, c.shown, c.word) for n, one in found.items() for c in one.claims]
    grid = Grid("Claims", ("section", "claim", "seen", ""), tuple(rows))
    _print(need("rich.console", why="tables").Console(width=WIDTH), grid)


def _print(console: object, grid: Grid) -> None:
    made = need("rich.table", why="tables").Table(title=grid.title, title_justify="left")
    for k, name in enumerate(grid.header):
        made.add_column(name, justify="right" if k else "left")
    escape = need("rich.markup", why="tables").escape
    for row in grid.rows:
        made.add_row(*map(escape, row))
    console.print(made)  # type: ignore[attr-defined]

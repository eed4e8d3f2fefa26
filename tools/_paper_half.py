"""Half the bytes and fewer: float16, dynamic range and int8 of one network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import _figures as figures
from _paper import (
    Cells,
    Claim,
    Found,
    Grid,
    Lab,
    Picture,
    Published,
    Row,
    decibels,
    kilobytes,
    percent,
)
from _paper_sim import FLOAT, judged, recipes

FORMS = {name: name for name in ("fp16", "weight_only", "dynamic", "int8-minmax", "fast")}
HALF, HALF_SLACK = 0.5, 0.01
SAME = 0.995  # of the answers: half precision keeps 11 bits of each weight


def run(lab: Lab, published: Published) -> Found:
    """Bytes and drift of every form."""
    found: dict[str, Mapping[str, Row]] = {}
    for network in lab.networks.values():
        found[network.name] = judged(lab, network, recipes(network, FORMS))
    rows = tuple(_cells(n, form, r) for n, forms in found.items() for form, r in forms.items())
    header: Cells = ("network", "file", "kB", "of float's", "weights, kB", "zipped, kB")
    header += ("top-1, %", "lost, points (95 %)", "same class, %", "SQNR, dB")
    rows = tuple((*row[:3], _share(row, found), *row[3:]) for row in rows)
    grid = Grid("Bytes and distance from float", header, rows)
    caption = "Bytes of each file, % of the float file's."
    picture = Picture("bytes", caption, partial(_draw, found))
    return Found((grid,), tuple(_claims(found)), (picture,))


def _share(cells: tuple[str, ...], found: Mapping[str, Mapping[str, Row]]) -> str:
    rows = found[cells[0]]
    return f"{rows[cells[1]]['bytes'] / rows[FLOAT]['bytes']:.3f}"


def _cells(network: str, form: str, row: Row) -> tuple[str, ...]:
    sizes = tuple(kilobytes(row[key]) for key in ("bytes", "constants", "zipped"))
    return (
        *(network, form, *sizes, percent(row["top1"]), lost(row)),
        *(percent(row["agreement"]), decibels(row["sqnr_db"])),
    )


def lost(row: Row) -> str:
    """Points of top-1 lost against float, with the paired 95 % interval; "" for float."""
    if not row["drop"]:
        return ""
    drop, lo, hi = (100 * value for value in row["drop"])
    return f"{drop:+.1f} ({lo:+.1f} .. {hi:+.1f})"


def _claims(found: Mapping[str, Mapping[str, Row]]) -> Iterator[Claim]:
    for name, rows in found.items():
        share = rows["fp16"]["constants"] / rows[FLOAT]["constants"]
        whole = rows["fp16"]["bytes"] / rows[FLOAT]["bytes"]
        yield Claim(
            f"{name}: float16 takes half the bytes of float's weights (within {HALF_SLACK})",
            f"{share:.3f}; of the whole file {whole:.3f}",
            abs(share - HALF) <= HALF_SLACK,
        )
        same, drop = rows["fp16"]["agreement"], rows["fp16"]["drop"][0]
        yield Claim(
            f"{name}: float16 answers as float ({percent(SAME)} % of the images)",
            f"{percent(same)} %, {100 * drop:+.2f} points of top-1",
            same >= SAME,
        )
        share = rows["int8-minmax"]["bytes"] / rows["fp16"]["bytes"]
        yield Claim(f"{name}: int8 is smaller than float16", f"{share:.3f} of its bytes", share < 1)


def _draw(found: Mapping[str, Mapping[str, Row]], figure: Any) -> None:
    axes = figure.add_subplot()
    series = {
        form: [100 * rows[form]["bytes"] / rows[FLOAT]["bytes"] for rows in found.values()]
        for form in FORMS
    }
    figures.bars(axes, list(found), series, "bytes, % of float's")
    figures.legend(axes, 5)

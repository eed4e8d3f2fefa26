"""ReLU against ReLU6: trained so, and with the caps of a trained network taken off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from _paper import Claim, Found, Grid, Lab, Published, Row, decibels, percent
from _paper_half import lost
from _paper_sim import judged, recipes
from _paper_trained import TOP_1, Outcome, cell, made, read
from _qat_plan import FLOAT

MARK = ", ReLU"  # in the name of a network that has no caps
FILES = {
    "int8-minmax": "int8-minmax",
    "int8-minmax, ReLU": {"base": "int8-minmax", "relu6": "relu"},
}
SAME = "same class as float with its caps, %"
SLACK = 0.01  # of top-1


def run(lab: Lab, published: Published) -> Found:
    """Pairs of networks that were trained alike, then single networks with and without caps."""
    pairs = list(_pairs(lab))
    rows = tuple((name, a.method, cell(a), cell(b)) for name, a, b in pairs)
    trained = Grid(TOP_1, ("network", "training", "ReLU6", "ReLU"), rows)
    capped = (network for network in lab.networks.values() if MARK not in network.name)
    found = {n.name: judged(lab, n, recipes(n, FILES)) for n in capped}
    return Found((trained, _uncapped(found)), tuple(_claims(pairs)))


def _pairs(lab: Lab) -> Iterator[tuple[str, Outcome, Outcome]]:
    """(network, with ReLU6, with ReLU) for every method that both have."""
    for method in (FLOAT, "w8", "w4"):
        found = {one.network: one for one in (*made(lab, method), *read(lab, method))}
        for name, one in found.items():
            other = found.get(name.replace(MARK, ""))
            if MARK in name and other is not None:
                yield other.network, other, one


def _claims(pairs: list[tuple[str, Outcome, Outcome]]) -> Iterator[Claim]:
    for name, a, b in pairs:
        if a.lost and b.lost:
            yield Claim(
                f"{name}, {a.method}: ReLU loses no more than ReLU6 (slack 1 point)",
                f"ReLU6 lost {a.drop}, ReLU {b.drop} points",
                b.lost[0] <= a.lost[0] + SLACK,
                must=False,
            )


def _uncapped(found: Mapping[str, Mapping[str, Row]]) -> Grid:
    cells = []
    for name, rows in found.items():
        for how in FILES:
            row = rows[how]
            far = (percent(row["agreement"]), decibels(row["sqnr_db"]))
            cells.append((name, how, percent(row["top1"]), lost(row), *far))
    header = ("network", "file", "top-1, %", "lost, points (95 %)", SAME, "SQNR, dB")
    return Grid("Caps taken off without training, ranges by min and max", header, tuple(cells))

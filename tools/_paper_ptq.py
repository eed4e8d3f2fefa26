"""Tables 2, 3, 5 and 6 of the whitepaper as far as nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    beside,
    decibels,
    percent,
    settled,
)
from _paper_half import lost
from _paper_networks import Network
from _paper_sim import FLOAT, Scheme, judged, level, recipes, schemes
from _paper_trained import column as trained
from _paper_trained import made, read
from _paper_tune import WAYS

Rows = dict[str, Row]
ON_DATA = ("int4-fast",)
RUINED = 0.05  # of top-1
SLACK = 0.02  # of top-1: few images judge
SLACK_DB = 2.0  # a claim about SQNR may miss by so much: what the paper saw is 8 dB and more
Check = Callable[[str, Mapping[str, Row]], Iterator[Claim]]

WEIGHTS = {
    "asymmetric, layer": Scheme(8, symmetric=False, per_channel=False),
    "symmetric, layer": Scheme(8, symmetric=True, per_channel=False),
    "symmetric, channel": Scheme(8),
    "asymmetric, channel": Scheme(8, symmetric=False),
}
ALL = {
    **{name: Scheme(s.bits, s.symmetric, s.per_channel, 8) for name, s in WEIGHTS.items()},
    "activations only": Scheme(None, activations=8),
}


def table(
    wanted: Mapping[str, Scheme],
    more: Mapping[str, Any],
    check: Check,
    qat: Mapping[str, str],
    lab: Lab,
    published: Published,
) -> Found:
    """One table of schemes: top-1 beside the paper's, and how far each is from float.

    Args:
        wanted: column -> scheme; the published columns are among them, or are "float".
        more: column -> recipe of ours that is set beside.
        check: (network, row by column) -> claims.
        qat: published column -> way of training.
    """
    found: dict[str, Rows] = {}
    eight = any(scheme.bits in (8, None) and scheme.activations != 4 for scheme in wanted.values())
    for network in (n for n in lab.networks.values() if eight or not n.slow):
        ours = recipes(network, _affordable(lab, network, more))
        rows = judged(lab, network, {**schemes(network, wanted), **ours})
        named = {name: rows[scheme.name] for name, scheme in wanted.items()}
        found[network.name] = {FLOAT: rows[FLOAT], **named, **{name: rows[name] for name in ours}}
    rest = _trained_elsewhere(lab, published, found, qat)
    extra = [n for n in (*wanted, *more) if n not in published.columns]
    top1 = beside(
        published,
        [
            *(
                _top1(lab, name, rows, {c: qat.get(c) for c in (*published.columns, *extra)})
                for name, rows in found.items()
            ),
            *((*cells, *("",) * len(extra)) for cells in rest),
        ],
        "Top-1, %; ± is half of the 95 % interval of float's",
        [_ours(name, more) for name in extra],
    )
    claims = [c for name, rows in found.items() for c in check(name, rows)]
    claims += more_from_training(lab, found, qat)
    picture = Picture("top1", CAPTION, partial(_kept, published, found, tuple(wanted)), (7.2, 3.8))
    return Found((top1, *_drift(found, more)), tuple(claims), (picture,))


CAPTION = (
    "Share of the float network's top-1 that is left, %; the paper's networks, then ours. Missing "
    "bars: the paper has no such number."
)


def _trained_elsewhere(
    lab: Lab, published: Published, found: Mapping[str, Rows], qat: Mapping[str, str]
) -> list[Cells]:
    """Rows of networks that bench_qat trained and nobody quantizes here without training."""
    names = {one.network: None for method in qat.values() for one in read(lab, method)}
    columns = {FLOAT: FLOAT, **qat}
    return [
        (f"{n} (bench_qat)", *(trained(lab, n, columns.get(c, "")) for c in published.columns))
        for n in names
        if n not in found
    ]


def _affordable(lab: Lab, network: Network, more: Mapping[str, Any]) -> dict[str, Any]:
    """The recipes but for those that round on data, where that takes minutes."""
    large = lab.quick or network.large
    return {name: recipe for name, recipe in more.items() if not (large and name in ON_DATA)}


def _ours(name: str, more: Mapping[str, Any]) -> str:
    return f"`{name}` (integers)" if name in more else name


def _top1(lab: Lab, name: str, rows: Rows, columns: Mapping[str, str | None]) -> Cells:
    cells = []
    for column, method in columns.items():
        if method is not None:
            cells.append(trained(lab, name, method))
            continue
        text = percent(rows[column]["top1"]) if column in rows else ""
        if column == FLOAT:
            lo, hi = rows[FLOAT]["top1_interval"]
            text = f"{text} ± {50 * (hi - lo):.1f}"
        cells.append(text)
    return (f"{name} (here)", *cells)


def _drift(found: Mapping[str, Rows], more: Mapping[str, Any]) -> tuple[Grid, Grid]:
    columns = [n for n in dict.fromkeys(n for rows in found.values() for n in rows) if n != FLOAT]
    header = ("network", *(_ours(c, more) for c in columns))
    far, less = (
        tuple(
            (name, *(tell(rows[column]) if column in rows else "" for column in columns))
            for name, rows in found.items()
        )
        for tell in (_distance, lost)
    )
    distance = "Distance from the float network here: SQNR of the logits, dB / same class, %"
    points = "Points of top-1 lost against the float network here, with the paired 95 % interval"
    return Grid(distance, header, far), Grid(points, header, less)


def _distance(row: Row) -> str:
    return f"{decibels(row['sqnr_db'])} / {percent(row['agreement'])}"


def _kept(published: Published, found: Mapping[str, Rows], wanted: Cells, figure: Any) -> None:
    at = published.columns.index(FLOAT)
    groups = [*published.rows, *(f"{name} (here)" for name in found)]
    series: dict[str, list[float | None]] = {}
    for name in wanted:
        k = published.columns.index(name) if name in published.columns else None
        kept = [
            None if k is None or row[k] is None else 100 * (row[k] or 0) / (row[at] or 1)
            for row in published.rows.values()
        ]
        mine = [100 * rows[name]["top1"] / rows[FLOAT]["top1"] for rows in found.values()]
        series[name] = [*kept, *mine]
    axes = figure.add_subplot()
    figures.bars(axes, groups, series, "top-1 left, % of float's")
    axes.axvline(len(published.rows) - 0.5, color="#555555", linewidth=0.8)
    figures.legend(axes)


INTEGERS = {"int8-minmax": "int8-minmax", "fast": "fast"}
FOUR_INTEGERS = {"int4-fast": "int4-fast"}
UNTRAINED = {"w4": "symmetric, channel", "w8a4": "w8 a4"}  # way of training -> column
FOUR = {name: Scheme(4, s.symmetric, s.per_channel, 8) for name, s in WEIGHTS.items()}
FOUR_ACTIVATIONS = {"w8 a4": Scheme(8, activations=4), "w4 a8": Scheme(4, activations=8)}


def _no_worse(
    name: str, rows: Mapping[str, Row], better: str, worse: str, why: str, must: bool = True
) -> Claim:
    a, b = level(rows[better]), level(rows[worse])
    shown = f"{better} {a:.1f} dB, {worse} {b:.1f} dB"
    return Claim(f"{name}: {why}", shown, a >= b - SLACK_DB, must and settled(name))


def weights_only(name: str, rows: Mapping[str, Row]) -> Iterator[Claim]:
    """What table 2 says."""
    drop = rows["asymmetric, layer"]["drop"]
    yield Claim(
        f"{name}: one scale a layer costs more than {percent(RUINED, 0)} points of top-1",
        f"{lost(rows['asymmetric, layer'])} points",
        drop[0] > RUINED,
        must=False,
    )
    say = partial(_no_worse, name, rows)
    slack = f"(slack {SLACK_DB:g} dB)"
    yield say(
        "symmetric, channel", "symmetric, layer", f"by channel no worse than by layer {slack}"
    )
    why = f"by channel no worse than by layer, asymmetric {slack}"
    yield say("asymmetric, channel", "asymmetric, layer", why)
    why = f"asymmetric no worse than symmetric, by channel {slack}"
    yield say("asymmetric, channel", "symmetric, channel", why, must=False)


def all_integers(name: str, rows: Mapping[str, Row]) -> Iterator[Claim]:
    """What table 3 says."""
    yield from weights_only(name, rows)
    lost, other = (rows["activations only"]["drop"][0], rows["symmetric, layer"]["drop"][0])
    yield Claim(
        f"{name}: 8-bit activations cost little of themselves: at most 3 points of top-1",
        f"{100 * lost:+.1f} points; weights by layer as well {100 * other:+.1f}",
        lost <= 0.03,
        settled(name),
    )


def four_bits(name: str, rows: Mapping[str, Row]) -> Iterator[Claim]:
    """What table 5 says of what is not trained."""
    yield _no_worse(
        *(name, rows, "symmetric, channel", "symmetric, layer"),
        f"4 bits by channel no worse than by layer (slack {SLACK_DB:g} dB)",
    )
    lost = rows["symmetric, channel"]["drop"][0]
    yield Claim(
        f"{name}: 4 bits to the nearest code, not trained, lose more than a point",
        f"{100 * lost:+.1f} points",
        lost > 0.01,
        must=False,
    )


def four_bit_activations(name: str, rows: Mapping[str, Row]) -> Iterator[Claim]:
    """What table 6 says of what is not trained."""
    a, w = level(rows["w8 a4"]), level(rows["w4 a8"])
    yield Claim(
        f"{name}: 4-bit activations are further from float than 4-bit weights",
        f"{a:.1f} dB, {w:.1f} dB",
        a < w,
        must=False,
    )


def more_from_training(
    lab: Lab, found: Mapping[str, Rows], qat: Mapping[str, str]
) -> Iterator[Claim]:
    """Training brings back what the same grids lose without it; 4-bit weights more than
    4-bit activations."""
    for method in dict.fromkeys(qat.values()):
        for one in made(lab, method):
            rows = found.get(one.network)
            if rows is None or one.lost is None:
                continue
            plain = rows.get(UNTRAINED[method])
            if plain is not None:
                what = f"{one.network}, {WAYS[method].method.about}"
                text = f"{what}: trained, no worse than the same grids untrained (slack 2 points)"
                shown = f"{percent(one.accuracy)} %, not trained {percent(plain['top1'])} %"
                yield Claim(text, shown, one.accuracy >= plain["top1"] - SLACK)

"""Float islands in integer files, and the QUANTIZE and DEQUANTIZE ops around them."""

from __future__ import annotations

from collections.abc import Mapping

from tfq_ext.tflite.arithmetic import CUSTOM, FLOAT, FLOATS, HYBRID
from tfq_ext.tflite.read import Graph
from tfq_ext.validation.inspection import macs
from tfq_ext.validation.inspection.context import Place, Scene, indices
from tfq_ext.validation.inspection.coverage import Reason
from tfq_ext.validation.inspection.rows import Bridge, Island

_LAND = frozenset({FLOAT, HYBRID, CUSTOM})
_BRIDGES = frozenset({"QUANTIZE", "DEQUANTIZE"})
Grid = tuple[str, tuple[float, ...], tuple[int, ...]]


def islands(scene: Scene, reasons: Mapping[Place, Reason]) -> tuple[Island, ...]:
    """Groups of float ops that hand floats to each other; none in a file without integers."""
    if not scene.has_integers:
        return ()
    found = []
    for graph in scene.model.graphs:
        land = [p for p in scene.places if p.graph is graph and p.kind in _LAND]
        found += [_island(scene, graph, group, reasons) for group in _groups(graph, land)]
    lone = (set(island.codes) for island in found if not island.entered + island.left)
    custom = [codes for codes in lone if all(c.startswith(("CUSTOM:", "FLEX:")) for c in codes)]
    return tuple(i for i in found if i.entered + i.left or set(i.codes) not in custom)


def _groups(graph: Graph, land: list[Place]) -> list[list[Place]]:
    """Connected components over the float tensors that are not constants."""
    parent = {p.index: p.index for p in land}

    def find(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    owner: dict[int, int] = {}
    for p in land:
        for t in dict.fromkeys(p.read + p.made):
            if graph.dtype(t) in FLOATS and not graph.is_constant(t):
                parent[find(p.index)] = find(owner.setdefault(t, p.index))
    groups: dict[int, list[Place]] = {}
    for p in land:
        groups.setdefault(find(p.index), []).append(p)
    return list(groups.values())


def _island(
    scene: Scene, graph: Graph, group: list[Place], reasons: Mapping[Place, Reason]
) -> Island:
    read = {t for p in group for t in p.read}
    made = {t for p in group for t in p.made}
    before = (scene.maker(graph, t) for t in read - made)
    behind = {k for t in made for k in graph.consumers.get(t, ())}
    causes = dict.fromkeys(
        f"{p.code}: {reasons[p].text}" for p in group if p in reasons and reasons[p].cause
    )
    return Island(
        graph.index,
        tuple(p.index for p in group),
        f"{group[0].code} {group[0].tensor}",
        f"{group[-1].code} {group[-1].tensor}",
        tuple(dict.fromkeys(p.code for p in group)),
        sum(
            m is not None and m.code == "DEQUANTIZE" and scene.stored(graph, m.operand(0)) < 0
            for m in before
        ),
        sum(scene.at[graph.index, k].code == "QUANTIZE" for k in behind),
        tuple(causes),
        sum(macs.macs(p) or 0 for p in group),
    )


def bridges(scene: Scene) -> tuple[Bridge, ...]:
    """Every QUANTIZE and DEQUANTIZE with what it is for, and whether it could go."""
    rows = []
    for place in scene.places:
        if place.code in _BRIDGES and place.read and place.made:
            kind = _kind(scene, place)
            rows.append(
                Bridge(
                    place.index,
                    place.graph.index,
                    place.code,
                    place.tensor,
                    kind,
                    _removable(scene, place, kind),
                )
            )
    return tuple(rows)


def _kind(scene: Scene, place: Place) -> str:
    graph, source, target = place.graph, place.read[0], place.made[0]
    if scene.stored(graph, source) >= 0:
        return "unpack"
    if graph.is_entry and (source in graph.inputs or target in graph.outputs):
        return "border"
    both = {graph.dtype(source), graph.dtype(target)}
    return "inside" if both & FLOATS else "requantize"


def grid(graph: Graph, tensor: int) -> Grid:
    """Type, scales and zero points, to compare."""
    q = graph.tensors[tensor].quantization
    if q is None or q.scale is None:
        return graph.dtype(tensor), (), ()
    return graph.dtype(tensor), tuple(map(float, q.scale)), tuple(indices(q.zeroPoint))


def _removable(scene: Scene, place: Place, kind: str) -> str:
    graph, source, target = place.graph, place.read[0], place.made[0]
    if kind == "unpack":
        return "QUANTIZE of a constant: store the integers" if place.code == "QUANTIZE" else ""
    if kind == "requantize" and grid(graph, source) == grid(graph, target):
        return "from a grid to the same grid: it changes nothing"
    before = scene.maker(graph, source)
    if before is None or before.code not in _BRIDGES or before.code == place.code:
        return ""
    if not before.read or scene.stored(graph, before.read[0]) >= 0:
        return ""
    if place.code == "DEQUANTIZE":
        floats = graph.dtype(before.read[0]) in FLOATS
        return "behind a QUANTIZE of floats: the pair only rounds" if floats else ""
    same = grid(graph, before.read[0]) == grid(graph, target)
    return (
        "behind a DEQUANTIZE from the same grid: the pair changes nothing"
        if same
        else "behind a DEQUANTIZE: one QUANTIZE between the two grids does the same"
    )

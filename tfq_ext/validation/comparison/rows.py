"""From sums to rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tfq_ext.tflite.arithmetic import arithmetic
from tfq_ext.tflite.facts import ALL, SAME_GRID
from tfq_ext.validation.comparison.labels import labels, printable
from tfq_ext.validation.comparison.match import Match
from tfq_ext.validation.comparison.nodes import INPUT
from tfq_ext.validation.comparison.sums import Sums
from tfq_ext.validation.comparison.values import CANDIDATE, LayerRow, Unmatched
from tfq_ext.validation.comparison.weights import WeightFacts, weight_facts

if TYPE_CHECKING:
    from tfq_ext.validation.comparison.session import Session


class RowMaker:
    """Makes the rows of a session."""

    def __init__(self, session: Session):
        self._session = session
        self._scene = session.scene
        graph = self._scene.candidate.graph
        codes = {t: graph.code(graph.ops[k]) for t, k in graph.producer.items()}
        self._labels = labels(
            {graph.name(m.candidate): codes.get(m.candidate, "") for m in session.matches}
        )

    def row(self, match: Match) -> LayerRow:
        """The row of a matched tensor."""
        s, graph = self._session, self._scene.candidate.graph
        k = graph.producer.get(match.candidate)
        own = s.sums[match.candidate] if k is None else s.own_sums.get(match.candidate)
        reason = self._reason(k)
        measured = own is not None and own.values > 0 and not reason
        return LayerRow(
            **self._head(match, graph.name(match.candidate), s.sums[match.candidate]),
            own_sqnr_db=own.sqnr_db if own is not None and measured else None,
            own_reason=reason,
            own_shift=own.shift() if own is not None and measured else None,
            **self._weight(match),
        )

    def _reason(self, k: int | None) -> str:
        if not self._session.measures_own:
            return "own errors were not asked for"
        return "" if k is None else self._session.own.reasons.get(k, "")

    def output(self, match: Match, sums: Sums) -> LayerRow:
        """The row of an output, called as in the signature."""
        name = next(p.name for p in self._session.ports if p.candidate == match.candidate)
        head = self._head(match, name, sums)
        return LayerRow(**head, own_sqnr_db=None, own_reason="an output", own_shift=None)

    def _head(self, match: Match, name: str, sums: Sums) -> dict[str, Any]:
        """What rows of layers and of outputs have in common."""
        graph = self._scene.candidate.graph
        k = graph.producer.get(match.candidate)
        op = None if k is None else graph.ops[k]
        return {
            "index": -1 if k is None else k,
            "subgraph": graph.index,
            "op": INPUT if op is None else graph.code(op),
            "tensor": name,
            "label": self._labels.get(name, printable(name)),
            "reference_tensor": self._scene.reference.graph.name(match.reference),
            "matched_by": match.by,
            "shape": graph.shape(match.candidate),
            "arithmetic": "input" if op is None else arithmetic(graph, op),
            "dtype": graph.dtype(match.candidate),
            "inputs": self._inputs(op),
            "joined_by": self._joined_by(match.candidate),
            **_on_grid(sums),
            **_measures(sums),
        }

    def _inputs(self, op: Any) -> tuple[str, ...]:
        view = self._scene.candidate
        if op is None:
            return ()
        read = [view.origin(int(t)) for t in op.inputs if t >= 0 and int(t) not in view.static]
        return tuple(dict.fromkeys(view.graph.name(t) for t in read))

    def _joined_by(self, tensor: int) -> str:
        """The op that gives this tensor and another one grid, by reading both."""
        graph = self._scene.candidate.graph
        for k in graph.consumers.get(tensor, []):
            positions = SAME_GRID.get(graph.code(graph.ops[k]), ())
            if positions == ALL or len(positions) > 1:
                return graph.code(graph.ops[k])
        return ""

    def _weight(self, match: Match) -> dict[str, Any]:
        facts = self.facts(match)
        if facts is None:
            return {}
        sums = self._session.sums[match.candidate]
        bias = None
        if facts.bias_change is not None and facts.bias_change.size and sums.grid.known:
            worst = int(np.argmax(np.abs(facts.bias_change)))
            bias = (float(facts.bias_change[worst]) / sums.grid.scale, worst)
        return {
            "weight_bits": facts.bits,
            "weight_scales": facts.scales,
            "weight_sqnr_db": facts.sqnr_db,
            "weight_spread": facts.spread,
            "weight_lost": facts.lost,
            "bias_headroom": facts.bias_headroom,
            "bias_lsb": bias,
        }

    def facts(self, match: Match) -> WeightFacts | None:
        """Of the op that the tensor leaves; None for stages behind it and ops without weights."""
        if match.node is None:
            return None
        view, c = self._scene.candidate, match.node
        node = view.nodes[c]
        if node.op is None or view.graph.producer.get(match.candidate) != node.op:
            return None
        r = self._scene.matcher.pairs[c]
        mine = self._scene.reference
        return weight_facts(mine, mine.nodes[r], view, node)

    def lost(self, reasons: Mapping[int, str]) -> list[Unmatched]:
        """Tensors that were matched, but could not be compared when run."""
        graph = self._scene.candidate.graph
        rows = []
        for t, why in reasons.items():
            k = graph.producer.get(t)
            code = INPUT if k is None else graph.code(graph.ops[k])
            rows.append(Unmatched(graph.name(t), code, CANDIDATE, why))
        return rows


def _on_grid(sums: Sums) -> dict[str, Any]:
    grid, (low, high) = sums.grid, sums.clipped
    ends = (sums.lo, sums.hi) if sums.lo <= sums.hi else (0.0, 0.0)
    lsb = grid.scale if grid.known else None
    return {
        "scale": lsb,
        "zero_point": grid.zero_point if lsb else None,
        "grid": (grid.lo, grid.hi) if lsb else None,
        "range": ends,
        "wasted_bits": wasted(grid.lo, grid.hi, *ends) if lsb else 0.0,
        "grid_sqnr_db": sums.grid_sqnr_db,
        "mean_error_lsb": sums.mean_error / lsb if lsb else None,
        "max_error_lsb": sums.max_error / lsb if lsb else None,
        "clipped_low": low,
        "clipped_high": high,
    }


def _measures(sums: Sums) -> dict[str, Any]:
    return {
        "sqnr_db": sums.sqnr_db,
        "cosine": sums.cosine,
        "mean_error": sums.mean_error,
        "max_error": sums.max_error,
        "shift": sums.shift(),
        "rms": math.sqrt(sums.signal / max(sums.values, 1)),
        "histogram": sums.histogram(),
    }


def wasted(lo: float, hi: float, low: float, high: float) -> float:
    """Bits of a grid [lo, hi] that values in [low, high] and 0 leave unused, at least 0."""
    needed, width = max(high, 0.0) - min(low, 0.0), hi - lo
    return max(0.0, math.log2(width / needed)) if needed > 0 and width > 0 else 0.0

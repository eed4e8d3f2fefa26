"""The range that an op's input would have on its own, before a shared grid was forced on it."""

from __future__ import annotations

from typing import NamedTuple

from tfq_ext.validation.lint.reach import Interval, reach
from tfq_ext.validation.lint.subject import Op, Subject

# Ops that hand values on as they are.
_CARRIES = frozenset(
    {
        "DEQUANTIZE",
        "EXPAND_DIMS",
        "MAX_POOL_2D",
        "PAD",
        "QUANTIZE",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SPLIT",
        "SPLIT_V",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TRANSPOSE",
        "UNPACK",
    }
)
_DATA = {"SPLIT": 1}  # where it is not input 0
_STEPS = 16  # a bound on walks, for graphs with cycles


class Natural(NamedTuple):
    """An input's own range and how it is known."""

    low: float
    high: float
    how: str

    @property
    def width(self) -> float:
        """Real units."""
        return self.high - self.low


def naturals(s: Subject, op: Op) -> list[Natural]:
    """The natural range of every data input of a join or sum that has one (no guesses)."""
    found = []
    for tensor in op.inputs:
        if tensor >= 0 and not op.graph.is_constant(tensor):
            one = _seen(s, op, tensor) or _stated(s, op, tensor)
            found += [one] if one is not None else []
    return found


def _seen(s: Subject, op: Op, tensor: int) -> Natural | None:
    """From the observation run: of the float reference by name, else of the file itself."""
    if (r := s.real_range(op.graph, tensor)) is not None:
        return Natural(min(r.min, 0.0), max(r.max, 0.0), "in the float model")
    seen, grid = s.seen(op.graph, tensor), s.activation_grid(op.graph, tensor)
    if seen is None or grid is None:
        return None
    low, high = ((end - grid.zero) * grid.scale for end in (seen.low, seen.high))
    return Natural(min(low, 0.0), max(high, 0.0), "observed")


def _stated(s: Subject, op: Op, tensor: int) -> Natural | None:
    """From the file: what the first maker of the values can give, or the grid that it wrote.

    Where the values were requantized on the way, the grid upstream is the natural one. Where they
    were not, the join has forced its own grid on the maker: then only bounds tell anything.
    """
    graph = op.graph
    grid = s.activation_grid(graph, tensor)
    width = None if grid is None else grid.width
    for _ in range(_STEPS):
        made = s.maker(graph, tensor)
        if made is None or made.code not in _CARRIES or not made.inputs:
            break
        tensor = made.inputs[_DATA.get(made.code, 0)]
        if graph.is_constant(tensor):
            return None
    own = s.activation_grid(graph, tensor)
    bound = None if made is None or not made.outputs else reach(s, made)
    if own is None or width is None:
        return None
    low, high = own.range
    if bound is not None and made is not None:
        low, high = _inside((low, high), bound)
        if high - low < own.width * 0.99:
            return Natural(low, high, f"{made.code} can give no more")
    how = "its own grid" if abs(own.width / width - 1) > 1e-3 else "its grid"
    return Natural(low, high, how)


def _inside(a: Interval, b: Interval) -> Interval:
    return max(a[0], b[0]), max(min(a[1], b[1]), max(a[0], b[0]))

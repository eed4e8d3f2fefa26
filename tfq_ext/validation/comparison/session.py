"""Both models at work on one sample after the other; lives in a child process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.run import Keeper
from tfq_ext.validation.comparison.match import Match
from tfq_ext.validation.comparison.own import Feeds, Own
from tfq_ext.validation.comparison.parts import Parts
from tfq_ext.validation.comparison.rows import RowMaker
from tfq_ext.validation.comparison.scene import AS_OUTPUT, Scene, fitting_parts
from tfq_ext.validation.comparison.sums import Sums
from tfq_ext.validation.comparison.tensors import FLOAT, grid_of, is_real
from tfq_ext.validation.comparison.values import LayerRow, Unmatched

Arrays = Mapping[str, np.ndarray]
Read = Callable[[int], np.ndarray]
S = TypeVar("S")
T = TypeVar("T")
EXPLAINED = 4  # samples that are kept to take the noise of the worst layers apart


class Session:
    """One comparison.

    Args:
        reference, candidate: bytes of the files.
        signature: to run; None: the reference's first.
        own: measure every op alone too.
        threads: for LiteRT.

    Raises:
        ModelError: a model cannot be loaded, or both have nothing in common.
        DataError: inputs of different shapes.
    """

    def __init__(
        self,
        reference: bytes,
        candidate: bytes,
        *,
        signature: str | None = None,
        own: bool = True,
        threads: int = 2,
    ):
        mine = Model.parse(reference, source="The reference")
        other = Model.parse(candidate, source="The candidate")
        with fitting_parts():
            self.scene = Scene(mine, other, signature)
            self.matches = list(self.scene.matches)
            self._refuse_strangers()
        keys = self.scene.keys
        self._keepers = (
            _keeper("reference", mine, reference, keys[0], threads),
            _keeper("candidate", other, candidate, keys[1], threads),
        )
        self._lost: dict[int, str] = {}  # candidate tensor -> why it was given up
        self.sums = {m.candidate: Sums(self._grid(m.candidate)) for m in self.matches}
        self.ports = [p for p in self.scene.settled_outputs() if self._real(p)]
        self.outputs = [Match(p.reference, p.candidate, AS_OUTPUT) for p in self.ports]
        self.output_sums = [Sums(self._grid(m.candidate)) for m in self.outputs]
        self.measures_own = own
        with fitting_parts():
            self._bench_ops()
        self._kept: list[_Kept] = []
        self._powers = np.zeros((len(self.own_sums), 2))
        self.samples = 0
        self._pool = ThreadPoolExecutor(threads, "tfq-compare") if threads > 1 else None

    def _bench_ops(self) -> None:
        known = {m.candidate: m.reference for m in self.matches}
        self.feeds = Feeds(self.scene.candidate, known)
        makers = self.scene.candidate.graph.producer
        ops = sorted({makers[t] for t in known if t in makers}) if self.measures_own else []
        self.own = Own(self.scene.candidate, ops, self.feeds)
        self.own_sums = {t: Sums(self._grid(t), whole=False) for t in known if makers.get(t) in ops}

    def _refuse_strangers(self) -> None:
        if not any(m.by != "input" for m in self.matches) and not self.scene.outputs:
            raise ModelError(
                "No tensor of the candidate could be matched with one of the reference: these are "
                "different networks. Give the float model that the candidate was made from."
            )

    def _grid(self, tensor: int) -> Any:
        return grid_of(self.scene.candidate.graph, tensor) or FLOAT

    def _real(self, port: Any) -> bool:
        a, b = self.scene.reference.graph, self.scene.candidate.graph
        return is_real(a, port.reference) and is_real(b, port.candidate)

    def add(self, inputs: Arrays, key: int = 0) -> None:
        """One sample: reals by the reference's input names.

        Raises:
            DataError: NaN or infinity in a tensor of either model, or an input that does not fit.
            ModelError: LiteRT cannot run one of them.
        """
        mine, other = self._run(inputs, key)
        decoded = _Decoded(self.scene, mine)
        self._each(self.live(), lambda m: self._measure(m, decoded, other, key))
        for match, sums in zip(self.outputs, self.output_sums, strict=True):
            self._add(sums, match, decoded(match.reference), other(match.candidate), key)
        if self.measures_own:
            self._own(decoded, other, key)
            before, self._powers = self._powers, self._own_powers()
            self._keep(inputs, self._powers - before)
        self.samples += 1

    def _own_powers(self) -> np.ndarray:
        """float64[ops, 2]: own noise and signal so far."""
        powers = [(s.noise, s.signal) for s in self.own_sums.values()]
        return np.array(powers, np.float64).reshape(-1, 2)

    def _keep(self, inputs: Arrays, powers: np.ndarray) -> None:
        """Hold on to the samples with most own noise: the first ones may lack a rare value that
        is clipped, and with it nearly all of the noise that is to be explained."""
        noise, signal = powers.T
        score = float(np.divide(noise, signal, out=np.zeros_like(noise), where=signal > 0).sum())
        if len(self._kept) == EXPLAINED:
            least = min(range(EXPLAINED), key=lambda k: self._kept[k].score)
            if self._kept[least].score >= score:
                return
            del self._kept[least]
        self._kept.append(_Kept({n: np.array(x) for n, x in inputs.items()}, powers, score))

    def own_kept(self, tensor: int) -> tuple[float, float]:
        """Own (noise, signal) of a tensor on the kept samples alone."""
        at = list(self.own_sums).index(tensor)
        noise, signal = sum(kept.powers[at] for kept in self._kept)
        return float(noise), float(signal)

    def live(self) -> list[Match]:
        """The matches that were not given up; those of the rows."""
        return [m for m in self.matches if m.candidate not in self._lost]

    def _run(self, inputs: Arrays, key: int) -> tuple[Read, Read]:
        mine, other = self.scene.reference.graph, self.scene.candidate.graph
        fed = {
            p.name: _encoded(mine, p.reference, inputs[p.name], p.name, key)
            for p in self.scene.inputs
        }
        read = _named("reference", lambda: self._keepers[0].invoke(fed))
        codes = {
            p.other: _encoded(other, p.candidate, inputs[p.name], p.name, key)
            for p in self.scene.inputs
        }
        return read, _named("candidate", lambda: self._keepers[1].invoke(codes))

    def _measure(self, match: Match, mine: Read, other: Read, key: int) -> None:
        try:
            stored, real = other(match.candidate), mine(match.reference)
        except ValueError as error:  # "Tensor data is null": a kernel never gave it memory
            self._lost[match.candidate] = f"LiteRT keeps no values of it: {error}"
            return
        if stored.shape != real.shape:
            self._lost[match.candidate] = (
                f"when run it has shape {list(stored.shape)}, the reference's {list(real.shape)}"
            )
            return
        self._add(self.sums[match.candidate], match, real, stored, key)

    def _add(
        self, sums: Sums, match: Match, real: np.ndarray, stored: np.ndarray, key: int
    ) -> None:
        try:
            sums.add(real, stored)
        except DataError as error:
            name = self.scene.candidate.graph.name(match.candidate)
            raise DataError(
                f"Sample {key}: tensor {name!r} {error}. A comparison needs finite numbers; look "
                "at that sample, or at the op that makes the tensor."
            ) from None

    def _own(self, mine: Read, other: Read, key: int) -> None:
        self._each(list(self.own.benches), lambda k: self._own_op(k, mine, other, key))
        self.feeds.forget()

    def _own_op(self, k: int, mine: Read, other: Read, key: int) -> None:
        results = self.own.run(k, mine, other)
        for t in map(int, self.scene.candidate.graph.ops[k].outputs if results else ()):
            sums, source = self.own_sums.get(t), self.feeds.known.get(t)
            if results is None or sums is None or source is None or t in self._lost:
                continue
            real, stored = mine(source), results[t]
            if stored.shape != real.shape:
                self.own.reasons[k] = f"on its own it gives shape {list(stored.shape)}"
                self.own.benches.pop(k, None)
                return
            self._add(sums, Match(source, t, ""), real, stored, key)

    def _each(self, items: Sequence[S], work: Callable[[S], None]) -> None:
        """Work on all items, on several threads: LiteRT and the loops release the GIL."""
        if self._pool is None:
            for item in items:
                work(item)
        else:
            for _ in self._pool.map(work, items):
                pass

    def finish(self) -> tuple[tuple[LayerRow, ...], tuple[LayerRow, ...], tuple[Unmatched, ...]]:
        """(rows, outputs, unmatched), without verdicts."""
        maker = RowMaker(self)
        rows = [maker.row(m) for m in self.live()]
        outputs = [maker.output(m, s) for m, s in zip(self.outputs, self.output_sums, strict=True)]
        if self.measures_own and self._kept:
            rows = Parts(self).explained(rows, [kept.inputs for kept in self._kept])
        return tuple(rows), tuple(outputs), (*self.scene.unmatched(), *maker.lost(self._lost))

    def reference_values(self, inputs: Arrays) -> Callable[[int], np.ndarray]:
        """The reference's tensors, float32, for one sample."""
        fed = {
            p.name: _encoded(self.scene.reference.graph, p.reference, inputs[p.name], p.name, -1)
            for p in self.scene.inputs
        }
        return _Decoded(self.scene, self._keepers[0].invoke(fed))


@dataclass(frozen=True)
class _Kept:
    """A sample on which noise is taken apart: its inputs, own powers by op, their sum of ratios."""

    inputs: dict[str, np.ndarray]
    powers: np.ndarray
    score: float


class _Decoded:
    """The reference's tensors of one sample as float32."""

    def __init__(self, scene: Scene, read: Callable[[int], np.ndarray]):
        self._graph, self._read = scene.reference.graph, read

    def __call__(self, tensor: int) -> np.ndarray:
        if not is_real(self._graph, tensor):
            return self._read(tensor)  # ids, masks, shapes
        grid = grid_of(self._graph, tensor) or FLOAT
        return grid.decode(self._read(tensor))


def _encoded(graph: Any, tensor: int, x: np.ndarray, name: str, key: int) -> np.ndarray:
    """What an input stores for the reals `x`; integer arrays are reals too, never codes."""
    x, dtype = np.asarray(x), graph.dtype(tensor)
    if not is_real(graph, tensor):
        return x.astype(dtype, copy=False)
    if x.dtype.kind in "fiub" and not np.isfinite(x).all():
        raise DataError(f"Sample {key}: input {name!r} holds NaN or infinity.")
    grid = grid_of(graph, tensor)
    if grid is None:
        raise ModelError(f"Input {name!r} is {dtype} without one usable scale.")
    return grid.encode(x.astype(np.float32, copy=False), np.dtype(dtype))


def _keeper(who: str, model: Model, content: bytes, key: str | None, threads: int) -> Keeper:
    return _named(who, lambda: Keeper(model, signature=key, threads=threads, content=content))


def _named(who: str, run: Callable[[], T]) -> T:
    """Errors say whose they are."""
    try:
        return run()
    except ModelError as error:
        text = str(error).replace("the float model", "it").replace("this model", "it")
        raise ModelError(f"The {who}: {text}") from None

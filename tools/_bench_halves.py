"""Two halves of the calibration images: do they lead to the same file?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from _bench import table
from _bench_files import FLOAT, Contender, Ground, Made, make_all

HALVES = ("first half", "second half")
BELOW = "no"  # the word of a file that depends on the samples more than on rounding


@dataclass(frozen=True)
class Stability:
    """One contender, twice.

    Args:
        name: of the contender.
        between_db: SQNR of the second file's outputs against the first's.
        first_db, second_db: of each against float.
    """

    name: str
    between_db: float
    first_db: float
    second_db: float

    @property
    def stable(self) -> bool:
        """Whether the two files are nearer to each other than either is to float."""
        return self.between_db > max(self.first_db, self.second_db)


def stability(
    ground: Ground, contenders: Sequence[Contender], limit: float | None
) -> tuple[list[Stability], dict[str, str]]:
    """Every contender by each half; and why, for those that could not be made."""
    found: list[Mapping[str, Made]] = []
    failed: dict[str, str] = {}
    for k, half in enumerate(HALVES):
        made, out = make_all(ground.half(k), contenders, limit)
        found.append(made)
        failed.update({f"{name}, {half}": reason for name, reason in out.items()})
    names = [c.name for c in contenders if all(c.name in made for made in found)]
    return [_compared(ground, name, *(m[name].content for m in found)) for name in names], failed


def _compared(ground: Ground, name: str, first: bytes, second: bytes) -> Stability:
    files = dict(zip(HALVES, (first, second), strict=True))
    apart = ground.judged(files, reference=HALVES[0])[HALVES[1]].sqnr_db
    each = ground.judged({FLOAT: ground.float.content, **files})
    return Stability(name, apart, *(each[half].sqnr_db for half in HALVES))


def shown(rows: Sequence[Stability]) -> str:
    """The table that is printed."""
    head = ("", "between halves, dB", "first to float, dB", "second to float, dB", "stable")
    lines = [
        (
            r.name,
            f"{r.between_db:.2f}",
            f"{r.first_db:.2f}",
            f"{r.second_db:.2f}",
            "yes" if r.stable else BELOW,
        )
        for r in rows
    ]
    return table(head, lines)

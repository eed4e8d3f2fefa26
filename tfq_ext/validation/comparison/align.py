"""Two sequences of nodes side by side: the pairs that keep both orders and fit best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

Score = Callable[[int, int], float]
MOST_CELLS = 4_000_000  # of the table; longer sequences are compared by their tokens only


def align(
    first: Sequence[int], second: Sequence[int], score: Score, token: Sequence[Sequence[object]]
) -> list[tuple[int, int]]:
    """Pairs of entries, ascending in both sequences, whose scores sum to the most.

    Args:
        first, second: entries.
        score: of a pair, > 0; 0 where it may not be.
        token: what makes entries equal, (of each in `first`, of each in `second`); decides alone
            where the sequences are too long for the table.
    """
    head = _common(first, second, score)
    tail = _common(first[head:][::-1], second[head:][::-1], score)
    inner = (first[head : len(first) - tail], second[head : len(second) - tail])
    pairs = list(zip(first[:head], second[:head], strict=True))
    if len(inner[0]) * len(inner[1]) > MOST_CELLS:
        cut = slice(head, len(token[0]) - tail), slice(head, len(token[1]) - tail)
        pairs += _by_token(*inner, token[0][cut[0]], token[1][cut[1]], score)
    else:
        pairs += _best(*inner, score)
    ends = zip(first[len(first) - tail :], second[len(second) - tail :], strict=True)
    return [*pairs, *ends]


def _common(first: Sequence[int], second: Sequence[int], score: Score) -> int:
    """Length of the common beginning."""
    n = 0
    while n < min(len(first), len(second)) and score(first[n], second[n]) >= 1:
        n += 1
    return n


def _best(first: Sequence[int], second: Sequence[int], score: Score) -> list[tuple[int, int]]:
    """Needleman and Wunsch, J. Mol. Biol. 48 (1970) 443, gaps for nothing."""
    rows, columns = len(first), len(second)
    total = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    own = [[score(a, b) for b in second] for a in first]
    for i in range(rows - 1, -1, -1):
        here, below = total[i], total[i + 1]
        for j in range(columns - 1, -1, -1):
            gain = own[i][j]
            best = max(below[j], here[j + 1])
            here[j] = max(best, below[j + 1] + gain) if gain > 0 else best
    pairs, i, j = [], 0, 0
    while i < rows and j < columns:
        if own[i][j] > 0 and total[i][j] == total[i + 1][j + 1] + own[i][j]:
            pairs.append((first[i], second[j]))
            i, j = i + 1, j + 1
        elif total[i][j] == total[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _by_token(
    first: Sequence[int],
    second: Sequence[int],
    tokens: Sequence[object],
    others: Sequence[object],
    score: Score,
) -> list[tuple[int, int]]:
    matcher = SequenceMatcher(None, list(map(str, tokens)), list(map(str, others)), autojunk=False)
    pairs = [
        (first[block.a + k], second[block.b + k])
        for block in matcher.get_matching_blocks()
        for k in range(block.size)
    ]
    return [(a, b) for a, b in pairs if score(a, b) > 0]

"""Measures of each row by itself, so that no sum depends on how rows were grouped."""

from __future__ import annotations

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.numerics.metrics import log_softmax

Columns = dict[str, np.ndarray]  # name -> [R, ...], one entry a row
_LEAST = 1 / 1024  # probabilities below are taken as this: an int8 softmax has steps of 1/256


def flat(values: np.ndarray) -> np.ndarray:
    """[R, ...] as [R, D]."""
    return values.reshape(len(values), -1)


def logits(values: np.ndarray) -> np.ndarray | None:
    """[R, C] of a classifier's output, [R, 1, 1, C] included; None for anything else."""
    if values.ndim < 2 or values.size != len(values) * values.shape[-1]:
        return None
    return values.reshape(len(values), -1)


def compared(
    reference: np.ndarray, candidate: np.ndarray, *, ranked: bool, softmax: bool
) -> Columns:
    """signal, noise; with `ranked` agree, and of class scores also kl.

    Args:
        reference, candidate: real[R, ...].
        ranked: the last axis ranks things; of whole numbers, which are classes themselves
            (ARG_MAX), equal ones agree and no noise is stated.
        softmax: the reference's values are probabilities already.

    Raises:
        DataError: shapes differ.
    """
    r, c = _same(reference, candidate)
    if ranked and reference.dtype.kind in "iu" and candidate.dtype.kind in "iu":
        return {"agree": flat(r == c).mean(axis=1)}
    columns = {
        "signal": np.square(flat(r)).sum(axis=1),
        "noise": np.square(flat(r - c)).sum(axis=1),
    }
    if ranked and r.shape[-1] > 1:
        columns["agree"] = agreement(r, c)
        if (rows := logits(r)) is not None:
            theirs = logits(c)
            assert theirs is not None
            columns["kl"] = divergence(rows, theirs, softmax=softmax)
    return columns


def agreement(r: np.ndarray, c: np.ndarray) -> np.ndarray:
    """float64[R], share of positions with the same argmax; ties as in `metrics.agreement`."""
    best_r, best_c = (x == x.max(axis=-1, keepdims=True) for x in (r, c))
    shares = (best_r & best_c).sum(-1) / best_c.sum(-1)
    return np.asarray(flat(shares[:, None]).mean(axis=1), np.float64)


def divergence(r: np.ndarray, c: np.ndarray, *, softmax: bool) -> np.ndarray:
    """float64[R], KL(reference || candidate) of the class probabilities, nats."""
    if softmax:
        r, c = (np.log(np.maximum(x, _LEAST)) for x in (r, c))
    r, c = log_softmax(r), log_softmax(c)
    return np.maximum((np.exp(r) * (r - c)).sum(-1), 0.0)


def _same(reference: np.ndarray, candidate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r, c = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    if r.shape == c.shape:
        return r, c
    squeezed = [tuple(n for n in x.shape[1:] if n != 1) for x in (r, c)]
    if squeezed[0] != squeezed[1]:
        raise DataError(
            f"the reference's output has shape {list(r.shape[1:])}, the candidate's "
            f"{list(c.shape[1:])}; they cannot be compared. Name the output to judge."
        )
    return r, c.reshape(r.shape)

"""Activations without data: what BatchNormalization remembers, passed on through the graph."""

from tfq_ext.repair.beliefs.attachment import Attached, attach_norms
from tfq_ext.repair.beliefs.belief import ALPHA, Belief
from tfq_ext.repair.beliefs.correction import corrected_biases
from tfq_ext.repair.beliefs.propagation import Beliefs, propagate
from tfq_ext.repair.beliefs.synthetic import synthetic

__all__ = [
    "ALPHA",
    "Attached",
    "Belief",
    "Beliefs",
    "attach_norms",
    "corrected_biases",
    "propagate",
    "synthetic",
]

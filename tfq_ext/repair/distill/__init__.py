"""Scales and biases of all layers learned together, the float network being the teacher.

ops        the flatbuffer's ops in TensorFlow: a table
network    a subgraph as a function that can be differentiated
student    what is learned
mixtures   more inputs from few
learn      the optimisation
stage      from draft to draft
"""

from tfq_ext.repair.distill.stage import distilled

__all__ = ["distilled"]

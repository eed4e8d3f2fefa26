"""Weights rounded layer by layer on the quantized prefix, biases matched after each.

moments   what a layer reads: second moments and sampled patches of both networks
matching  biases that bring the mean of each output channel back
rebuild   the hook of the walk that does both for every layer
"""

from tfq_ext.repair.rebuild.rebuild import Rebuilder, Rebuilt, rebuilder, wants_rebuild

__all__ = ["Rebuilder", "Rebuilt", "rebuilder", "wants_rebuild"]

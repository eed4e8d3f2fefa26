"""Representative and evaluation data: whatever the user has, as a checked stream of samples.

    data --open_samples--> Samples --for--> Sample (inputs with the batch axis, key, label)

Memory is that of one sample, whatever their number (a .npz holds its members, numpy's way).
"""

from tfq_ext.samples.digest import Digest
from tfq_ext.samples.labels import labels_beside
from tfq_ext.samples.opening import OPENERS, open_samples
from tfq_ext.samples.preprocess import Preprocess
from tfq_ext.samples.progress import progress
from tfq_ext.samples.samples import Samples
from tfq_ext.samples.spec import InputSpec, Sample, owned
from tfq_ext.samples.value_range import range_warning

__all__ = [
    "OPENERS",
    "Digest",
    "InputSpec",
    "Preprocess",
    "Sample",
    "Samples",
    "labels_beside",
    "open_samples",
    "progress",
    "range_warning",
    "owned",
]

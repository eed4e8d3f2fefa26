"""Which ranges a calibrator got wrong, what that costs, and where the noise comes from.

float model --- TFLiteConverter's own calibrator --> recorded ranges --+
     |                                                                 +-- Audit
     +--------- every tensor observed, exactly ------> true ranges ----+
(or, in place of the recorded ranges, the grids of a finished integer file)
"""

from tfq_ext.repair.audit.story import audit
from tfq_ext.repair.audit.values import Audit

__all__ = ["Audit", "audit"]

"""How good a .tflite is on data, and how far from a reference, with honest intervals.

measure    one candidate, any task, in worker processes that may die     -> AccuracyReport
evaluate   several models at once, here, for who trusts them             -> Accuracy by name
"""

from tfq_ext.validation.accuracy.compared import Accuracy, evaluate
from tfq_ext.validation.accuracy.measure import measure
from tfq_ext.validation.accuracy.tasks import TASKS
from tfq_ext.validation.accuracy.values import AccuracyReport, Changed, ClassRow, MetricRow

__all__ = [
    "TASKS",
    "Accuracy",
    "AccuracyReport",
    "Changed",
    "ClassRow",
    "MetricRow",
    "evaluate",
    "measure",
]

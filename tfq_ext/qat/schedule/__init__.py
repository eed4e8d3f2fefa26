"""What happens when in quantization-aware training: one Keras callback."""

from tfq_ext.qat.schedule.advice import fine_tuning_rate
from tfq_ext.qat.schedule.callback import Change, Schedule
from tfq_ext.qat.schedule.oscillation import Dampen, Freeze

__all__ = ["Change", "Dampen", "Freeze", "Schedule", "fine_tuning_rate"]

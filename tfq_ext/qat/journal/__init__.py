"""What happens inside the quantizers while they train: a callback that writes, and a reader."""

from tfq_ext.qat.journal.callback import Journal
from tfq_ext.qat.journal.reading import Log, read_journal

__all__ = ["Journal", "Log", "read_journal"]

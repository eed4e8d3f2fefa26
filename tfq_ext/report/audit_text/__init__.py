"""An audit for people: `show` on a console, `to_text` as plain text."""

from tfq_ext.report.audit_text.page import show, to_text

__all__ = ["show", "to_text"]

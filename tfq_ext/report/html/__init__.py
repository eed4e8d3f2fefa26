"""A Validation as one self-contained page: no network, no script, light and dark, printable."""

from tfq_ext.report.html.page import page

__all__ = ["page"]

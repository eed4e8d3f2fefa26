"""Sensitivity and searches for people: tables and plots."""

from tfq_ext.report.search_text.found import found_text, show_found
from tfq_ext.report.search_text.layers import sensitivity_text, show_sensitivity
from tfq_ext.report.search_text.plots import plot_found, plot_sensitivity

__all__ = [
    "found_text",
    "plot_found",
    "plot_sensitivity",
    "sensitivity_text",
    "show_found",
    "show_sensitivity",
]

"""A Validation as text, markdown, JUnit XML, JSON, a page, and per-node data."""

from __future__ import annotations

from collections.abc import Callable

from tfq_ext.validation.verdict import Validation

# What `tfq validate` can write to a file, by option.
WRITERS: dict[str, Callable[[Validation], str]] = {
    "html": lambda v: v.to_html(),
    "junit": lambda v: v.to_junit(),
    "markdown": lambda v: v.to_markdown(),
    "report": lambda v: v.to_json() + "\n",
}

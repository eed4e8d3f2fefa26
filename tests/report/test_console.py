"""Reports as text, whatever rich thinks that it runs in."""

import rich.console
import rich.jupyter
from rich.text import Text

from tfq_ext.report.console import text_of


def test_in_jupyter_text_comes_back_and_nothing_is_displayed(monkeypatch):
    """There rich displays what is printed, so that print(report) gave an empty line."""
    shown = []
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(rich.jupyter, "display", lambda *args: shown.append(args))
    said = text_of(lambda console: console.print(Text("a [b]  \nc")), width=20)
    assert said == "a [b]\nc\n"
    assert not shown

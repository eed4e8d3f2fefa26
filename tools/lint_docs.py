"""Write docs/reference/lint_rules.md from the tables of rules.

python tools/lint_docs.py           # writes the page
python tools/lint_docs.py --check   # exit 1 if the page is not what the tables say
"""

from __future__ import annotations

import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "lint_rules.md"


def page() -> str:
    """The text of the page: lint's own chapters, then the rules of other checks."""
    from tfq_ext.report.lint_text import markdown
    from tfq_ext.validation.lint import CHAPTERS, LINT_RULES, known_rules

    chapters = {
        heading: [(entry.rule, entry.needs) for entry in entries]
        for heading, entries in CHAPTERS.items()
    }
    others = [(rule, "") for name, rule in known_rules().items() if name not in LINT_RULES]
    if others:
        chapters["Found by other checks of `tfq validate`"] = others
    return markdown(chapters)


def main() -> int:
    """Write or check the page."""
    if "--check" in sys.argv[1:]:
        same = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page()
        if not same:
            print(f"{PAGE} is out of date: run python tools/lint_docs.py", file=sys.stderr)
        return 0 if same else 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

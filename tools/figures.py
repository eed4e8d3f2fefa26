"""The figures of README and guide, from recorded results, in one style (tools/_figures.py).

    python tools/figures.py                draw all into docs/figures
    python tools/figures.py accuracy       some of them

Results lie in docs/results/*.json, as `tools/bench_accuracy.py --json` wrote them. Figures of
training and of the whitepaper are drawn by `bench_qat.py` and `reproduce_whitepaper.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _figures import LOOKS, Look, figure
from _flow import draw_flow

ROOT = Path(__file__).resolve().parent.parent
RESULTS, FIGURES = ROOT / "docs" / "results", ROOT / "docs" / "figures"

NETWORKS = {"MobileNetV2": "mobilenet_v2.json", "EfficientNet-Lite0": "efficientnet_lite0.json"}
# How a row's name begins -> whose it is and how its bars look.
MAKERS: dict[str, tuple[str, Look]] = {
    "TFLiteConverter": ("TFLiteConverter", LOOKS[1]),
    "litert-quantizer": ("litert-quantizer", LOOKS[4]),
    "tfq_ext": ("tfq_ext", LOOKS[0]),
}


@dataclass(frozen=True)
class Bar:
    """One row of a bench.

    Args:
        name: of the bench, as recorded.
        title: in the figure.
    """

    name: str
    title: str

    @property
    def look(self) -> Look:
        """By who made the file."""
        return next(look for start, (_, look) in MAKERS.items() if self.name.startswith(start))


BARS = (
    Bar("TFLiteConverter, per layer", "TFLiteConverter, per layer"),
    Bar("TFLiteConverter", "TFLiteConverter, per channel"),
    Bar("litert-quantizer", "litert-quantizer, static int8"),
    Bar("tfq_ext, fast", "tfq_ext fast"),
    Bar("tfq_ext, int8", "tfq_ext int8"),
    Bar("tfq_ext, best", "tfq_ext best"),
    Bar("tfq_ext, int4", "tfq_ext int4 (half the size)"),
)


def recorded(file: str) -> dict[str, dict[str, Any]]:
    """name -> row of one bench."""
    rows = json.loads((RESULTS / file).read_text(encoding="utf-8"))["rows"]
    return {row["name"]: row for row in rows}


def accuracy(path: Path) -> None:
    """Share of answers that change, by file, on both networks; SQNR beside each bar."""
    with figure(path, width=8.4, height=3.0) as drawn:
        panels = drawn.subplots(1, len(NETWORKS), sharey=True)
        for axes, (network, file) in zip(panels, NETWORKS.items(), strict=True):
            _panel(axes, network, recorded(file))


def _panel(axes: Any, network: str, rows: dict[str, dict[str, Any]]) -> None:
    for place, bar in enumerate(reversed(BARS)):
        row = rows[bar.name]
        changed, look = 100 * (1 - row["agreement"]), bar.look
        axes.barh(place, changed, height=0.72, color=look.color, hatch=look.hatch, alpha=0.9)
        text = f"{changed:.1f} %, {row['sqnr_db']:.1f} dB"
        axes.text(changed + 0.3, place, text, va="center")
    axes.set(title=network, xlim=(0, 21), xlabel="% of the float network's answers that change")
    axes.set_yticks(range(len(BARS)), [bar.title for bar in reversed(BARS)])
    axes.grid(visible=False, axis="y")


FIGURES_BY_NAME: dict[str, tuple[str, Callable[[Path], None]]] = {
    "accuracy": ("accuracy.png", accuracy),
    "choosing": ("choosing.svg", draw_flow),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[[], *FIGURES_BY_NAME], metavar="NAME")
    parser.add_argument("--out", type=Path, default=FIGURES, help="folder (default: docs/figures)")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.names or FIGURES_BY_NAME:
        file, draw = FIGURES_BY_NAME[name]
        draw(given.out / file)
        print(f"wrote {given.out / file}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

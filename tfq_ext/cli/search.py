"""`tfq search`: how many bits each layer gets, under budgets, as a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tfq_ext.cli import measuring
from tfq_ext.cli.errors import EXIT_CODES

EPILOG = f"""\b
Examples:
  tfq search model.tflite --data samples.npz --max-size 1.2MB -o mixed.toml
  tfq search model.keras --data images/ --min-sqnr 20dB -o mixed.toml --plot curve.png
  tfq search model.tflite --data x.npy --evaluation test.npz --max-drop 0.5% -o mixed.toml
  tfq search model.tflite --data x.npy --max-latency 5ms --save-costs costs.json -o mixed.toml
  tfq quantize model.tflite --data samples.npz --recipe mixed.toml

{EXIT_CODES}"""


@click.command(epilog=EPILOG)
@click.argument("model")
@click.option("--max-size", metavar="SIZE", help="Of the file, such as 1.2MB.")
@click.option("--max-latency", metavar="TIME", help="Of one run here (or by --costs), such as 5ms.")
@click.option("--min-sqnr", metavar="DB", help="Of the outputs; bytes are then made few.")
@click.option("--max-drop", metavar="SHARE", help="Of the main metric; bytes are then made few.")
@click.option(
    "-o",
    "--recipe-output",
    "target",
    type=click.Path(path_type=Path),
    help="The .toml or .json to write.  [default: MODEL.mixed.toml, here]",
)
@click.option(
    "--choices",
    metavar="LIST",
    help="Of w4, w8, a16 (16-bit activations), float.  [default: w4,w8,float; with "
    "--max-latency also a16]",
)
@click.option("--costs", metavar="FILE", help="Times by layer and width, as --save-costs writes.")
@click.option("--save-costs", type=click.Path(path_type=Path), help="Write the times used.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw size against SQNR.")
@click.option(
    "--points",
    type=click.IntRange(min=0, max=100),
    default=7,
    show_default=True,
    help="Budgets in between whose files are measured for the curve.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1, max=50),
    default=5,
    show_default=True,
    help="Files that may be made and measured.",
)
@measuring.measuring_options
@click.option("--all", "everything", is_flag=True, help="Show every layer.")
@measuring.machine_options
def search(
    model: str,
    target: Path | None,
    choices: str | None,
    save_costs: Path | None,
    plot: Path | None,
    everything: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Choose the bits of every layer of MODEL under budgets, and write them as a recipe.

    Every width of every layer is measured alone, integer programming chooses, the file is made
    and measured, and where the forecast was wrong the budget is tightened. `tfq quantize` makes
    the same file of the recipe, given the same --data and --preprocess.
    """
    stem = Path(model).resolve().name if Path(model).is_dir() else Path(model).stem
    target = target or Path(f"{stem}.mixed.toml")
    if target.suffix.lower() not in (".toml", ".json"):
        raise click.UsageError(f"-o {target}: a recipe file ends in .toml or .json.")
    if save_costs is not None and not (chosen["max_latency"] or chosen["costs"]):
        raise click.UsageError("--save-costs writes the times of --max-latency; give both.")
    measuring.check_targets(model, chosen, target, save_costs, plot)
    if plot is not None:
        from tfq_ext.report.search_text.plots import check_plot

        check_plot(plot)
    if choices is not None:
        chosen["choices"] = tuple(part.strip() for part in choices.split(",") if part.strip())
    import tfq_ext

    found = tfq_ext.find_recipe(model, **measuring.prepared(chosen, quiet=as_json))
    found.save(target)
    if plot is not None:
        found.plot(plot)
    if save_costs is not None and found.costs is not None:
        found.costs.save(save_costs)
    tell(found, {"recipe": target, "costs": save_costs, "plot": plot}, everything, as_json)


def tell(found: Any, written: dict[str, Path | None], everything: bool, as_json: bool) -> None:
    """A page for people, all of it for machines."""
    if as_json:
        click.echo(found.to_json())
        return
    from tfq_ext.report.console import stdout
    from tfq_ext.report.search_text import show_found

    show_found(found, stdout(), **({"top": None} if everything else {}))
    stdout().print()
    for name, path in written.items():
        if path is not None:
            stdout().print(f"{name}: {path}", soft_wrap=True)

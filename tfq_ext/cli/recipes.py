"""`tfq recipes`: the table of presets, or one of them as TOML."""

from __future__ import annotations

import click

from tfq_ext.cli import options
from tfq_ext.cli.errors import EXIT_CODES

EPILOG = f"""\b
Examples:
  tfq recipes
  tfq recipes int8 > my.toml      then edit, and: tfq quantize model.keras --recipe my.toml ...
  tfq recipes my.toml             checks a file, and fills in what it leaves out

{EXIT_CODES}"""


@click.command(epilog=EPILOG)
@click.argument("name", required=False)
@options.as_json
@options.verbose
def recipes(name: str | None, as_json: bool, verbose: bool) -> None:
    """List the recipes, or print the recipe NAME (or the file NAME) as TOML."""
    from tfq_ext.recipe import describe_presets, load_recipe
    from tfq_ext.report.machine import dumps

    if name is not None:
        recipe = load_recipe(name)
        click.echo(recipe.to_json() if as_json else recipe.to_toml(), nl=False)
        return
    rows = describe_presets()
    if as_json:
        click.echo(dumps([row._asdict() for row in rows]))
        return
    from tfq_ext.report.console import stdout
    from tfq_ext.report.tables import recipe_table

    stdout().print(recipe_table(rows))
    click.echo("`tfq recipes NAME` prints one as TOML, to edit and give to --recipe.")

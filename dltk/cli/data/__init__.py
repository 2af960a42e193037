"""`dltk data`: shards made, indexed, looked at and measured. A file for each command."""

import typer

from dltk.cli.data import bench, colours, index, listing, order, pack, prepare, show, verify

commands = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="Pack, index, verify, show and measure data.")
for command in (prepare, pack, index, verify, show, colours, order, bench, listing):
    group.add_typer(command.commands)
commands.add_typer(group, name="data", rich_help_panel="Data")

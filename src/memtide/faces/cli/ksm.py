"""``memtide ksm``."""

from typing import Final

import click

from memtide.faces.cli.lazy import Command, LazyGroup

__all__ = ["ksm"]

COMMANDS: Final[dict[str, Command]] = {}


@click.group(cls=LazyGroup, rows=COMMANDS, invoke_without_command=True)
@click.pass_context
def ksm(ctx: click.Context) -> None:
    """Show what KSM saves and costs, and whether it is worth it."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())

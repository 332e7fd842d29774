"""The reference page of the commands, made of their own help: ``python -m memtide.faces.cli.reference``."""

from typing import Final

import click

from memtide.faces.cli.main import cli

__all__ = ["page"]

WIDTH: Final = 100
INTRODUCTION: Final = """\
# The command line

Made by `python -m memtide.faces.cli.reference > docs/reference/cli.md`; a test keeps it current.
"""


def page() -> str:
    """Return the page, in Markdown."""
    return "\n".join([INTRODUCTION, *_sections(cli, ("memtide",))])


def _sections(command: click.Command, path: tuple[str, ...]) -> list[str]:
    context = click.Context(command, info_name=" ".join(path), terminal_width=WIDTH, max_content_width=WIDTH)
    context.help_option_names = ["-h", "--help"]
    heading = "#" * (len(path) + 1)
    sections = [f"{heading} {' '.join(path)}\n\n```\n{command.get_help(context)}\n```\n"]
    if isinstance(command, click.Group):
        names = command.list_commands(context)
        children = [(name, command.get_command(context, name)) for name in names]
        sections += [
            section
            for name, child in children
            if child is not None and not child.hidden
            for section in _sections(child, (*path, name))
        ]
    return sections


if __name__ == "__main__":
    click.echo(page(), nl=False)

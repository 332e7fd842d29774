"""``memtide config``: check the settings, show what is in force, write the default file."""

from pathlib import Path

import click
import msgspec

from memtide.runtime.settings_file import Given, Loaded, load
from memtide.runtime.settings_pages import default_file, effective, in_force, reference_page

__all__ = ["config"]

FILE = click.argument("file", required=False, type=click.Path(path_type=Path))


@click.group()
def config() -> None:
    """Check and show the settings."""


@config.command()
@FILE
def check(file: Path | None) -> None:
    """Find every mistake in the settings (in FILE and its drop-ins, or in the installed ones).

    Ends with status 3 when there is a mistake.
    """
    loaded = load(file)
    count = sum(given.origin.line is not None for given in loaded.values.values()) + sum(map(len, loaded.rules))
    files = ", ".join(map(str, loaded.files))
    click.echo(f"ok: {count} settings from {files}" if files else "ok: there is no settings file; all are defaults")


@config.command()
@FILE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--default", "as_default", is_flag=True, help="Print the default file, each setting with its comment.")
def show(file: Path | None, *, as_json: bool, as_default: bool) -> None:
    """Show the settings in force (of FILE and its drop-ins, or the installed ones), and where each was written."""
    if as_default:
        click.echo(default_file(), nl=False)
        return
    loaded = load(file)
    click.echo(_json(loaded) if as_json else in_force(loaded), nl=as_json)


@config.command(hidden=True)
def reference() -> None:
    """Write the reference page of the settings, in Markdown."""
    click.echo(reference_page(), nl=False)


def _json(loaded: Loaded) -> str:
    content = {
        "files": [str(file) for file in loaded.files],
        "settings": {key: _entry(given) for key, given in loaded.values.items()},
        "rules": [{name: _entry(given) for name, given in rule.items()} for rule in loaded.rules],
    }
    return msgspec.json.format(msgspec.json.encode(content)).decode()


def _entry(given: Given) -> dict[str, object]:
    return {"value": effective(given), "origin": given.origin.place, "line": given.origin.line}

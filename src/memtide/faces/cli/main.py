"""``memtide``: the command line. A command's module is loaded when it is called, so that help comes at once."""

import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from memtide import __version__
from memtide.errors import MemtideError
from memtide.faces.cli.lazy import Command, LazyGroup

__all__ = ["COMMANDS", "cli", "main"]


COMMANDS: Final = {
    "run": Command("run", "Watch the host and its guests, and act on them if told to."),
    "status": Command("status", "Show the host and its guests."),
    "why": Command("why", "Say why a guest has the memory it has, and who took it."),
    "log": Command("log", "Show what was done, why, and what came of it."),
    "ksm": Command("ksm", "Show what KSM saves and costs, and whether it is worth it."),
    "set": Command("set", "Set a guest's memory by hand."),
    "restore": Command("restore", "Put back what memtide changed."),
    "record": Command("record", "Write down what the host and its guests go through, for `replay`."),
    "replay": Command("replay", "Ask laws about a recorded host, and show where they differ."),
    "simulate": Command("simulate", "Play a scenario on a simulated host under several laws, and compare them."),
    "config": Command("config", "Show, check and explain the settings."),
}

EXIT_STATUSES: Final = """\b
Exit status:
  0  done
  1  something failed; a sentence on stderr says what, and what to do next
  2  the command line, or a size or duration in it, is wrong
  3  the settings are wrong
  4  libvirt, the host or a trace cannot be read
  5  this user may not do that
  6  the guest, libvirt or the kernel refused a change
  7  the database cannot be used, or a trace not be written
  8  another memtide already serves this host
  9  no daemon answers, or it does not know such a guest
130  ended by Ctrl-C"""

INTERRUPTED: Final = 130


@click.group(
    cls=LazyGroup,
    rows=COMMANDS,
    invoke_without_command=True,
    epilog=EXIT_STATUSES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "--version", message="memtide %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Pack more KVM guests into a host's memory, safely, and see why.

    The daemon (`memtide run`) watches the host and its guests and moves memory between them. It changes nothing
    unless told to (--act). The other commands ask the daemon.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit status."""
    try:
        result = cli.main(args=arguments, prog_name="memtide", standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except MemtideError as error:
        _tell(error.message, error.hint)
        sys.exit(error.exit_status)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        _tell(error.format_message().rstrip("."), f"see `{context.command_path if context else 'memtide'} --help`")
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(INTERRUPTED)
    except OSError as error:
        # what could not be written, to a full disk or a closed pipe, cannot be mended by a traceback
        _tell(f"the output cannot be written: {error.strerror or error}", "")
        os._exit(MemtideError.exit_status)


def _tell(message: str, hint: str) -> None:
    click.echo(f"memtide: {message}", err=True)
    if hint:
        click.echo(f"  {hint}", err=True)

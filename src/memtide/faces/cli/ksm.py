"""``memtide ksm``."""

import contextlib
from pathlib import Path
from typing import Final

import click

from memtide.errors import UsageError
from memtide.faces.cli.ksm_text import ksm_lines
from memtide.faces.cli.lazy import Command, LazyGroup
from memtide.faces.cli.options import PATH, control_option, json_option
from memtide.faces.cli.terminal import columns, print_json, print_lines
from memtide.runtime.control.client import Client, NoDaemonError
from memtide.views.ksm_schema import KsmReport

__all__ = ["ksm"]

COMMANDS: Final[dict[str, Command]] = {
    "unmerge": Command("ksm_unmerge", "Undo the merging in stages, if the host has the memory for it."),
}


@click.group(cls=LazyGroup, rows=COMMANDS, invoke_without_command=True)
@json_option
@click.option("--root", type=PATH, metavar="DIR", help="Read a captured tree, DIR/proc and DIR/sys, and ask no daemon.")
@control_option
@click.pass_context
def ksm(ctx: click.Context, *, as_json: bool, root: Path | None, control: Path | None) -> None:
    """Show what KSM saves and costs, and whether it is worth it.

    KSM lets guests share memory pages that are alike. For each guest: how much of it is merged (every sharer counted
    in full: never add these up), its own part of the saving (RSS - PSS, and how old that figure is), pages of zeros,
    and what it saves less the kernel's bookkeeping for it. A question mark is something that is not known.

    Without a daemon this host is read as it is, and guests are the QEMU processes found on it.
    """
    if ctx.invoked_subcommand is not None:
        # --json and --control the subcommand takes from this context; another host's pages nobody can take apart
        if root is not None:
            raise UsageError("--root: only the report can be made of a captured tree", "leave one of them out")
        return
    report = _report(root, control)
    if as_json:
        print_json(report)
    else:
        print_lines(ksm_lines(report, width=columns()))


def _report(root: Path | None, control: Path | None) -> KsmReport:
    if root is not None and not (root / "proc" / "meminfo").is_file():
        raise UsageError(f"--root: there is no {root}/proc/meminfo", "DIR is a folder with a host's proc and sys in it")
    if root is None:
        with contextlib.suppress(NoDaemonError):
            return Client.find(control).ksm()
    # the readers are loaded only when no daemon has read it all already
    from memtide.runtime.ksm_look import HERE, look  # noqa: PLC0415
    from memtide.views.ksm import ksm_report  # noqa: PLC0415

    return ksm_report(look(root or HERE))

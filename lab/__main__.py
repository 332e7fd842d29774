"""`python -m lab up | check | clean`."""

import sys
import time
from collections.abc import Callable, Iterable
from typing import Final

import click

from lab.demo import show
from lab.errors import LabError
from lab.guest import Guest, GuestSpec
from lab.host import available_bytes
from lab.lab import Lab, clean, locked
from lab.packages import why_not
from lab.report import Report
from lab.script import parse, parse_size
from lab.scripts import demo

_MIB: Final = 1 << 20
_TABLE_EVERY_S: Final = 2.0
_STALE_S: Final = 3.0


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size(str(value))
        except LabError as problem:
            self.fail(str(problem), param, ctx)


@click.group()
def main() -> None:
    """Real micro guests under a private libvirt."""


@main.command()
@click.option("--guests", default=8, show_default=True, type=click.IntRange(1, 64), help="How many.")
@click.option("--size", "size_bytes", default="1GiB", show_default=True, type=_Size(), help="Each one's memory.")
@click.option("--host-available", "host_bytes", type=_Size(), help="Make the host this small (huge pages).")
@click.option("--host-swap", "swap_bytes", default="0B", type=_Size(), help="Compressed swap for the host.")
@click.option("--script", help="What all guests do; default: the demo's eight scripts in turn.")
@click.option("--wait", "wait_s", default=0.0, help="Seconds to wait for another lab to end.")
def up(  # noqa: PLR0913  one for each option
    *, guests: int, size_bytes: int, host_bytes: int | None, swap_bytes: int, script: str | None, wait_s: float
) -> None:
    """Boot guests and show their reports until Ctrl-C; then leave nothing behind."""
    if script is None:
        specs = demo(guests, size_bytes)
    else:
        parse(script)
        specs = [GuestSpec(size_bytes=size_bytes, script=script)] * guests
    lab = Lab(
        specs,
        progress=click.echo,
        host_available_bytes=host_bytes,
        host_swap_bytes=swap_bytes,
        wait_s=wait_s,
    )
    with lab:
        click.echo(f"virsh -c '{lab.uri}' list")
        while True:
            time.sleep(_TABLE_EVERY_S)
            click.echo("\n".join(_table(lab.guests)))


@main.command("demo", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo_(arguments: tuple[str, ...]) -> None:
    """Run memtide on the demo's eight guests; ARGUMENTS go to `memtide run`."""
    sys.exit(show(arguments, click.echo))


@main.command("clean")
def clean_() -> None:
    """Remove what a crashed lab left: guests, libvirtd, huge pages, swap, directories."""
    if reason := why_not():
        raise LabError(reason)
    with locked():
        clean()


@main.command()
def check() -> None:
    """Say whether the lab can run here, and what to do if not."""
    reason = why_not()
    click.echo(reason or "the lab can run here")
    sys.exit(1 if reason else 0)


_COLUMNS: Final[tuple[tuple[str, Callable[[Report], object]], ...]] = (
    ("total", lambda r: r.mem_total_bytes // _MIB),
    ("usable", lambda r: r.mem_available_bytes // _MIB),
    ("holds", lambda r: r.anon_bytes // _MIB),
    ("target", lambda r: r.target_bytes // _MIB),
    ("cache", lambda r: r.cached_bytes // _MIB),
    ("swap", lambda r: r.swap_used_bytes // _MIB),
    ("majflt", lambda r: r.major_faults),
    ("p50 ms", lambda r: "-" if r.touch_p50_ms is None else f"{r.touch_p50_ms:.1f}"),
    ("p99 ms", lambda r: "-" if r.touch_p99_ms is None else f"{r.touch_p99_ms:.1f}"),
    ("kills", lambda r: r.workload_kills),
)


def _table(guests: Iterable[Guest]) -> list[str]:
    header = ["resident", *(name for name, _ in _COLUMNS)]
    lines = ["", f"host available {available_bytes() // _MIB} MiB; sizes in MiB"]
    lines.append(f"{'guest':16}" + "".join(f"{name:>9}" for name in header))
    for guest in guests:
        if not guest.alive:
            lines.append(f"{guest.name:16} gone")
            continue
        report = guest.report()
        cells = [guest.resident_bytes() // _MIB, *(read(report) for _, read in _COLUMNS)]
        age_s = time.monotonic() - report.received_s
        late = f"  silent for {age_s:.0f} s" if age_s > _STALE_S else ""
        lines.append(f"{guest.name:16}" + "".join(f"{cell:>9}" for cell in cells) + late)
    return lines


if __name__ == "__main__":
    try:
        main()
    except LabError as problem:
        click.echo(f"lab: {problem}", err=True)
        sys.exit(1)

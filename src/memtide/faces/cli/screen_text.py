"""The live screen: the host on top, the guests below, what happened lately in what room is left."""

import os
from collections.abc import Sequence
from datetime import tzinfo
from typing import Final

from memtide.faces.cli.log_text import brief_line, log_lines, name_width
from memtide.faces.cli.status_text import WIDE, guest_lines, head_lines
from memtide.faces.cli.terminal import Line, Span, line
from memtide.views.schema import GuestView, LogView, StatusView

__all__ = ["screen_lines"]

LOG_LEAST: Final = 4
"""Lines that stay for what happened, however many guests there are."""
TALL: Final = 32
"""Under this the host block is told in few lines."""
CALM: Final = {"content", "at-maximum", "exempt", "not-running"}


def screen_lines(
    view: StatusView, latest: Sequence[LogView], size: os.terminal_size, zone: tzinfo, *, asking: str = ""
) -> list[Line]:
    """Return as many lines as the terminal has.

    Args:
        view: the moment.
        latest: log entries, oldest first.
        size: of the terminal.
        zone: of whoever reads.
        asking: options that commands in another terminal need to find this daemon.
    """
    head = head_lines(view, width=size.columns, drawn=True, short=size.lines < TALL)
    for_guests = size.lines - len(head) - LOG_LEAST - 3
    guests = _guests(view.guests, size.columns, max(2, for_guests))
    top = [*head, line(), *guests, line()]
    rows = _log(latest, size.columns, zone=zone, now_s=view.daemon.taken_at_s)
    room = max(0, size.lines - len(top) - 1)
    shown = rows[-room:] if room else []
    empty = [line()] * max(0, room - len(shown))
    waiting = [line(Span("nothing has happened yet", "dim"))] if not rows and room else []
    footer = f"q ends memtide; `memtide why VM{asking}` and `memtide log{asking}` in another terminal tell more"
    return [*top, *shown, *waiting, *empty[len(waiting) :], line(Span(footer, "dim"))][: size.lines]


def _log(latest: Sequence[LogView], width: int, *, zone: tzinfo, now_s: float) -> list[Line]:
    if width >= WIDE:
        return log_lines(latest, zone=zone, now_s=now_s, width=None)
    return [brief_line(entry, zone=zone, names=name_width(latest)) for entry in latest]


def _guests(guests: Sequence[GuestView], width: int, room: int) -> list[Line]:
    """Return the table; when it is too long those with something to tell stay."""
    if len(guests) + 1 <= room:
        return guest_lines(guests, width=width, wide=width >= WIDE)
    ranked = sorted(guests, key=lambda guest: (guest.reason in CALM, -(guest.host_cost_bytes or 0)))
    kept = {guest.uuid for guest in ranked[: max(1, room - 2)]}
    shown = [guest for guest in guests if guest.uuid in kept]
    rest = line(Span(f"and {len(guests) - len(shown)} more, calm or smaller", "dim"))
    return [*guest_lines(shown, width=width, wide=width >= WIDE), rest]

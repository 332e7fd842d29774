"""Why one guest has the memory it has: "did *you* take it?" in one answer, with the way to stop it."""

import difflib
from collections.abc import Sequence

from memtide.errors import ControlError
from memtide.model.base import Model
from memtide.model.record import LogEntry
from memtide.units import GIB, MIB, format_duration, format_size
from memtide.views.live import Live
from memtide.views.log import log_view
from memtide.views.schema import GuestView, StatusView, WhyView
from memtide.views.status import status
from memtide.views.words import what_next

__all__ = ["WhyText", "find_guest", "why", "why_text"]


class WhyText(Model, frozen=True, kw_only=True):
    """The answer in words, part by part."""

    headline: str
    verdict: str
    host: str
    figures: tuple[tuple[str, str, str], ...]
    """Name, size, what it means."""
    next: str
    advice: tuple[tuple[str, str], ...]
    """What one may want, and how to get it."""


def find_guest(view: StatusView, vm: str) -> GuestView:
    """Return the guest of this name or UUID.

    Raises:
        ControlError: there is none; the hint names those that are called alike.
    """
    for guest in view.guests:
        if vm in {guest.name, guest.uuid}:
            return guest
    alike = difflib.get_close_matches(vm, [guest.name for guest in view.guests], n=3)
    hint = f"did you mean {', '.join(alike)}?" if alike else "`memtide status` lists the guests that memtide sees"
    raise ControlError(f"memtide sees no guest called {vm!r}", hint)


def why(live: Live, vm: str, actions: Sequence[LogEntry]) -> WhyView:
    """Return the answer about one guest.

    Args:
        live: the moment it is about.
        vm: name or UUID.
        actions: what was done to the guest lately, oldest first.

    Raises:
        ControlError: there is no such guest.
    """
    view = status(live)
    guest = find_guest(view, vm)
    reason = next(verdict.reason for verdict in live.decision.verdicts if verdict.uuid == guest.uuid)
    return WhyView(
        guest=guest,
        host=view.host,
        daemon=view.daemon,
        next=what_next(reason),
        actions=tuple(log_view(action) for action in actions),
    )


def why_text(view: WhyView) -> WhyText:
    """Return the answer in words."""
    guest = view.guest
    return WhyText(
        headline=_headline(view),
        verdict=_verdict(guest),
        host=f"{view.host.state}: {view.host.means}",
        figures=tuple(
            (name, unknown if value is None else format_size(value), meaning)
            for name, value, unknown, meaning in _figures(guest)
        ),
        next=view.next,
        advice=_advice(view),
    )


def _headline(view: WhyView) -> str:
    guest = view.guest
    if guest.current_bytes is None or guest.maximum_bytes is None:
        return f"{guest.name} did not answer; what it has is not known"
    taken_bytes = guest.maximum_bytes - guest.current_bytes
    if taken_bytes <= 0:
        return f"{guest.name} has all of its {format_size(guest.maximum_bytes)}; nothing is taken from it now"
    has = f"{guest.name} has {format_size(guest.current_bytes)} of its {format_size(guest.maximum_bytes)}"
    if guest.target_bytes is None and not any(action.change_bytes for action in view.actions):
        return f"{has}; memtide knows of no change that it made to it"
    return f"{has}; {format_size(taken_bytes)} are taken from it now"


def _verdict(guest: GuestView) -> str:
    """Return the reason; the word for what happens goes before it, unless the reason begins with it."""
    held = "" if guest.held_for_s is None else f"; an operator's size holds for {format_duration(guest.held_for_s)}"
    said = guest.why if guest.why.startswith(guest.doing) else f"{guest.doing}: {guest.why}"
    return said + held


def _figures(guest: GuestView) -> tuple[tuple[str, int | None, str, str], ...]:
    """Return name, size, what is said without one, what it means."""
    age = "" if guest.stats_age_s is None else f", {format_duration(guest.stats_age_s)} old"
    own = f"own figures: {guest.stats}{age}"
    return (
        ("maximum", guest.maximum_bytes, "unknown", "with nothing taken"),
        ("current", guest.current_bytes, "unknown", "what it has now"),
        ("target", guest.target_bytes, "none", "what memtide last asked for"),
        ("used", guest.used_bytes, "unknown", f"without its caches ({own})"),
        ("usable", guest.usable_bytes, "unknown", "what it could still use without swapping"),
        ("demand", guest.demand_bytes, "unknown", "estimated need, with its kernel and what it swapped out"),
        ("keep", guest.keep_bytes, "unknown", "demand with a cushion: nothing below this is taken"),
        ("floor", guest.floor_bytes, "unknown", "never below this, whatever happens"),
        ("host cost", guest.host_cost_bytes, "unknown", "what it costs the host now, QEMU included"),
        ("slack", guest.slack_bytes, "unknown", "what the host could gain from it"),
    )


def _advice(view: WhyView) -> tuple[tuple[str, str], ...]:
    guest = view.guest
    rule = f'[[rule]]\nmatch = "{guest.name}"\n'
    advice = []
    if guest.maximum_bytes is not None and guest.current_bytes != guest.maximum_bytes:
        asked = _writable(guest.maximum_bytes)
        advice.append(("give it back now and hold it for an hour", f"memtide set {guest.name} {asked} --for 1h"))
    if guest.reason != "exempt":
        advice.append(("never touch it (settings file)", f"{rule}manage = false"))
        floor_bytes = max(guest.demand_bytes or 0, guest.floor_bytes or 0)
        if floor_bytes > (guest.floor_bytes or 0):
            advice.append(("a higher floor (settings file)", f'{rule}floor = "{_writable(floor_bytes)}"'))
    return tuple(advice)


def _writable(size_bytes: int) -> str:
    """Return a size as it is written in a command or in the settings: whole GiB where it is some, else MiB."""
    return f"{size_bytes // GIB}GiB" if size_bytes % GIB == 0 else f"{size_bytes // MIB}MiB"

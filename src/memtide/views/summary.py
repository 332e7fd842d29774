"""What a run did, told at its end: memory moved, memory gained, trouble prevented."""

from memtide.model.action import Result
from memtide.units import format_duration, format_ratio, format_size
from memtide.views.live import Live
from memtide.views.schema import StatusView
from memtide.views.status import status

__all__ = ["summary"]


def summary(live: Live) -> tuple[str, ...]:
    """Return a few lines for a person who ends a run."""
    view = status(live)
    ran = format_duration(max(0.0, live.now_s - live.started_at_s))
    guests = _count(len(view.guests), "guest")
    verb = "acted" if live.acting else "only watched"
    lines = [f"memtide {verb} for {ran} on {guests} of {live.host_name}, mode {view.daemon.mode}"]
    lines += _moved(live) if live.acting else [f"  changed    nothing ({Result.NOT_SENT}); --act lets it act"]
    lines += _prevented(live) + _host(view)
    return tuple(lines)


def _moved(live: Live) -> list[str]:
    totals = live.totals
    failures = f", {totals.failures} of them without full success" if totals.failures else ""
    lines = [f"  acted      {_count(totals.actions, 'time')}{failures}"]
    if totals.taken_bytes:
        donors = _count(len(totals.donor_guests), "guest")
        lines.append(
            f"  taken      {format_size(totals.taken_bytes)} from {donors}; "
            f"the host really gained {format_size(totals.host_gained_bytes)}"
        )
    if totals.given_bytes:
        lines.append(f"  given      {format_size(totals.given_bytes)} to guests")
    return lines


def _prevented(live: Live) -> list[str]:
    totals = live.totals
    lines = []
    if totals.reliefs:
        names = ", ".join(sorted(totals.relieved_guests)) or "no guest"
        lines.append(f"  relieved   {_count(totals.reliefs, 'time')}, guests that were running out: {names}")
    if totals.kills is not None:
        killed = _count(totals.kills, "process", "processes") if totals.kills else "nothing"
        lines.append(f"  killed     {killed}, by the host's kernel for want of memory")
    return lines


def _host(view: StatusView) -> list[str]:
    host = view.host
    ratio = host.overcommit.configured_ratio
    has = f"{format_size(host.available_bytes)} available, reserve {format_size(host.reserve_bytes)}"
    lines = [f"  host now   {host.state}: {has}"]
    if ratio is not None:
        lines.append(f"  promised   {format_ratio(ratio)} of what the host can give")
    if host.ksm is not None and host.ksm.saved_bytes:
        lines.append(f"  merged     KSM saves {format_size(host.ksm.saved_bytes)}")
    return lines


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"

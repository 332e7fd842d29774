"""What is wanted at this moment: the operator's settings, guests' own metadata, and sizes set by hand."""

import msgspec

from memtide.model.guest import Guest
from memtide.model.limits import GuestRule, Hold, Limits
from memtide.runtime.settings import guest_rule

__all__ = ["Will"]


class Will:
    """The limits in force, asked for once a tick.

    Args:
        limits: from the settings; replaced by :meth:`reload`.
    """

    def __init__(self, limits: Limits) -> None:
        self._settings = limits
        self._holds: dict[str, Hold] = {}
        self._ksm_held_until_s: float | None = None
        self._own: dict[str, tuple[dict[str, str], GuestRule]] = {}
        self._complaints: list[tuple[str, str]] = []

    @property
    def period_s(self) -> float:
        """Return the time from one tick to the next."""
        return self._settings.period_s

    def reload(self, limits: Limits) -> None:
        """Take new settings; what was set by hand stays."""
        self._settings = limits

    def hold(self, uuid: str, hold: Hold) -> None:
        """Leave a guest at a size that an operator chose, until its time is over or it starves."""
        self._holds[uuid] = hold

    def release(self, uuid: str) -> None:
        """Let the law have a guest again."""
        self._holds.pop(uuid, None)

    def hold_ksm(self, until_s: float | None) -> None:
        """Hold ksmd off until then, because an operator had everything unmerged; ``None``: no longer."""
        self._ksm_held_until_s = until_s

    def complaints(self) -> list[tuple[str, str]]:
        """Return, once, the guests whose own metadata cannot be read: name and sentence."""
        complaints, self._complaints = self._complaints, []
        return complaints

    def at(self, now_s: float, guests: tuple[Guest, ...]) -> Limits:
        """Return the limits now; a guest's own rule stands last, so that its owner's "never" wins."""
        self._holds = {uuid: hold for uuid, hold in self._holds.items() if hold.until_s > now_s}
        own = tuple(self._own_rule(guest) for guest in guests if guest.traits.overrides)
        held_until_s = self._ksm_held_until_s
        if held_until_s is not None and held_until_s <= now_s:
            held_until_s = self._ksm_held_until_s = None
        if not own and not self._holds and held_until_s is None:
            return self._settings
        rules = (*self._settings.rules, *own)
        return msgspec.structs.replace(self._settings, holds=self._holds, rules=rules, ksm_held_until_s=held_until_s)

    def _own_rule(self, guest: Guest) -> GuestRule:
        overrides = guest.traits.overrides
        known = self._own.get(guest.uuid)
        if known is not None and known[0] == overrides:
            return known[1]
        rule, problems = guest_rule(guest.uuid, overrides)
        self._own[guest.uuid] = (overrides, rule)
        self._complaints += [(guest.name, f"{guest.name} is left alone: its metadata: {p}") for p in problems]
        return rule

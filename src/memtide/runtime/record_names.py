"""Names taken out of a trace before a law sees them, so that whatever it says is without them too.

A guest is ``guest-1``, ``guest-2``, ... in the order in which it was first seen, with a UUID made of that; its title
becomes its name, owners are ``owner-1``, ... Sizes, times and how guests are built stay: they are what is studied.
"""

import re
import uuid
from collections.abc import Callable, Iterable

import msgspec

from memtide.model.base import Missing
from memtide.model.guest import Guest
from memtide.model.limits import GuestRule, Limits
from memtide.model.snapshot import Absent, GuestSample
from memtide.ports import GuestSource, Notify
from memtide.runtime.record_will import WatchedWill

__all__ = ["NamelessGuests", "NamelessWill"]


class _Names:
    """Who is called what from now on."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._owners: dict[str, str] = {}
        self._words: dict[str, str] = {}
        self._known: re.Pattern[str] | None = None

    def name(self, guest_uuid: str, name: str) -> str:
        alias = f"guest-{self._numbers.setdefault(guest_uuid, len(self._numbers) + 1)}"
        if self._words.get(name) != alias:
            self._words |= {guest_uuid: self.uuid(guest_uuid), name: alias}
            self._known = None
        return alias

    def uuid(self, guest_uuid: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"memtide-trace/{self._numbers[guest_uuid]}"))

    def owner(self, owner: str | None) -> str | None:
        return None if owner is None else self._owners.setdefault(owner, f"owner-{len(self._owners) + 1}")

    def cleaned(self, text: str) -> str:
        """Return a sentence about guests with their new names."""
        if self._known is None:
            # the longest first: one name may begin with another
            words = "|".join(re.escape(word) for word in sorted(self._words, key=len, reverse=True))
            self._known = re.compile(rf"(?<![\w-])(?:{words})(?![\w-])")
        return self._known.sub(lambda found: self._words[found[0]], text)

    def missing(self, missing: Missing) -> Missing:
        return {field: self.cleaned(why) for field, why in missing.items()}


class NamelessGuests:
    """A guest source whose guests have no names of their own.

    Args:
        guests: the source.
    """

    def __init__(self, guests: GuestSource) -> None:
        self._guests = guests
        self._names = _Names()
        self.real: dict[str, Guest] = {}
        """The guests of the last sample as they are, by their new UUIDs."""

    async def start(self, notify: Notify) -> None:
        """Connect."""
        await self._guests.start(notify)

    async def sample(self, now_s: float) -> GuestSample:
        """Return the guests under their new names."""
        sample = await self._guests.sample(now_s)
        # all of them first: a sentence about one may name another
        for guest in sample.guests:
            self._names.name(guest.uuid, guest.name)
        for absent in sample.absent:
            self._names.name(absent.uuid, absent.name)
        self.real = {self._names.uuid(guest.uuid): guest for guest in sample.guests}
        return GuestSample(
            guests=tuple(self._guest(guest) for guest in sample.guests),
            absent=tuple(self._absent(absent) for absent in sample.absent),
        )

    async def stop(self) -> None:
        """Disconnect."""
        await self._guests.stop()

    def _guest(self, guest: Guest) -> Guest:
        names, traits = self._names, guest.traits
        alias = names.name(guest.uuid, guest.name)
        return msgspec.structs.replace(
            guest,
            uuid=names.uuid(guest.uuid),
            name=alias,
            traits=msgspec.structs.replace(
                traits, title=None if traits.title is None else alias, owner=names.owner(traits.owner)
            ),
            busy=None if guest.busy is None else names.cleaned(guest.busy),
            missing=names.missing(guest.missing),
        )

    def _absent(self, absent: Absent) -> Absent:
        return msgspec.structs.replace(
            absent,
            uuid=self._names.uuid(absent.uuid),
            name=self._names.name(absent.uuid, absent.name),
            reason=self._names.cleaned(absent.reason),
        )


class NamelessWill(WatchedWill):
    """What is wanted, by the guests' new names: settings rules match the real ones.

    Args:
        limits: from the settings.
        facts: what the daemon beside it keeps for itself, now.
        guests: knows who is who.
    """

    def __init__(self, limits: Limits, facts: Callable[[], dict[str, str]], guests: NamelessGuests) -> None:
        super().__init__(limits, facts)
        self._guests = guests

    def at(self, now_s: float, guests: tuple[Guest, ...]) -> Limits:
        """Return the limits now, with every rule written out for each guest that it matches."""
        real = {guest.uuid: self._guests.real[guest.uuid] for guest in guests}
        limits = super().at(now_s, tuple(real.values()))
        holds = {alias: limits.holds[guest.uuid] for alias, guest in real.items() if guest.uuid in limits.holds}
        return msgspec.structs.replace(limits, rules=tuple(_by_guest(limits.rules, real)), holds=holds)


def _by_guest(rules: Iterable[GuestRule], real: dict[str, Guest]) -> Iterable[GuestRule]:
    for rule in rules:
        for alias_uuid, guest in real.items():
            if rule.matches(name=guest.name, uuid=guest.uuid):
                yield msgspec.structs.replace(rule, match=alias_uuid)

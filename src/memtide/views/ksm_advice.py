"""What would change what KSM saves here: one function for each kind of finding, each total over what is known."""

from collections.abc import Iterable, Sequence
from typing import Final

from memtide.model.derived import guests_owners
from memtide.model.guest import Guest, GuestState
from memtide.model.ksm import Ksm
from memtide.units import format_ratio, format_size
from memtide.views.ksm_schema import KsmAdvice
from memtide.views.live import KsmScene

__all__ = ["advice", "owners", "why_not"]

WHY_NOT: Final = (
    ("huge_pages", "huge pages", ("uses huge pages", "use huge pages")),
    ("shared_memory", "shared memory", ("has shared memory backing", "have shared memory backing")),
    ("passthrough", "pinned by a device", ("is pinned by a passed-through device", "are pinned by devices")),
)
"""Trait that keeps the kernel from merging -> in a few words, in a sentence about one guest or several."""
KEPT_OUT: Final = ("", "nosharepages", ("is defined with <nosharepages/>", "are defined with <nosharepages/>"))
ALIKE_RATIO: Final = 0.25
STRANGER_RATIO: Final = 0.05
"""Guests with so much of their memory merged are alike; with so little they are strangers here."""
MANY_SHARERS: Final = 32
"""Sharers of one copy on average; guests of one image have as many as there are guests, zeros have no end."""
NAMED_MOST: Final = 5


def advice(scene: KsmScene) -> tuple[KsmAdvice, ...]:
    """Return all there is to say, the most urgent first."""
    ksm = scene.host.ksm
    findings = (*_writers(scene), *_tenants(scene), *_cannot_share(scene.guests), *_alike(scene.guests))
    return findings if ksm is None else (*findings, *_nodes(scene, ksm), *_zeros(ksm), *_chains(ksm))


def why_not(guest: Guest) -> str | None:
    """Return, in two words, why the kernel cannot merge anything of a guest; ``None``: it can."""
    if guest.state in {GuestState.CRASHED, GuestState.SHUTTING_DOWN}:
        return "not running"
    if not guest.traits.mergeable:
        return "nosharepages"
    return next((words for trait, words, _ in WHY_NOT if getattr(guest.traits, trait)), None)


def owners(guests: Iterable[Guest]) -> tuple[str, ...]:
    """Return who owns the guests that can share."""
    return guests_owners(guest for guest in guests if why_not(guest) is None)


def _writers(scene: KsmScene) -> list[KsmAdvice]:
    if not scene.host.ksm_writers:
        return []
    who = _names(scene.host.ksm_writers)
    text = f"{who} steers KSM on this host too, so memtide leaves it alone: stop one of the two"
    return [KsmAdvice(code="other-writer", text=text)]


def _tenants(scene: KsmScene) -> list[KsmAdvice]:
    whose = owners(scene.guests)
    if len(whose) < 2:  # noqa: PLR2004 - one owner has nobody to hide from
        return []
    text = (
        f"guests of {len(whose)} owners share pages ({_names(whose)}): by timing its own writes a guest can find out "
        "what another has in memory. ksm.tenants = apart keeps ksmd from scanning, <nosharepages/> keeps a guest out"
    )
    return [KsmAdvice(code="tenants", text=text)]


def _cannot_share(guests: Sequence[Guest]) -> list[KsmAdvice]:
    findings = []
    for trait, short, (one, several) in (*WHY_NOT, KEPT_OUT):
        members = [guest for guest in guests if why_not(guest) == short]
        if members:
            total_bytes = sum(guest.observed.current_bytes for guest in members)
            who = _names([guest.name for guest in members])
            text = f"{who} {one if len(members) == 1 else several}: {format_size(total_bytes)} cannot be merged"
            findings.append(KsmAdvice(code=(trait or "nosharepages").replace("_", "-"), text=text))
    return findings


def _alike(guests: Sequence[Guest]) -> list[KsmAdvice]:
    shares = {guest.name: _share(guest) for guest in guests if why_not(guest) is None}
    alike = [name for name, share in shares.items() if share is not None and share >= ALIKE_RATIO]
    strangers = [name for name, share in shares.items() if share is not None and share < STRANGER_RATIO]
    if not alike or not strangers:
        return []
    least = min(share for name in alike if (share := shares[name]) is not None)
    text = (
        f"{_names(alike)} look alike (at least {format_ratio(least)} of each is merged); {_names(strangers)} "
        f"{'shares' if len(strangers) == 1 else 'share'} almost nothing: another guest of the first kind would cost "
        "less here than elsewhere; where the others are makes no difference"
    )
    return [KsmAdvice(code="alike", text=text)]


def _share(guest: Guest) -> float | None:
    observed = guest.observed
    if observed.merged_bytes is None or not observed.rss_bytes:
        return None
    return observed.merged_bytes / observed.rss_bytes


def _nodes(scene: KsmScene, ksm: Ksm) -> list[KsmAdvice]:
    nodes = [node for node in scene.host.numa if node.total_bytes]
    if len(nodes) < 2 or not ksm.merge_across_nodes:  # noqa: PLR2004 - one node has no other
        return []
    more_bytes = min(ksm.pages_sharing, ksm.pages_shared * (len(nodes) - 1)) * ksm.page_size_bytes
    text = (
        f"{len(nodes)} NUMA nodes share their copies (merge_across_nodes=1), so guests read some memory from a far "
        f"node. With 0 each node keeps its own, for at most {format_size(more_bytes)} more: better latency where the "
        "nodes are about equally full. The kernel changes it only while nothing is merged"
    )
    return [KsmAdvice(code="merge-across-nodes", text=text)]


def _zeros(ksm: Ksm) -> list[KsmAdvice]:
    if ksm.use_zero_pages is not False or not _many(ksm):
        return []
    text = (
        f"one copy serves {_sharers(ksm):.0f} places on average, which as a rule means pages of zeros: "
        "use_zero_pages=1 maps those to the kernel's own zero page and needs no bookkeeping for them"
    )
    return [KsmAdvice(code="use-zero-pages", text=text)]


def _chains(ksm: Ksm) -> list[KsmAdvice]:
    most = ksm.max_page_sharing
    if most is None or _sharers(ksm) < most / 2:
        return []
    text = (
        f"one copy serves {_sharers(ksm):.0f} places on average and {most} at most (max_page_sharing): a higher limit "
        "needs fewer copies, but makes reclaim and migration of such a page slower"
    )
    return [KsmAdvice(code="max-page-sharing", text=text)]


def _sharers(ksm: Ksm) -> float:
    return 0.0 if not ksm.pages_shared else 1 + ksm.pages_sharing / ksm.pages_shared


def _many(ksm: Ksm) -> bool:
    return _sharers(ksm) >= MANY_SHARERS


def _names(names: Sequence[str]) -> str:
    if len(names) > NAMED_MOST:
        return f"{', '.join(names[: NAMED_MOST - 1])} and {len(names) - NAMED_MOST + 1} more"
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last

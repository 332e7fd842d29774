"""All laws by name: memtide's own and, to compare, those of other systems. Simulation, replay and bench read this."""

from collections.abc import Callable
from typing import Any, Final

from memtide.model.base import Model
from memtide.policy.peers.ksmtuned import Ksmtuned
from memtide.policy.peers.mom import Mom
from memtide.policy.peers.none import NoLaw
from memtide.policy.peers.proxmox import Proxmox
from memtide.policy.peers.qmemman import Qmemman
from memtide.policy.peers.squeezed import Squeezed
from memtide.policy.tide import Tide
from memtide.ports import Policy

__all__ = ["LAWS", "Law"]


class Law(Model, frozen=True, kw_only=True):
    """One law and how to get it."""

    name: str
    summary: str
    """One sentence for people."""
    source: str
    """Project, file and version that its formulas are from."""
    make: Callable[[], Policy[Any]]


PVE_SOURCE: Final = "proxmox/pve-manager 14a22df (2026-08), PVE/AutoBalloon.pm"

LAWS: Final[dict[str, Law]] = {
    law.name: law
    for law in (
        Law(
            name="tide",
            summary="takes what is resident and not needed while the host is short, and relieves starving guests first",
            source="memtide, policy/tide.py",
            make=Tide,
        ),
        Law(
            name="mom",
            summary="shrinks every guest by 5 % in 10 s while the host is under 20 % free, grows every guest otherwise",
            source="oVirt/mom 0.6.5 (3de1c8e, 2025-07), doc/balloon.rules and doc/ksm.rules",
            make=Mom,
        ),
        Law(
            name="proxmox",
            summary="holds the host at 80 % used: 100 MiB a guest in 10 s, by shares of what is above the minimum",
            source=PVE_SOURCE,
            make=Proxmox,
        ),
        Law(
            name="proxmox-90",
            summary="the same with the host held at 90 % used",
            source=PVE_SOURCE,
            make=lambda: Proxmox(90, "proxmox-90"),
        ),
        Law(
            name="squeezed",
            summary="gives every guest the same relative place between its minimum and maximum, whatever it needs",
            source="xapi-project/xen-api e2ee48d (2026-08), ocaml/squeezed/lib/squeeze.ml",
            make=Squeezed,
        ),
        Law(
            name="qmemman",
            summary="gives every guest 1.3 times what it uses, and shares what is left in proportion",
            source="QubesOS/qubes-core-admin 1ad5f9b (2026-08), qubes/qmemman/algo.py and systemstate.py",
            make=Qmemman,
        ),
        Law(
            name="ksmtuned",
            summary="leaves the guests' sizes alone and merges identical pages while the host is short",
            source="ksmtuned/ksmtuned 018d0ed (2018), src/ksmtuned.sh.in",
            make=Ksmtuned,
        ),
        Law(
            name="none",
            summary="does nothing: the host's kernel is alone",
            source="no law",
            make=NoLaw,
        ),
    )
}

"""How a guest is built: its domain XML -> ``GuestTraits``. Total: what does not fit is as if it were not there.

Sources: https://libvirt.org/formatdomain.html (memballoon, memoryBacking, hostdev, metadata). OpenNebula and nova
write their own metadata elements; a guest's owner may reach ours through them, so nothing in it is trusted.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any, Final

from memtide.model.guest import GuestTraits

__all__ = ["METADATA", "UNREADABLE", "parse_job", "parse_traits"]

METADATA: Final = "https://memtide.org/guest/1"
"""Namespace of memtide's own element: ``<memtide:guest xmlns:memtide="…" manage="never" floor="2GiB"/>``."""
OWNER: Final = "owner"
"""Its attribute, or child, that says whose the guest is; all other attributes are settings."""
_ONE: Final = "{http://opennebula.org/xmlns/libvirt/1.0}"
_NOVA: Final = "{http://openstack.org/xmlns/libvirt/nova/1.1}"
OWNER_PATHS: Final = (f"metadata/{_ONE}vm/{_ONE}uname", f"metadata/{_NOVA}instance/{_NOVA}owner/{_NOVA}project")
UNREADABLE: Final = GuestTraits(has_balloon=False)
PINNING: Final = {
    "hostdev": ("type", {"pci", "mdev"}),  # VFIO; a USB or SCSI device does not
    "interface": ("type", {"hostdev", "vdpa"}),
    "disk": ("type", {"nvme"}),
}
"""Device -> attribute and values with which the device itself reaches all of the guest's memory, and so pins it."""
JOBS: Final = {
    2: "save", 3: "restore", 4: "migration", 5: "migration", 6: "snapshot", 7: "snapshot", 8: "dump",
}  # fmt: skip
"""virDomainJobOperation -> why hands are off; a backup does not mind."""


def parse_traits(xml: str) -> GuestTraits:
    """Return how the guest is built; ``UNREADABLE`` when this is no domain XML."""
    # entities can be declared only before the first element; libvirt writes nothing there, and a guest whose owner
    # called it "<!DOCTYPE" (in CDATA) is still a guest
    if not xml.lstrip().startswith("<domain"):
        return UNREADABLE
    try:
        domain = ET.fromstring(xml)  # noqa: S314 - see above
    except (ET.ParseError, ValueError):
        return UNREADABLE
    balloon = domain.find("devices/memballoon")
    model = balloon.get("model", "virtio") if balloon is not None else "none"
    backing = domain.find("memoryBacking")
    access = domain.find("memoryBacking/access")
    own = domain.find(f"metadata/{{{METADATA}}}guest")
    return GuestTraits(
        has_balloon=model != "none",
        stats_period_s=_period(domain),
        deflates_on_oom=balloon is not None and balloon.get("autodeflate") == "on",
        reports_free_pages=balloon is not None and balloon.get("freePageReporting") == "on",
        huge_pages=_has(backing, "hugepages"),
        locked=_has(backing, "locked") or _has(domain, "launchSecurity"),
        shared_memory=(access is not None and access.get("mode") == "shared")
        or any(cell.get("memAccess") == "shared" for cell in domain.iterfind("cpu/numa/cell")),
        passthrough=any(
            device.get(name) in values
            for tag, (name, values) in PINNING.items()
            for device in domain.iterfind(f"devices/{tag}")
        ),
        mergeable=not _has(backing, "nosharepages"),
        title=_text(domain.find("title")),
        owner=next((found for path in OWNER_PATHS if (found := _text(domain.find(path)))), None) or _own_owner(own),
        overrides={} if own is None else {name: text for name, text in own.attrib.items() if name != OWNER},
    )  # fmt: skip


def parse_job(stats: Mapping[str, Any]) -> str | None:
    """Return why libvirt's own job (virDomainGetJobStats) wants hands off the guest; ``None`` without such a job."""
    return JOBS.get(stats.get("operation", 0)) if stats.get("type") else None


def _period(domain: ET.Element) -> int | None:
    stats = domain.find("devices/memballoon/stats")
    text = "" if stats is None else stats.get("period", "")
    # isdecimal: int() also takes "1_0" and digits of other scripts
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0 else None  # noqa: PLR2004


def _own_owner(own: ET.Element | None) -> str | None:
    """Return whose the guest is by memtide's own element; the management's word, where there is one, goes before."""
    if own is None:
        return None
    return " ".join(own.get(OWNER, "").split()) or _text(own.find(f"{{*}}{OWNER}"))


def _has(parent: ET.Element | None, name: str) -> bool:
    return parent is not None and parent.find(name) is not None


def _text(element: ET.Element | None) -> str | None:
    """Return an element's text on one line; ``None`` for an empty or missing one."""
    text = " ".join((element.text or "").split()) if element is not None else ""
    return text or None

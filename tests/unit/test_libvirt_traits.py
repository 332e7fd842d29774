"""Domain XML -> how a guest is built; what is not XML, or tries to be clever, is a guest we leave alone."""

from pathlib import Path

import libvirt
import pytest

from memtide.model.guest import GuestTraits
from memtide.sources.libvirt.traits import JOBS, METADATA, UNREADABLE, parse_job, parse_traits

DOMAINS = Path(__file__).parents[1] / "fixtures" / "domains"


def domain(*, devices: str = "<memballoon model='virtio'/>", rest: str = "") -> str:
    """Return the XML of a guest."""
    return f"<domain type='kvm'><name>a</name>{rest}<devices>{devices}</devices></domain>"


def test_opennebula_says_who_owns_it() -> None:
    """As its own driver writes it; without a memballoon of its own until libvirt has added one."""
    for name in ("opennebula-7.5-ballooning.xml", "opennebula-7.5-hotplug.xml"):
        traits = parse_traits((DOMAINS / name).read_text())
        assert traits.owner == "oneadmin"
        assert (traits.title or "").startswith("debian-")
        assert not traits.has_balloon


def test_nova_says_whose_project_it_is() -> None:
    """And the balloon's options are read."""
    assert parse_traits((DOMAINS / "nova.xml").read_text()) == GuestTraits(
        has_balloon=True, stats_period_s=10, reports_free_pages=True, owner="shop"
    )


def test_libvirts_own_example() -> None:
    """The test driver's built-in guest has no balloon and nothing special."""
    connection = libvirt.open("test:///default")
    assert parse_traits(connection.lookupByName("test").XMLDesc()).stats_period_s is None


@pytest.mark.parametrize(
    ("devices", "has_balloon"),
    [
        ("<memballoon model='virtio'/>", True),
        ("<memballoon model='virtio-non-transitional'/>", True),
        ("<memballoon model='none'/>", False),
        ("", False),
    ],
)
def test_a_balloon_is_there_or_not(devices: str, *, has_balloon: bool) -> None:
    """By its model, whatever it is called."""
    assert parse_traits(domain(devices=devices)).has_balloon is has_balloon


@pytest.mark.parametrize(
    ("period", "expected_s"),
    [
        ("2", 2), ("60", 60), ("999999999", 999999999), ("0", None), ("", None), ("-1", None), ("1e3", None),
        ("1_0", None), ("٣", None), ("9" * 5000, None),
    ],
)  # fmt: skip
def test_a_stats_period_is_a_positive_whole_number_or_none(period: str, expected_s: int | None) -> None:
    """A huge one is as if it were not there."""
    traits = parse_traits(domain(devices=f"<memballoon model='virtio'><stats period='{period}'/></memballoon>"))
    assert traits.stats_period_s == expected_s


@pytest.mark.parametrize(
    ("device", "pins"),
    [
        ("<hostdev mode='subsystem' type='pci'/>", True),
        ("<hostdev mode='subsystem' type='mdev'/>", True),
        ("<hostdev mode='subsystem' type='usb'/>", False),
        ("<interface type='hostdev'/>", True),
        ("<interface type='vdpa'/>", True),
        ("<interface type='bridge'/>", False),
        ("<disk type='nvme'/>", True),
        ("<disk type='file'/>", False),
    ],
)
def test_devices_that_pin_memory(device: str, *, pins: bool) -> None:
    """Taking memory from such a guest gives the host nothing."""
    assert parse_traits(domain(devices=device)).passthrough is pins


@pytest.mark.parametrize(
    ("rest", "field", "value"),
    [
        ("<memoryBacking><hugepages/></memoryBacking>", "huge_pages", True),
        ("<memoryBacking><locked/></memoryBacking>", "locked", True),
        ("<launchSecurity type='sev'/>", "locked", True),
        ("<memoryBacking><access mode='shared'/></memoryBacking>", "shared_memory", True),
        ("<memoryBacking><access mode='private'/></memoryBacking>", "shared_memory", False),
        ("<cpu><numa><cell id='0' memAccess='shared'/></numa></cpu>", "shared_memory", True),
        ("<memoryBacking><nosharepages/></memoryBacking>", "mergeable", False),
        ("<title>  the shop's database </title>", "title", "the shop's database"),
        ("<title/>", "title", None),
    ],
)
def test_one_trait_at_a_time(rest: str, field: str, value: object) -> None:
    """Each changes its own field, and no other."""
    plain = parse_traits(domain())
    changed = parse_traits(domain(rest=rest))
    assert getattr(changed, field) == value
    assert all(getattr(plain, f) == getattr(changed, f) for f in plain.__struct_fields__ if f != field)


def test_autodeflate_is_read() -> None:
    """Such a guest moves memory by itself."""
    assert parse_traits(domain(devices="<memballoon model='virtio' autodeflate='on'/>")).deflates_on_oom


def test_memtides_own_metadata_is_text_for_the_settings_to_check() -> None:
    """Only our namespace counts."""
    own = f"<metadata><m:guest xmlns:m='{METADATA}' manage='never' floor='2GiB'/></metadata>"
    assert parse_traits(domain(rest=own)).overrides == {"manage": "never", "floor": "2GiB"}
    foreign = "<metadata><m:guest xmlns:m='https://example.org' manage='never'/></metadata>"
    assert parse_traits(domain(rest=foreign)).overrides == {}


@pytest.mark.parametrize(
    ("inside", "owner"),
    [
        ("owner=' ann\n b '/>", "ann b"),
        ("><m:owner>ann</m:owner></m:guest>", "ann"),
        ("><owner>ann</owner></m:guest>", "ann"),
        ("owner='ann'><m:owner>bob</m:owner></m:guest>", "ann"),
        ("owner=''/>", None),
        ("/>", None),
    ],
)
def test_memtides_own_metadata_says_whose_it_is(inside: str, owner: str | None) -> None:
    """As an attribute or a child, for hosts whose management does not say; it is no setting that nobody knows."""
    traits = parse_traits(domain(rest=f"<metadata><m:guest xmlns:m='{METADATA}' floor='2GiB' {inside}</metadata>"))

    assert (traits.owner, traits.overrides) == (owner, {"floor": "2GiB"})


def test_the_managements_word_on_the_owner_goes_before() -> None:
    """OpenNebula knows whose a guest is better than what somebody wrote into ours."""
    one = "<o:vm xmlns:o='http://opennebula.org/xmlns/libvirt/1.0'><o:uname>ann</o:uname></o:vm>"
    own = f"<m:guest xmlns:m='{METADATA}' owner='bob'/>"

    assert parse_traits(domain(rest=f"<metadata>{own}{one}</metadata>")).owner == "ann"


BOMB = """<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<domain><title>&b;</title><devices><memballoon model='virtio'/></devices></domain>"""


@pytest.mark.parametrize(
    "xml",
    [
        "", "no xml", "<domain>", "<domain></domain", "<a/><b/>", "\x00", "<domain>\ud800</domain>", BOMB, "<!DOCTYPE",
        f"<!-- <domain> -->{BOMB}", f"<domain/>{BOMB}",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_left_alone(xml: str) -> None:
    """No balloon known, so nothing is ever taken; entities are not expanded."""
    assert parse_traits(xml) == UNREADABLE


def test_what_its_owner_calls_a_guest_is_only_text() -> None:
    """On one line, whatever it looks like: libvirt passes the CDATA of OpenNebula's metadata on as it is."""
    named = "<title><![CDATA[<!DOCTYPE x [<!ENTITY y 'z'>]>\n web]]></title>"
    traits = parse_traits(domain(rest=named))
    assert traits.title == "<!DOCTYPE x [<!ENTITY y 'z'>]> web"
    assert traits.has_balloon


def test_jobs_are_libvirts() -> None:
    """By the binding's own constants; a backup, an unknown or no job keeps nobody's hands off."""
    busy = ("SAVE", "RESTORE", "MIGRATION_IN", "MIGRATION_OUT", "SNAPSHOT", "SNAPSHOT_REVERT", "DUMP")
    assert {getattr(libvirt, f"VIR_DOMAIN_JOB_OPERATION_{name}") for name in busy} == set(JOBS)
    unbounded = libvirt.VIR_DOMAIN_JOB_UNBOUNDED
    assert parse_job({"type": unbounded, "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT}) == "migration"
    assert parse_job({"type": unbounded, "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP}) is None
    assert parse_job({"type": libvirt.VIR_DOMAIN_JOB_NONE, "operation": 5}) is None
    assert parse_job({}) is None

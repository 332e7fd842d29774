"""Parsers of what libvirt says are total: whatever comes, they return a value of ours or none, and never a lie."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from memtide.model.base import Missing
from memtide.model.guest import GuestState
from memtide.sources.libvirt.stats import parse_observed, parse_reported, parse_state
from memtide.sources.libvirt.traits import parse_job, parse_traits

NAMES = [
    f"balloon.{name}"
    for name in (
        "current", "maximum", "rss", "last-update", "available", "usable", "unused", "disk_caches", "swap_in",
        "swap_out", "major_fault", "minor_fault",
    )
] + ["state.state", "state.reason"]  # fmt: skip
EDGES = [0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**64 - 1, (2**64 - 1) // 1024]
numbers = st.one_of(st.sampled_from(EDGES), st.integers(0, 1 << 30), st.integers())
odd = st.one_of(numbers, st.none(), st.text(max_size=5), st.floats(), st.booleans(), st.binary(max_size=3))
stats = st.dictionaries(st.sampled_from(NAMES), odd)
likely = st.fixed_dictionaries(dict.fromkeys(NAMES, numbers))


@given(st.one_of(stats, likely))
def test_statistics_of_any_kind(stats: dict[str, Any]) -> None:
    """Sizes are plausible or unknown, and unknown has its reason."""
    state, busy = parse_state(stats)
    assert state in GuestState
    assert busy is None or busy
    observed = parse_observed(stats)
    if observed is None:
        return
    assert 0 < observed.current_bytes <= observed.maximum_bytes < 2**53
    assert observed.rss_bytes is None or 0 <= observed.rss_bytes < 2**53
    missing: Missing = {}
    reported = parse_reported(stats, observed, missing)
    if reported is None:
        assert missing["reported"]
        return
    assert 0 <= reported.usable_bytes <= reported.total_bytes <= observed.maximum_bytes
    assert reported.updated_at_s > 0
    assert reported.unused_bytes is None or 0 <= reported.unused_bytes <= reported.total_bytes
    for name in reported.__struct_fields__:
        assert getattr(reported, name) is not None or missing[name]


@given(st.text())
def test_any_text_as_domain(text: str) -> None:
    """No exception; and nothing that is no domain has a balloon."""
    assert not parse_traits(text).has_balloon


names = st.text(st.characters(codec="utf-8", exclude_characters="<>&'\"\x00"), max_size=12)


@given(names, names, names)
def test_any_values_in_a_domain(period: str, model: str, title: str) -> None:
    """What is in the attributes does not matter for whether they can be read."""
    xml = (
        f"<domain><title>{title}</title><devices>"
        f"<memballoon model='{model}'><stats period='{period}'/></memballoon></devices></domain>"
    )
    traits = parse_traits(xml)
    assert traits.stats_period_s is None or traits.stats_period_s > 0


@given(st.dictionaries(st.sampled_from(["type", "operation"]), st.one_of(st.integers(), st.none(), st.text())))
def test_any_job(stats: dict[str, Any]) -> None:
    """A word for people, or none."""
    job = parse_job(stats)
    assert job is None or job

"""The files below /sys/kernel/mm/ksm that can be written: what they begin with, what they take, what they refuse."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from memtide.sim.spec import HostSpec, KsmKernel

__all__ = ["MISSING_IN_OLD", "NO_KSM", "KsmFiles"]

NO_KSM: Final = "the simulated kernel is built without KSM"
NOT_THERE: Final = "this kernel does not have it"
MISSING_IN_OLD: Final = dict.fromkeys(
    (
        "cow_breaks_total", "pages_scanned", "pages_skipped", "zero_pages", "general_profit_bytes", "smart_scan",
        "advisor_mode", "advisor_target_scan_time_s", "advisor_max_cpu_ratio",
    ),
    f"the simulated kernel is {KsmKernel.OLD.value}: {NOT_THERE}",
)  # fmt: skip
"""What a reading of KSM lacks there, and why."""
SCAN_TIME: Final = "scan-time"
DEFAULT_PAGES: Final = "100"
"""``pages_to_scan`` after the advisor was switched off."""


def _number(least: int, most: int = 2**32 - 1) -> Callable[[str], bool]:
    return lambda content: content.isdecimal() and least <= int(content) <= most


class _File(NamedTuple):
    default: str
    takes: Callable[[str], bool]
    is_new: bool = False
    """Not in the old kernel."""


FILES: Final[dict[str, _File]] = {
    "run": _File("0", _number(0, 2)),
    "pages_to_scan": _File(DEFAULT_PAGES, _number(0)),
    "sleep_millisecs": _File("20", _number(0)),
    "merge_across_nodes": _File("1", _number(0, 1)),
    "max_page_sharing": _File("256", _number(2)),
    "stable_node_chains_prune_millisecs": _File("2000", _number(0)),
    "use_zero_pages": _File("0", _number(0, 1)),
    "smart_scan": _File("1", _number(0, 1), is_new=True),
    "advisor_mode": _File("none", {"none", SCAN_TIME}.__contains__, is_new=True),
    "advisor_max_cpu": _File("70", _number(0, 100), is_new=True),
    "advisor_target_scan_time": _File("200", _number(1), is_new=True),
    "advisor_min_pages_to_scan": _File("500", _number(0), is_new=True),
    "advisor_max_pages_to_scan": _File("30000", _number(0), is_new=True),
}


class KsmFiles(dict[str, str]):
    """What the files hold. ``write`` asks as the kernel does; setting an item does not."""

    def __init__(self, spec: HostSpec) -> None:
        is_old = spec.ksm_kernel is KsmKernel.OLD
        if spec.ksm_kernel is not KsmKernel.NONE:
            super().__init__({name: file.default for name, file in FILES.items() if not (is_old and file.is_new)})
            self["run"] = str(spec.ksm_run)
            self["pages_to_scan"] = str(spec.ksm_pages_to_scan)
            self["sleep_millisecs"] = str(spec.ksm_sleep_millisecs)

    def write(self, name: str, content: str, *, pages_shared: int) -> str | None:  # noqa: PLR0911 - one per refusal
        """Write one file; return why the kernel refuses, or ``None``.

        Args:
            name: which file.
            content: what to write.
            pages_shared: how many merged pages there are; some settings cannot change while there are any.
        """
        if not self:
            return NO_KSM
        if name not in self:
            return NOT_THERE
        if self[name] == content:
            return None
        if not FILES[name].takes(content):
            return "the kernel does not accept that value"
        if name == "pages_to_scan" and self.get("advisor_mode") == SCAN_TIME:
            return "the kernel's own advisor sets it (advisor_mode)"
        if name in {"merge_across_nodes", "max_page_sharing"} and pages_shared:
            return "pages are merged now; it can be changed only after run=2 has undone that"
        self[name] = content
        if name == "advisor_mode":
            self["pages_to_scan"] = self["advisor_min_pages_to_scan"] if content == SCAN_TIME else DEFAULT_PAGES
        return None

    def figures(self) -> Mapping[str, int | bool | float | str | None]:
        """Return the settings that a reading of KSM has, by their name in ``Ksm``; ``None``: not in this kernel."""
        smart, mode = self.get("smart_scan"), self.get("advisor_mode")
        return {
            "run": int(self["run"]),
            "pages_to_scan": int(self["pages_to_scan"]),
            "sleep_millisecs": int(self["sleep_millisecs"]),
            "merge_across_nodes": self["merge_across_nodes"] == "1",
            "max_page_sharing": int(self["max_page_sharing"]),
            "use_zero_pages": self["use_zero_pages"] == "1",
            "smart_scan": None if smart is None else smart == "1",
            "advisor_mode": mode,
            "advisor_target_scan_time_s": None if mode is None else int(self["advisor_target_scan_time"]),
            "advisor_max_cpu_ratio": None if mode is None else int(self["advisor_max_cpu"]) / 100,
        }

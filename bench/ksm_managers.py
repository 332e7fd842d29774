"""Who steers KSM in the comparison. Everybody begins with the kernel's defaults and nothing merged."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import lab_managers
from bench.lab_managers import Manager, Start

__all__ = ["KSM", "MANAGERS", "Steering", "ksm_as_shipped"]

KSM: Final = Path("/sys/kernel/mm/ksm")
SHIPPED: Final = {
    "advisor_mode": "none",
    "pages_to_scan": "100",
    "sleep_millisecs": "20",
    "smart_scan": "1",
    "use_zero_pages": "0",
    "advisor_max_cpu": "70",
    "advisor_target_scan_time": "200",
    "advisor_min_pages_to_scan": "500",
    "advisor_max_pages_to_scan": "30000",
    "run": "0",
}
"""The kernel's defaults (mm/ksm.c, 6.18). The advisor comes first: it forbids to set the pages."""
ADVISOR: Final = {"advisor_mode": "scan-time", "run": "1"}
ARTICLE: Final = {"pages_to_scan": "1250", "sleep_millisecs": "1", "run": "1"}
"""What MOM's law comes to on the 94 GiB host of the article, where KSM never stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """One column of the comparison."""

    words: str
    start: Callable[[Start], AbstractContextManager[Manager]]
    steady: bool = True
    """It writes once, before the first guest; whoever writes later is somebody else."""


def _fixed(files: Mapping[str, str]) -> Callable[[Start], AbstractContextManager[Manager]]:
    @contextmanager
    def run(_start: Start) -> Iterator[Manager]:
        _write(files)
        yield Manager(process=None)

    return run


def _write(files: Mapping[str, str]) -> None:
    for name, value in files.items():
        (KSM / name).write_text(value)


@contextmanager
def ksm_as_shipped() -> Iterator[None]:
    """Begin as the kernel comes, with nothing merged, and put the former settings back afterwards."""
    names = [name for name in SHIPPED if (KSM / name).exists()]
    before = {name: _chosen((KSM / name).read_text()) for name in names}
    try:
        (KSM / "run").write_text("2")  # the guests of an earlier run are gone, but not from ksmd's books
        _write({name: SHIPPED[name] for name in names})
        yield
    finally:
        advisor = {"advisor_mode": before.pop("advisor_mode")} if "advisor_mode" in before else {}
        for files in ({"run": "0"}, {name: SHIPPED[name] for name in advisor}, before, advisor):
            with contextlib.suppress(OSError):  # the rest is put back whatever becomes of a part
                _write(files)


def _chosen(content: str) -> str:
    """Return the value a file holds; a list marks it: ``[none] scan-time``."""
    return next((word[1:-1] for word in content.split() if word.startswith("[")), content.strip())


MANAGERS: Final = {
    "tide": Steering(words="memtide's governor, as it comes", start=lab_managers.LAWS["tide"].start, steady=False),
    "ksmtuned": Steering(words="ksmtuned's law", start=lab_managers.LAWS["ksmtuned"].start, steady=False),
    "advisor": Steering(words="the kernel's scan-time advisor, as it comes", start=_fixed(ADVISOR)),
    "always-on": Steering(words="1250 pages every millisecond, as on the article's host", start=_fixed(ARTICLE)),
    "off": Steering(words="no KSM", start=_fixed({})),
}

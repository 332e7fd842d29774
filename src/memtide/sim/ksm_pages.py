"""What the simulated ksmd knows of one process's pages: cohorts by what they are and how often it came by.

A cohort is all pages of one kind and one age; a visit moves it on by one. Of guests of one image each holds the same
pages, the first so many of a common list, so how many of them have a partner follows from sums (``Image``).
"""

from memtide.sim.host import PAGE_BYTES
from memtide.sim.ksm_visits import (
    AGAIN,
    ALIKE,
    FIRST_WORK,
    LOOKS,
    MERGE_WORK,
    MERGED_WORK,
    OLDEST,
    SEEN,
    SKIP_WORK,
    ZERO,
    Cohort,
    Kind,
    Price,
)
from memtide.sim.memory import GuestMemory

__all__ = ["Image", "Pages"]


class Image:
    """The pages that guests of one image have in common."""

    def __init__(self) -> None:
        self.copies = 0.0
        """How many different pages are merged: one copy of each remains (``pages_shared``)."""
        self.finder: Pages | None = None
        """The process whose pages wait for a partner in this round."""
        self.waiting = 0.0
        self.dead = 0.0
        """Pages of processes that ended, still counted as merged."""
        self.saved_ratio = 0.0
        """Which share of the pages that are merged now the host does not need."""

    def end_round(self) -> None:
        """Forget who waits: that tree is built anew in every round."""
        self.finder, self.waiting = None, 0.0


class Pages:
    """One process's pages. All figures are in pages; what is merged really is told apart from what ksmd believes."""

    __slots__ = (
        "_boots", "_born_s", "_done", "_todo", "broken", "gone", "image", "items", "left", "memory", "merged",
        "unshared", "zero_merged", "zero_pages",
    )  # fmt: skip

    def __init__(self, memory: GuestMemory, image: Image, elapsed_s: float) -> None:
        self.memory = memory
        self.image = image
        self.merged = 0.0
        """Merged with pages of its image."""
        self.zero_merged = 0.0
        self.zero_pages = 0.0
        """Merged among each other, and replaced by the kernel's zero page."""
        self.broken = 0.0
        """Written to since, so merged no more; ksmd does not know yet."""
        self.gone = 0.0
        """Given back since; ksmd does not know yet."""
        self.left = 1.0
        """Which part of it the round under way has still to come by."""
        self.items = 0.0
        """Pages not merged that ksmd keeps books on."""
        self.unshared = 0.0
        """Those of them that were searched for in vain the last time."""
        self._todo: dict[Cohort, float] = {}
        """Not merged, and not visited in this round."""
        self._done: dict[Cohort, float] = {}
        self._boots = memory.boots
        self._born_s = elapsed_s

    @property
    def counted(self) -> float:
        """Return how many pages of its image ksmd believes to be merged."""
        return self.merged + self.broken + self.gone

    @property
    def is_merged(self) -> bool:
        """Say whether any of it is merged, or counted as such."""
        return bool(self.counted or self.zero_merged or self.zero_pages)

    @property
    def rmap_items(self) -> float:
        """Return how many pages of it ksmd keeps books on."""
        return self.items + self.counted + self.zero_merged + self.zero_pages

    # --- what the guest does --------------------------------------------------------------------------------

    def live(self, elapsed_s: float, step_s: float) -> float:
        """Let the guest write to what is merged, give it back or boot; return how many pages its writes parted."""
        memory = self.memory
        if memory.boots != self._boots:
            return self._reboot(elapsed_s)
        parted = 0.0
        if memory.spec.rewritten_bps and self.merged:
            parted = min(self.merged, memory.spec.rewritten_bps * step_s / PAGE_BYTES)
            self.merged -= parted
            self.broken += parted
        missing = self.merged + self.zero_merged + self.zero_pages + self.broken - self._resident
        for name in ("broken", "zero_pages", "zero_merged", "merged"):
            if missing <= 0:
                break
            lost = min(missing, getattr(self, name))
            setattr(self, name, getattr(self, name) - lost)
            self.gone += lost if name in {"broken", "merged"} else 0.0
            missing -= lost
        memory.merged_bytes = int((self.merged + self.zero_merged) * PAGE_BYTES)
        return parted

    def forget(self) -> float:
        """Part everything, and keep no books on it (run=2); return how many pages were parted."""
        parted = self.merged + self.zero_merged + self.zero_pages
        self.merged = self.zero_merged = self.zero_pages = self.broken = self.gone = 0.0
        self.items = self.unshared = 0.0
        self._todo, self._done, self.left = {}, {}, 1.0
        self.memory.merged_bytes = 0
        return parted

    def _reboot(self, elapsed_s: float) -> float:
        """Begin anew: all of it is written to."""
        parted, gone = self.merged + self.zero_merged + self.zero_pages, self.gone
        broken = self.broken + self.merged
        known = self.items
        self.forget()
        self._boots, self._born_s = self.memory.boots, elapsed_s
        if self.image.finder is self:
            self.image.end_round()
        self.broken, self.gone = broken, gone
        if known:
            # ksmd has old checksums of them: as good as none
            self._todo[Kind.OTHER, 1, False] = known
            self.items = known
        return parted

    @property
    def _resident(self) -> float:
        memory = self.memory
        return max(0, memory.touched_bytes - memory.host_swapped_bytes) / PAGE_BYTES

    # --- what ksmd does -------------------------------------------------------------------------------------

    def arrive(self, elapsed_s: float) -> None:
        """Find what it consists of now; ksmd comes by for the first time in this round."""
        if self.memory.boots != self._boots:
            self._reboot(elapsed_s)
        room = max(0.0, self._resident - self.merged - self.broken - self.zero_merged - self.zero_pages)
        known = sum(self._todo.values())
        if known > room:
            self._todo = {cohort: pages * room / known for cohort, pages in self._todo.items()}
        elif known < room:
            self._todo[Kind.OTHER, 0, False] = self._todo.get((Kind.OTHER, 0, False), 0.0) + room - known
        alike, zeros = self._wanted(elapsed_s)
        self._sort(ALIKE, max(0.0, alike - self.merged - self.broken))
        self._sort(ZERO, max(0.0, zeros - self.zero_merged - self.zero_pages))

    def _wanted(self, elapsed_s: float) -> tuple[float, float]:
        """Return how many of its pages are its image's, and how many are full of zeros."""
        memory, spec = self.memory, self.memory.spec
        if spec.pinned:  # a page that a device may write to is not merged
            return 0.0, 0.0
        used_bytes = max(0, memory.touched_bytes - memory.freed_bytes - memory.host_swapped_bytes)
        alike_bytes = 0.0
        if spec.image is not None:
            alike_bytes = min(used_bytes, spec.identical_bytes + spec.converging_bps * (elapsed_s - self._born_s))
        return alike_bytes / PAGE_BYTES, min(spec.zero_bytes, used_bytes - alike_bytes) / PAGE_BYTES

    def _sort(self, kinds: tuple[Kind, Kind], wanted: float) -> None:
        """Make so many pages that were not visited of these kinds: new pages first, the rest changed their content."""
        new, _ = kinds
        have = sum(pages for (kind, _, _), pages in self._todo.items() if kind in kinds)
        if have > wanted:
            for cohort in [cohort for cohort in self._todo if cohort[0] in kinds]:
                self._move(cohort, (Kind.OTHER, *cohort[1:]), 1 - wanted / have)
            return
        fresh = (Kind.OTHER, 0, False)
        others = [cohort for cohort in self._todo if cohort[0] is Kind.OTHER and cohort != fresh]
        for cohorts in ([fresh] if fresh in self._todo else [], others):
            stock = sum(self._todo[cohort] for cohort in cohorts)
            share = min(1.0, (wanted - have) / stock) if stock else 0.0
            for cohort in cohorts if share else ():
                self._move(cohort, (new, *cohort[1:]), share)
            have += share * stock

    def _move(self, source: Cohort, to: Cohort, share: float) -> None:
        pages = self._todo[source] * share
        self._todo[source] -= pages
        self._todo[to] = self._todo.get(to, 0.0) + pages
        if share == 1:
            del self._todo[source]

    def price(self, *, smart: bool) -> Price:
        """Return what coming by the rest of it costs."""
        merged = self.left * (self.merged + self.zero_merged + self.zero_pages)
        work = merged * MERGED_WORK + self.broken * FIRST_WORK + self.gone * SKIP_WORK
        looks, skips = merged + self.broken, 0.0
        found = self._found_ratio()
        for (kind, age, _), pages in self._todo.items():
            if smart and age + 1 not in LOOKS:
                skips += pages
                continue
            looks += pages
            partners = found if kind is Kind.ALIKE else float(kind is Kind.ZERO)
            first = kind in SEEN or not age
            work += pages * (FIRST_WORK if first else partners * MERGE_WORK + 1 - partners)
        return Price(work + skips * SKIP_WORK, looks, skips)

    def visit(self, share: float, *, smart: bool, use_zero_pages: bool) -> None:
        """Come by such a share of the rest of it."""
        image, found = self.image, self._found_ratio()
        in_copies = max(0.0, min(image.copies, self._alike_pages()) - self.merged)
        merging = waiting = 0.0
        for cohort, whole in list(self._todo.items()):
            kind, age, _ = cohort
            pages = whole * share
            self._todo[cohort] -= pages
            skipped = smart and age + 1 not in LOOKS
            if not skipped and kind is Kind.ZERO:
                self._replace(pages, use_zero_pages=use_zero_pages)
                continue
            if not skipped and kind is Kind.ALIKE:
                merging += pages * found
                waiting += pages * (1 - found)
                pages *= 1 - found
            self._file(pages, cohort, smart=smart, skipped=skipped)
        self.left *= 1 - share
        self._file(self.broken * share, (Kind.NEW_ALIKE, 0, False), smart=smart, skipped=False)
        self.broken *= 1 - share
        self.gone *= 1 - share
        self._merge(merging, in_copies)
        if image.finder in {None, self} and waiting:
            image.finder = self
            image.waiting += waiting
        if share == 1:
            self._todo.clear()
        self._count()

    def end_round(self) -> None:
        """Begin anew: all of it is to be visited."""
        self._todo, self._done, self.left = self._done, {}, 1.0

    def _file(self, pages: float, cohort: Cohort, *, smart: bool, skipped: bool) -> None:
        """Put away pages that were visited, with their new age."""
        kind, age, _ = cohort
        if pages:
            older = AGAIN if age == OLDEST else age + 1
            looked_in_vain = not skipped and bool(age) and kind not in SEEN
            to = (kind if skipped else SEEN.get(kind, kind), older if smart or not age else age, looked_in_vain)
            self._done[to] = self._done.get(to, 0.0) + pages

    def _replace(self, pages: float, *, use_zero_pages: bool) -> None:
        if use_zero_pages:
            self.zero_pages += pages
        else:
            self.zero_merged += pages

    def _alike_pages(self) -> float:
        """Return how many pages of its image it holds."""
        cohorts = (*self._todo.items(), *self._done.items())
        return self.merged + self.broken + sum(pages for (kind, _, _), pages in cohorts if kind in ALIKE)

    def _found_ratio(self) -> float:
        """Return which share of its image's pages, where ksmd looks at one now, finds a partner."""
        unseen = self.broken + sum(pages for (kind, _, _), pages in self._todo.items() if kind in ALIKE)
        if not unseen:
            return 0.0
        image, mine = self.image, self._alike_pages()
        partners = max(0.0, min(image.copies, mine) - self.merged)
        if image.finder is not None and image.finder is not self:
            beyond = max(1.0, image.finder._alike_pages() - image.copies)  # noqa: SLF001 - another of the same
            partners += image.waiting * min(1.0, max(0.0, mine - image.copies) / beyond)
        return min(1.0, partners / unseen)

    def _merge(self, pages: float, in_copies: float) -> None:
        """Merge so many: with copies there are, and the rest with pages that wait, which then are one more copy."""
        self.merged += pages
        image, new = self.image, max(0.0, pages - in_copies)
        if image.finder is not None and image.finder is not self and new:
            new = min(new, image.waiting)
            image.copies += new
            image.waiting -= new
            image.finder._join(new)  # noqa: SLF001 - another of the same

    def _join(self, pages: float) -> None:
        """Let so many that wait for a partner be merged: somebody else's visit found them."""
        waiting = [cohort for cohort in self._done if cohort[0] is Kind.ALIKE and cohort[2]]
        stock = sum(self._done[cohort] for cohort in waiting)
        share = min(1.0, pages / stock) if stock else 0.0
        for cohort in waiting:
            self._done[cohort] *= 1 - share
        self.merged += share * stock
        self._count()

    def _count(self) -> None:
        cohorts = (*self._todo.items(), *self._done.items())
        self.items = sum(pages for (_, age, _), pages in cohorts if age)
        self.unshared = sum(pages for (_, _, waits), pages in cohorts if waits)

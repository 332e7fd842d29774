"""One simulated guest: its programs, its balloon, its reports, and how it suffers."""

from typing import Final

from memtide.model.guest import GuestTraits, Observed, Reported
from memtide.sim.curve import Course
from memtide.sim.host import PAGE_BYTES, HostMemory
from memtide.sim.memory import ALL, GENTLE, MIN_FREE_BYTES, GuestMemory
from memtide.sim.reports import Reports
from memtide.sim.spec import GuestSpec

__all__ = ["SimGuest"]

RESTART_S: Final = 5.0
"""How long a workload that the OOM killer ended is away."""


class SimGuest:
    """One guest. ``World`` steps it; tests may look at everything.

    Args:
        spec: what it is made of.
        host: where its pages come from.
        now_s: wall time.
        elapsed_s: seconds since the world began.
        since_s: wall time of its start.
        first_report_s: wall time of its first report.
        seed: makes chance the same every time.
    """

    def __init__(  # noqa: PLR0913 - all but what it is made of and where it lives by keyword
        self,
        spec: GuestSpec,
        host: HostMemory,
        *,
        now_s: float,
        elapsed_s: float,
        since_s: float,
        first_report_s: float,
        seed: int,
    ) -> None:
        self.spec = spec
        self.memory = GuestMemory(spec, host)
        self.reports = Reports(spec, first_report_s, f"{seed}/{spec.name}")
        self.since_s = since_s
        self.is_up = True
        self.oom_kills_total = 0
        self.moved_bytes_total = 0
        """How far its current memory moved, both directions."""
        self.cache_read_bytes_total = 0
        """File data in use that had to be read from the disk."""
        self.shortage_bytes = 0
        """Memory it used in the last step, or wanted to, and that was not there."""
        self.shortage_byte_s_total = 0.0
        self.stalled_ratio = 0.0
        """Share of the last step that it waited for the host's memory."""
        self.swaps = False
        """Whether it used its own swap in the last step."""
        self.observed: Observed | None = None
        self.traits: GuestTraits | None = None
        """What was last shown of it, kept by whoever shows it."""
        self._target_bytes = self.memory.current_bytes
        self._shrink_bps = spec.behaviour.balloon_bps(spec.shrink_bps)
        self._grow_bps = spec.behaviour.balloon_bps(spec.grow_bps)
        # QEMU lets no page go while a device may write to it (ram_block_discard_disable)
        self._reports_pages = spec.reports_free_pages and not spec.pinned
        self._restart_at_s = 0.0
        self._anonymous, self._hot_cache, self._cold_cache = (
            Course(spec.anonymous), Course(spec.hot_cache), Course(spec.cold_cache),
        )  # fmt: skip
        self._reads_files = any(size_bytes for c in (spec.hot_cache, spec.cold_cache) for _, size_bytes in c.points)
        self._cold_read_bytes = 0 if spec.start_at_s else self._cold_cache.at(elapsed_s)
        self._fill(elapsed_s)
        self._driver_comes_up(since_s if spec.stats_period_s is None else now_s)

    @property
    def target_bytes(self) -> int:
        """Return the size it was asked to have; to ask wakes it."""
        return self._target_bytes

    @target_bytes.setter
    def target_bytes(self, target_bytes: int) -> None:
        self._target_bytes = target_bytes
        self.memory.quiet_until_s = 0.0

    def is_shrinking(self, elapsed_s: float) -> bool:
        """Say whether its balloon is at work taking memory."""
        if self.memory.current_bytes <= self._target_bytes or not self.is_up:
            return False
        behaviour = self.spec.behaviour
        return behaviour.answers(elapsed_s) and behaviour.follows_target(elapsed_s)

    def _fill(self, elapsed_s: float) -> None:
        """Begin as if all of this had been running for long; a guest that starts later begins with what it boots by."""
        memory, is_old = self.memory, not self.spec.start_at_s
        if is_old:
            memory.anonymous_bytes = memory.touch(memory.make_room(self._anonymous.at(elapsed_s), ()))
            memory.hot_cache_bytes = memory.touch(memory.make_room(self._hot_cache.at(elapsed_s), ()))
            memory.cold_cache_bytes = memory.touch(memory.make_room(self._cold_read_bytes, ()))
        pinned_bytes = memory.free_bytes if self.spec.pinned else 0
        memory.freed_bytes = memory.touch(pinned_bytes or memory.make_room(self.spec.freed_bytes, ()))

    def step(self, now_s: float, elapsed_s: float, step_s: float, shrink_bytes: int, swap_bytes: int | None) -> None:
        """Live for one step, in which the balloon may take and its swap move at most so much; ``None``: no limit."""
        memory = self.memory
        own_bytes = int(self.spec.swap_bps * step_s)
        swap_bytes = own_bytes if swap_bytes is None else min(own_bytes, swap_bytes)
        memory.swap_left_bytes = swap_bytes
        self._boot_or_run(now_s, elapsed_s)
        if not self.is_up:
            self.stalled_ratio = 0.0
            return
        if memory.current_bytes != self._target_bytes and self.spec.behaviour.follows_target(elapsed_s):
            self._follow_target(step_s, shrink_bytes)
        if memory.swapped_bytes:
            memory.swap_in_hot()
        # whoever waits for his swap does not ask for more meanwhile
        running_s = step_s * memory.swap_left_bytes / swap_bytes if swap_bytes else step_s
        shortage_bytes, waited_bytes = self._hold(elapsed_s, step_s, running_s)
        shortage_bytes += memory.hot_swapped_bytes
        if self._reads_files:
            shortage_bytes += self._read_files(elapsed_s, step_s)
        if memory.host_swapped_bytes:
            waited_bytes += memory.touch_host_swapped()
            shortage_bytes += memory.lost_bytes
        reports_pages = self._reports_pages and memory.report_free_pages(step_s)
        self.shortage_bytes = shortage_bytes
        if shortage_bytes:
            self.shortage_byte_s_total += shortage_bytes * step_s
        self.stalled_ratio = min(1.0, waited_bytes / (memory.host.spec.swap_bps * step_s)) if waited_bytes else 0.0
        self.swaps = memory.swap_left_bytes != swap_bytes
        if now_s >= self.reports.due_s:
            self.reports.step(now_s, self)
        if not (shortage_bytes or waited_bytes or reports_pages):
            memory.quiet_until_s = self._rests_until_s(elapsed_s)

    def figures(self, now_s: float) -> Reported | None:
        """Return what it says of itself, all of this moment; in whole seconds, as QEMU keeps the time."""
        memory, spec = self.memory, self.spec
        # virtio_balloon.c: adjust_managed_page_count() only without DEFLATE_ON_OOM
        whole_bytes = spec.maximum_bytes if spec.deflates_on_oom else memory.current_bytes
        caches_bytes = memory.hot_cache_bytes + memory.cold_cache_bytes
        free_bytes = memory.free_bytes
        honest = Reported(
            updated_at_s=float(int(now_s)),
            total_bytes=whole_bytes - spec.kernel_bytes,
            usable_bytes=max(0, free_bytes - MIN_FREE_BYTES) + caches_bytes,
            unused_bytes=free_bytes,
            disk_caches_bytes=caches_bytes,
            swap_in_bytes_total=memory.swap_in_bytes_total,
            swap_out_bytes_total=memory.swap_out_bytes_total,
            major_faults_total=self.major_faults_total,
        )
        return spec.behaviour.report(honest)

    @property
    def major_faults_total(self) -> int:
        """Return how many pages it had to wait for from its own disk."""
        return (self.memory.swap_in_bytes_total + self.cache_read_bytes_total) // PAGE_BYTES

    def _rests_until_s(self, elapsed_s: float) -> float:
        """Return until when another step would change nothing; not after now: it is about to change."""
        memory, behaviour = self.memory, self.spec.behaviour
        if memory.current_bytes != self._target_bytes and behaviour.follows_target(elapsed_s):
            return 0.0
        if memory.anonymous_bytes + memory.swapped_bytes != self._anonymous.at(elapsed_s):
            return 0.0
        until_s = min(self._anonymous.flat_until_s(elapsed_s), behaviour.steady_until_s(elapsed_s))
        if self._reads_files:
            until_s = min(until_s, self._hot_cache.flat_until_s(elapsed_s), self._cold_cache.flat_until_s(elapsed_s))
        return until_s

    def _boot_or_run(self, now_s: float, elapsed_s: float) -> None:
        """Notice a reset; QEMU keeps the target, so the driver goes for it again once it is up."""
        was_up, self.is_up = self.is_up, self.spec.behaviour.is_up(elapsed_s)
        if was_up and not self.is_up:
            self.memory.reset()
            self.cache_read_bytes_total = 0
            self.since_s = now_s
            self.shortage_bytes = 0
        if self.is_up and not was_up:
            self._driver_comes_up(now_s)

    def _driver_comes_up(self, at_s: float) -> None:
        """Report once, unasked: a guest without a stats period has this report for ever (seen with QEMU 7.2)."""
        if self.spec.has_balloon:
            self.reports.latest = self.figures(at_s)

    def _follow_target(self, step_s: float, shrink_bytes: int) -> None:
        memory = self.memory
        if memory.current_bytes > self._target_bytes:
            most_bytes = min(shrink_bytes, int(self._shrink_bps * step_s))
            self.moved_bytes_total += memory.take(min(memory.current_bytes - self._target_bytes, most_bytes))
        else:
            grow_bytes = min(self._target_bytes - memory.current_bytes, int(self._grow_bps * step_s))
            self.moved_bytes_total += memory.give(grow_bytes)

    def _hold(self, elapsed_s: float, step_s: float, running_s: float) -> tuple[int, int]:
        """Let its programs hold what they want; return what did not fit, and what the host was waited for."""
        memory = self.memory
        wanted_bytes = self._anonymous.at(elapsed_s)
        if elapsed_s < self._restart_at_s:
            return wanted_bytes, 0
        more_bytes = wanted_bytes - memory.anonymous_bytes - memory.swapped_bytes
        if more_bytes <= 0:
            if more_bytes:
                memory.free(-more_bytes)
            return 0, 0
        usual_bytes = min(more_bytes, int(self.spec.touch_bps * step_s))
        grow_bytes = min(more_bytes, int(self.spec.touch_bps * running_s))
        room_bytes = memory.make_room(grow_bytes, ALL)
        got_bytes = memory.touch(room_bytes)
        memory.anonymous_bytes += got_bytes
        if room_bytes < grow_bytes and memory.is_exhausted:
            self._run_out(grow_bytes - room_bytes, elapsed_s)
        return usual_bytes - got_bytes, room_bytes - got_bytes

    def _run_out(self, short_bytes: int, elapsed_s: float) -> None:
        """Take memory back from the balloon where the driver can; else the OOM killer ends the workload."""
        if self.spec.deflates_on_oom and (given_bytes := self.memory.give(short_bytes)):
            self.moved_bytes_total += given_bytes
            # the driver does not go for its old target again until it is given one
            self._target_bytes = self.memory.current_bytes
            return
        self.memory.free(self.memory.anonymous_bytes + self.memory.swapped_bytes)
        self.oom_kills_total += 1
        self._restart_at_s = elapsed_s + RESTART_S

    def _read_files(self, elapsed_s: float, step_s: float) -> int:
        """Read file data, hot data again where it was dropped; return how much hot data is missing."""
        memory = self.memory
        wanted_bytes = self._hot_cache.at(elapsed_s)
        missing_bytes = wanted_bytes - memory.hot_cache_bytes
        if missing_bytes > 0:
            read_bytes = min(missing_bytes, int(self.spec.touch_bps * step_s))
            memory.hot_cache_bytes += memory.touch(memory.make_room(read_bytes, GENTLE))
            # what does not fit is read all the same, in place of other hot data
            self.cache_read_bytes_total += read_bytes
        elif missing_bytes:
            memory.drop_hot_cache(-missing_bytes)

        before_bytes, self._cold_read_bytes = self._cold_read_bytes, self._cold_cache.at(elapsed_s)
        risen_bytes = self._cold_read_bytes - before_bytes
        if risen_bytes > 0:
            memory.cold_cache_bytes += memory.touch(memory.make_room(risen_bytes, ()))
        elif risen_bytes:
            memory.drop_cold_cache(-risen_bytes)
        return max(0, wanted_bytes - memory.hot_cache_bytes)

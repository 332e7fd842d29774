"""Counters of a guest: they only rise, until it boots anew."""

__all__ = ["PAGE_BYTES", "risen"]

PAGE_BYTES = 4096
"""What a guest's kernel counts faults and swap in (x86)."""


def risen(before: int | None, now: int | None) -> int:
    """Return how far a counter rose; a counter that is unknown or fell (a reboot) did not rise."""
    if before is None or now is None or now < before:
        return 0
    return now - before

"""memtide: a memory-overcommitment manager for KVM hosts."""

__all__ = ["__version__"]

__version__ = "0.1.0"

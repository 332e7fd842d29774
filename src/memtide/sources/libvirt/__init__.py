"""Guests through libvirt: the only place that imports its binding."""

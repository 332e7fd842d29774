"""Thin faces over the views."""

"""Benches: each prints a table; ratios of things measured side by side in one run, never bare times."""

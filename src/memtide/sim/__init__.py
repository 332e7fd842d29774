"""A simulated host and guests behind the same ports as the real ones. Part of the product."""

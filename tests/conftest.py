"""What holds for all tests."""

import os

from hypothesis import HealthCheck, settings

# no timed tests: a shared machine may be slow at any moment; and CI tries the same examples every time
settings.register_profile(
    "memtide",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("memtide")

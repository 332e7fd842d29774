"""Real micro guests under a private libvirt, for tests and measurements.

Example: ``with Lab([GuestSpec(script="hold 300MiB")], progress=print) as lab: print(lab.uri, lab.guests[0].report())``
"""

from lab.errors import LabError
from lab.guest import Guest, GuestSpec
from lab.host import HostSize
from lab.lab import Lab, clean, locked
from lab.libvirtd import Libvirtd
from lab.packages import why_not
from lab.report import Report
from lab.script import ScriptError, parse, parse_size

__all__ = [
    "Guest",
    "GuestSpec",
    "HostSize",
    "Lab",
    "LabError",
    "Libvirtd",
    "Report",
    "ScriptError",
    "clean",
    "locked",
    "parse",
    "parse_size",
    "why_not",
]

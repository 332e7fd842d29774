"""When and how fast ksmd scans: only when that is worth its CPU."""

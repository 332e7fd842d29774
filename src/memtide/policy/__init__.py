"""Laws: pure functions from what was seen to what should be done. One law a file, its theory on top."""

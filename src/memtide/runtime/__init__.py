"""Settings, wiring, the loop, the daemon and its sockets."""

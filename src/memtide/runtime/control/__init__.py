"""The daemon's two sockets and their client: Varlink (varlink.org), the only way in from outside the process.

``org.memtide.Reader`` tells, ``org.memtide.Manager`` changes. Who may connect is a matter of the sockets' modes;
who asked for a change goes with the change.
"""

"""Sans-IO protocol cores: octets in, events out.

Strategy: nothing in here opens a socket, reads a clock, logs or waits, so that every line of it can be tested with
plain byte strings. The adapters in `sources/` and `targets/` pump octets between these cores and `net.py`.
"""

"""`python -m tests.hardening`: load and hostility against real workers on loopback.

bench.py runs the checks, each a function of a `Bench` (setting.py) in a file of its own.
"""

"""Measurements: benchmarks, option sweeps, calibration, speed, and their pictures.

An arm is a way to ask; a report is plain data, written as JSON and read back the same. May import
every room but `cli`.
"""

from __future__ import annotations

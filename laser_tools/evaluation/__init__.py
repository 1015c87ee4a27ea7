"""Benchmarks: metrics, the MicroScenes bench, option sweeps, calibration, and their pictures."""

from __future__ import annotations

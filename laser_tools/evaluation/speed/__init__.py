"""The speed bench: one question asked in every way, timed side by side in one run.

Arms, model geometries with random weights, memory, and the report with its pictures. May import
`engine`, `methods`, `vlm` and what lies below.
"""

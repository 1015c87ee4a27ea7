"""Benchmarks: items with a question, references and true evidence boxes."""

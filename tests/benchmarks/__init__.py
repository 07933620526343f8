"""Ratios of design section 11, measured in one run; ``python -m tests.benchmarks``."""

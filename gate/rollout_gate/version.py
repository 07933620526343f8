"""The version of both distributions, in this one place."""

__version__ = "0.1.0"

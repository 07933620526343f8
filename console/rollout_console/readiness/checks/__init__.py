"""Preflight checks before traffic: each rule has a name, a reason and a fix."""

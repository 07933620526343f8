"""Mirrors of a rollout file in etcd, on a real cluster whose members are killed and paused."""

"""Clients of httpx and httpx2 that send each request to the side decided."""

from rollout_gate.http.clients import async_client, client

__all__ = ["async_client", "client"]

"""HTTP clients (httpx, httpx2) that route each request to the side that the gate decides."""

from rollout_gate.http.clients import async_client, client

__all__ = ["async_client", "client"]

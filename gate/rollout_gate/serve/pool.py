"""A connection pool of pools, whose cost for a request does not grow with the open streams.

httpcore's pool looks at each of its connections for each request (2 µs each, measured: with 900
open streams a request took three times the processor time). Here no pool gets more than
MOST_EACH requests at once; further ones are opened as they are needed, and closed when idle.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

MOST_EACH = 32


class _Shard:
    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.busy = 0


class ShardedPool:
    """Sends each request with a transport that has few others in flight; for one event loop.

    ``make`` returns a new transport of the library, ``library``.
    """

    def __init__(self, library: Any, make: Callable[[], Any]) -> None:
        self._make = make
        self._counted: Any = type("CountedStream", (_Counted, library.AsyncByteStream), {})
        self._free: list[_Shard] = []
        self._full: set[_Shard] = set()

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request; raises what the library raises."""
        if not self._free:
            self._free.append(_Shard(self._make()))
        shard = self._free[0]
        shard.busy += 1
        if shard.busy >= MOST_EACH:
            del self._free[0]
            self._full.add(shard)
        try:
            response = await shard.transport.handle_async_request(request)
        except BaseException:
            await self._release(shard)
            raise
        response.stream = self._counted(response.stream, self._release, shard)
        return response

    async def _release(self, shard: _Shard) -> None:
        shard.busy -= 1
        if shard in self._full:
            self._full.remove(shard)
            self._free.append(shard)
        elif not shard.busy and len(self._free) > 1 and shard is not self._free[0]:
            self._free.remove(shard)
            await shard.transport.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        shards = [*self._free, *self._full]
        self._free, self._full = [], set()
        for shard in shards:
            await shard.transport.aclose()


class _Counted:
    """A response's stream that gives its place in the pool back when it is closed."""

    def __init__(self, stream: Any, release: Callable[[_Shard], Any], shard: _Shard) -> None:
        self._stream = stream
        self._release = release
        self._shard: _Shard | None = shard

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            shard, self._shard = self._shard, None
            if shard is not None:
                await self._release(shard)

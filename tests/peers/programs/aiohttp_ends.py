"""A response of aiohttp's client that knows its connection."""

from __future__ import annotations

from typing import Any

import aiohttp


class Response(aiohttp.ClientResponse):
    """Remembers its connection's ends: the connection is given back as soon as the last byte is there."""

    ends: tuple[Any, Any]

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        transport = connection.transport
        self.ends = (transport.get_extra_info("sockname"), transport.get_extra_info("peername"))
        return await super().start(connection)

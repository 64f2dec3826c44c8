"""A packet capture as a source of events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from apisensor.events.model import Event
from apisensor.replay.errors import ReplayError
from apisensor.replay.limits import ReplayLimits
from apisensor.replay.link import LINK_TYPES, link_type_name
from apisensor.replay.pcap import Packet, PcapReader
from apisensor.replay.pcapng import PcapngReader
from apisensor.replay.reassembly import Reassembler
from apisensor.replay.segment import SegmentDecoder
from apisensor.replay.source import ByteSource


class PacketCapture:
    """Reads a capture once, packet by packet, in bounded memory.

    Args:
        source: The file at its first byte, recognised as `form`.
        form: "pcap" or "pcapng".
        overlap: Which bytes count where segments overlap and differ (overlap.py).

    Raises:
        ReplayError: The file header cannot be used, or its one link type is not supported.
    """

    def __init__(
        self, source: ByteSource, form: str, limits: ReplayLimits | None = None, overlap: str = "linux"
    ) -> None:
        self.counts: dict[str, int] = {}
        """Losses and notes (counters.py)."""
        self.not_examined: dict[str, int] = {}
        """Packets that were not looked into, by what they carry."""
        self.packets = 0
        self.last_ns = 0
        """Capture time, Unix ns, of the latest packet."""
        self._source = source
        self._reader: Iterable[Packet]
        if form == "pcap":
            reader = PcapReader(source)
            if reader.link_type not in LINK_TYPES:
                raise ReplayError(
                    f"{source.name} has link type {link_type_name(reader.link_type)}, which is not supported: "
                    "capture on an Ethernet, loopback, tun or 'any' interface"
                )
            self._reader = reader
        else:
            self._reader = PcapngReader(source, self.counts)
        bounds = limits or ReplayLimits()
        self._decoder = SegmentDecoder(self.not_examined, self.counts, bounds)
        self._reassembler = Reassembler(bounds, self.counts, overlap)
        self.disputes = self._reassembler.disputes
        """Where bytes were sent twice and differ."""

    @property
    def flows(self) -> int:
        """TCP connections that carried bytes so far."""
        return self._reassembler.flows

    def events(self) -> Iterator[Event]:
        """The capture's TCP connections as events; each connection's are in order.

        Raises:
            ReplayError: The file is cut or corrupt, or holds packets of a link type that is not supported; raised
                last, when everything that could be read has been yielded.
        """
        failure: ReplayError | None = None
        decode, feed = self._decoder.decode, self._reassembler.feed
        try:
            for packet in self._reader:
                self.packets += 1
                self.last_ns = max(self.last_ns, packet.time_ns)
                segment = decode(packet)
                if segment is not None:
                    yield from feed(segment)
        except ReplayError as error:
            failure = error
        self._decoder.finish()
        yield from self._reassembler.finish()
        if failure is not None:
            raise failure
        if self._decoder.unsupported_link_types:
            kinds = ", ".join(
                f"{count} packets of link type {link_type_name(link_type)}"
                for link_type, count in sorted(self._decoder.unsupported_link_types.items())
            )
            raise ReplayError(f"{self._source.name} holds {kinds}, which is not supported; all others were read")

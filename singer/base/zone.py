"""The availability zone of this host, as far as is known; compared with the racks of brokers."""

from __future__ import annotations


class Zone:
    """`names` are what the zone may be called: none while it is not known, a name and an id on EC2.

    Shared by all who choose partitions, and changed when more is known. Loop thread only.
    """

    __slots__ = ("names",)

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self.names = names

"""Client: for applications that write logs which Singer reads. Standard library only.

    logger = ThriftLogger("/var/log/app/events.log")
    logger.log(b"payload", key=b"user-1")

See docs/client.md for what is promised.
"""

from singer.client.handler import SingerHandler
from singer.client.logfile import LogFullError, OnFull
from singer.client.text import TextLogger
from singer.client.thrift import ThriftLogger

__all__ = ["LogFullError", "OnFull", "SingerHandler", "TextLogger", "ThriftLogger"]

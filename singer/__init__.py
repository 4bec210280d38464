"""Singer: a host logging agent that ships log files to Kafka and loses nothing."""

__version__ = "0.1.0"

"""The configuration as frozen values: what `config.loader` makes of YAML and all parts take.

A field's type decides how its scalar is read (`Seconds` takes `30s`, `ByteSize` takes `64MiB`);
its `#:` comment and its default feed `docs/configuration.md`. Nothing here reads files.
`Secret` values are never shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Final, NewType, Self

Seconds = NewType("Seconds", float)
ByteSize = NewType("ByteSize", int)
#: Of a hundred.
Percent = NewType("Percent", float)
#: A file system path; relative ones are resolved against the directory of the file that says so.
Path = NewType("Path", str)
#: A glob over absolute paths: `*`, `?`, `[...]`, `**`, `{a,b}`.
Glob = NewType("Glob", str)
#: A regular expression that RE2 takes.
Regex = NewType("Regex", str)

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_NO_NUMBERS: Final[Mapping[str, float]] = MappingProxyType({})


class Secret(str):
    """Text that may be used but not shown: `repr` and `singer check --show` mask it.

    It is a `str` for whoever hands it to a library. Whoever formats values for people asks for
    `repr`, or tests for this class. One that came from `files` can be read `again`, which blocks
    and raises ValueError, because passwords are changed while an agent runs.
    """

    __slots__ = ("again", "files")

    #: What stands in the place of a secret.
    MASK: Final = "***"

    def __new__(
        cls, text: str, *, files: tuple[str, ...] = (), again: Callable[[], str] | None = None
    ) -> Self:
        """`again` reads it anew from `files`."""
        secret = super().__new__(cls, text)
        secret.files = files
        secret.again = again
        return secret

    files: tuple[str, ...]
    again: Callable[[], str] | None

    def __repr__(self) -> str:
        return f"'{self.MASK}'"


class Start(Enum):
    """Where to begin in files that exist when a stream is first seen."""

    BEGINNING = "beginning"
    END = "end"


class Rotated(Enum):
    """Which rotated files without a position are read."""

    SINCE = "since"  #: those rotated since the stream was first seen
    ALL = "all"  #: older ones as well


class Oversize(Enum):
    """What becomes of a record longer than `max_record`."""

    DEAD_LETTER = "dead_letter"
    TRUNCATE = "truncate"
    SPLIT = "split"


class PartitionerType(Enum):
    """How the partition of a record is chosen."""

    STICKY = "sticky"  #: one partition of all files of a host for `interval`, then another
    RANDOM = "random"  #: by a hash of the file and the offset in MiB
    ROUND_ROBIN = "round_robin"  #: the next one for each MiB of a file; files begin anywhere
    FIXED = "fixed"  #: `random` among as many as `partitions` says, for each host others
    KEY_MURMUR2 = "key_murmur2"  #: by the key, as Kafka's Java client
    KEY_CRC32 = "key_crc32"  #: by the key, as Java Singer's Crc32ByteArrayPartitioner
    KEY_MURMUR3 = "key_murmur3"  #: by the key, as Java Singer's MurmurByteArrayPartitioner
    KEY_MD5 = "key_md5"  #: by the key, as Java Singer's StringKeyMd5Partitioner

    @property
    def by_key(self) -> bool:
        """Whether the key decides."""
        return self.value.startswith("key_")


class Ordering(Enum):
    """What has to keep its order."""

    PER_KEY = "per_key"  #: the records of a key: it stays where it is, with or without a leader
    NONE = "none"  #: no key: those of partitions without a leader, or not local, go to others


class Priority(Enum):
    """Whose turn comes first when there is more to read than can be read at once."""

    HIGH = "high"  #: four times the share of `normal`
    NORMAL = "normal"
    LOW = "low"  #: a quarter of the share of `normal`


class ReaderType(Enum):
    """What a record is."""

    TEXT = "text"  #: a line that ends with a newline
    MULTILINE = "multiline"  #: lines that belong together
    CRI = "cri"  #: a line of a container, as Kubernetes' runtimes write it
    DOCKER = "docker"  #: a line of a container, as Docker's json-file driver writes it
    AUTO = "auto"  #: either of the two, told line by line
    FRAMES = "frames"  #: binary, of one length or with the length before it
    PROTOBUF = "protobuf"  #: a message with its length before it
    THRIFT = "thrift"  #: a `LogMessage` in a frame of its own


class Payload(Enum):
    """What of a frame is published."""

    MESSAGE = "message"  #: what is in it
    FRAME = "frame"  #: all of it


class OnCorrupt(Enum):
    """What becomes of a record that is not what it should be."""

    DEAD_LETTER = "dead_letter"
    PASS = "pass"  # noqa: S105  #: it is published like the others


class TimeUnit(Enum):
    """What a time counts, since 1970."""

    NS = "ns"
    US = "us"
    MS = "ms"
    S = "s"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterConfig:
    """The dead-letter files in the state directory: records that no broker takes."""

    max_bytes: ByteSize = ByteSize(256 << 20)  #: all files together; then the streams wait
    files: int = 4  #: how many files share `max_bytes`


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """The process on this host."""

    id: str | None = None  #: stable identity; the machine id if not given
    labels: Mapping[str, str] = field(default_factory=lambda: _NOTHING)  #: for brokers and metrics
    state_dir: Path = Path("/var/lib/singer")  #: positions, dead letters; one agent each
    memory: ByteSize = ByteSize(64 << 20)  #: bytes of records under way
    locality: str = "none"  #: this host's zone: ec2 | env:NAME | file:PATH | static:ZONE | none
    http: str | None = None  #: host:port of the metrics endpoint; not built yet
    admin_socket: Path | None = None  #: socket for `singer status` and others; not built yet
    drain_deadline: Seconds = Seconds(20.0)  #: how long a stop waits, and `--once` for hung mounts
    rescan: Seconds = Seconds(10.0)  #: how often all directories are walked
    start_spread: Seconds = Seconds(
        2.0
    )  #: a service connects at a moment within so long; 0s: at once
    commit_every: Seconds = Seconds(0.2)  #: how often positions are committed
    max_open_files: int = 4096  #: log files open at once; the least recently used are closed
    close_idle: Seconds = Seconds(300.0)  #: a file this long without growth is closed
    max_deleted_files: int = 1024  #: deleted files read through what is open; more: see operations
    max_deleted_bytes: ByteSize = ByteSize(8 << 30)  #: disk space that deleted files may keep so
    forget_after: Seconds = Seconds(30 * 86400.0)  #: positions of files gone this long are dropped
    registry: Path | None = None  #: YAML of the platform: clusters, topic URIs, properties
    decider_file: Path | None = None  #: JSON: name to percent, for `sample`; watched
    max_positions: int = 1_000_000  #: more than that: those of files gone longest are dropped
    dead_letters: DeadLetterConfig = field(default_factory=DeadLetterConfig)  #: see below


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedConfig:
    """The Kafka cluster inside the agent, for trying out: `bootstrap: embedded`."""

    brokers: int = 3  #: how many brokers
    racks: tuple[str, ...] = ("zone-a", "zone-b", "zone-c")  #: dealt to the brokers in turn
    partitions: int = 6  #: of each topic
    show: bool = False  #: print what arrives


class CatchUpOrder(Enum):
    """Whose backlog is sent first."""

    OLDEST_FIRST = "oldest_first"  #: of the file that was not written to for longest
    NEWEST_FIRST = "newest_first"  #: of the file that was written to last


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUpConfig:
    """How backlog is sent, such as after an outage: what of a file is more than 1 MiB behind."""

    max_bytes_per_second: ByteSize  #: of all files to this cluster together
    order: CatchUpOrder = CatchUpOrder.OLDEST_FIRST  #: oldest_first | newest_first


class Delivery(Enum):
    """How often a record arrives."""

    AT_LEAST_ONCE = "at_least_once"  #: again after a crash, as far as nothing says that it did
    EXACTLY_ONCE = "exactly_once"  #: for consumers that read what is committed


@dataclass(frozen=True, slots=True, kw_only=True)
class MskIamConfig:
    """Amazon MSK with IAM, by the credentials of this host; needs `singer-agent[msk]`."""

    region: str  #: of the cluster, as `us-east-1`


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthConfig:
    """Where tokens for `sasl.mechanism: OAUTHBEARER` come from: one of these.

    An OIDC endpoint needs none of them, but `sasl.oauthbearer.*` in `properties`.
    """

    file: Path | None = None  #: it holds a token, and is read again before that ends
    command: tuple[str, ...] = ()  #: a program and its arguments, that prints one; no shell
    timeout: Seconds = Seconds(30.0)  #: how long `command` may take
    msk_iam: MskIamConfig | None = None  #: Amazon MSK with IAM


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateConfig:
    """How the agent makes a topic that is absent; `create: true` is short for `{}`."""

    partitions: int | None = None  #: null: as the brokers' default says
    replication_factor: int | None = None  #: null: as the brokers' default says


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """What is said of delivered records, for `singer audit verify`; `audit: x` means `{topic: x}`.

    See audit.md.
    """

    topic: str  #: where it goes, on the same cluster
    create: CreateConfig | None = None  #: make the topic if absent: true | false | a mapping
    every: Seconds = Seconds(10.0)  #: how often
    max_bytes: ByteSize = ByteSize(64 << 20)  #: kept in the state directory while it cannot go


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """One Kafka cluster; its name is its key in `clusters`."""

    name: str  #: the key in `clusters`
    bootstrap: tuple[str, ...] = ()  #: list of host:port; or the word `embedded`
    bootstrap_file: Path | None = None  #: or a watched file that lists them, as lines or JSON
    embedded: EmbeddedConfig | None = None  #: details of `bootstrap: embedded`
    properties: Mapping[str, str] = field(default_factory=lambda: _NOTHING)  #: of librdkafka
    oauth: OAuthConfig | None = None  #: where tokens come from, with OAUTHBEARER
    allow_uncompressed: str | None = None  #: why `compression.type: none` is right here
    delivery: Delivery = Delivery.AT_LEAST_ONCE  #: at_least_once | exactly_once
    positions_topic: str = "singer.positions"  #: of `exactly_once`, where positions are kept
    audit: AuditConfig | None = None  #: of all that is published here; null: nothing is said
    catch_up: CatchUpConfig | None = None  #: null: backlog is sent as fast as it goes
    commit_every: Seconds = Seconds(1.0)  #: of `exactly_once`, how often a transaction ends

    @property
    def exactly_once(self) -> bool:
        """Whether records and positions are committed together."""
        return self.delivery is Delivery.EXACTLY_ONCE

    @property
    def is_embedded(self) -> bool:
        """Whether the cluster lives in this process, and its positions with it."""
        return self.embedded is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformConfig:
    """One entry of the registry's `properties`: below what a cluster says itself."""

    name: str  #: draws the hosts; another name draws others
    percent: float = 100.0  #: of the hosts
    properties: Mapping[str, str]  #: of librdkafka


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryConfig:
    """What is kept of the registry that was read."""

    path: str
    digest: str  #: SHA-256 of the file
    groups: tuple[str, ...]  #: the names of the `properties` that are for this host


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalConfig:
    """Only partitions whose leader is in this host's zone; `local: true` is short for `{}`."""

    max_share: float | None = None  #: even shares a partition may carry; the rest leaves the zone
    hosts: Mapping[str, float] = field(
        default_factory=lambda: _NO_NUMBERS
    )  #: how many each rack has, if uneven


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionerConfig:
    """How partitions are chosen; `partitioner: sticky` is short for `{type: sticky}`.

    Records without a key always go the way of `sticky`. operations.md says which types keep which
    order, and what `max_share` knows.
    """

    type: PartitionerType = PartitionerType.STICKY  #: the policy
    local: LocalConfig | None = None  #: only partitions led in this zone: true | false | a mapping
    ordering: Ordering = Ordering.PER_KEY  #: of `key_*`, what has to keep its order
    interval: Seconds = Seconds(30.0)  #: how long `sticky` stays
    partitions: int | None = None  #: of `fixed`, how many


class HeaderField(Enum):
    """A header that is filled in."""

    MID = "mid"  #: `_mid`: inode and offset behind the record, two big-endian numbers of 8 bytes
    OTS = "ots"  #: `_ots`: the record's own time in ns, likewise; 0 if it has none
    CRC = "crc"  #: `messageCRC`: CRC-32 of the payload, likewise
    HOST = "host"  #: `hostname`
    FILE = "file"  #: the path that the file belongs to
    ZONE = "zone"  #: `availabilityZone`, while it is known


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadersConfig:
    """What records carry beside key and value; `headers: [mid, ots]` is short for `{add: […]}`.

    Names and bytes are those of Java Singer. They cost a call for each record: see benchmarks.md.
    """

    add: tuple[HeaderField, ...] = ()  #: mid | ots | crc | host | file | zone
    static: Mapping[str, str] = field(default_factory=lambda: _NOTHING)  #: more, by their names

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.add or self.static)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxLagConfig:
    """How far a shadow may be behind; `1GiB` is short for `{bytes: 1GiB}`, `15m` for `{age: 15m}`.

    Then it skips what is there, counted; see double-publishing.md.
    """

    bytes: ByteSize | None = None  #: of all files of the stream together, not delivered
    age: Seconds | None = None  #: since the oldest byte was written that is not delivered


class Codec(Enum):
    """How batches are compressed."""

    NONE = "none"  #: not at all: the cluster has to say why, with `allow_uncompressed`
    GZIP = "gzip"
    SNAPPY = "snappy"
    LZ4 = "lz4"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationStartConfig:
    """Where a destination begins that is new; `end` is short for `{at: end}`. One of these.

    One that was there before goes on where it was.
    """

    at: Start | None = None  #: in files that exist then: beginning | end
    like: str | None = None  #: the name of another, where that is then


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationConfig:
    """One entry of a stream's `publish`: where the records go, with a position of its own."""

    name: str  #: positions are kept under it
    cluster: str  #: a key of `clusters`
    topic: str  #: the Kafka topic; or a topic URI, which names the cluster too
    create: CreateConfig | None = None  #: make the topic if absent: true | false | a mapping
    shadow: bool = False  #: a second copy, that never delays a primary
    sample: Percent = Percent(100.0)  #: of the hosts: by its name, so the same name draws the same
    start: DestinationStartConfig | None = None  #: if it is new; null: as the stream's `start`
    max_lag: MaxLagConfig | None = None  #: of a shadow; null: it never skips anything
    audit: bool = True  #: it is audited, if the cluster says how
    partitioner: PartitionerConfig = field(default_factory=PartitionerConfig)  #: see below
    compression: Codec | None = None  #: of its topic; null: as the cluster's `compression.type`
    headers: HeadersConfig = field(default_factory=HeadersConfig)  #: none, as they cost; see below


def _is_wide(encoding: str | None) -> bool:
    """Whether a newline byte may be part of another character."""
    return encoding is not None and any(width in encoding for width in ("16", "32"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderConfig:
    """What a record is; a word is short for `{type: word}`. Each type has keys of its own."""

    type: ReaderType = ReaderType.TEXT  #: the kind of files

    @property
    def quiet_after(self) -> Seconds | None:
        """How long nothing must have come for what may still go on to be a record as it is."""
        return None

    @property
    def of_lines(self) -> bool:
        """Whether what stands behind a newline byte can be begun with."""
        return False

    @property
    def of_keys(self) -> bool:
        """Whether records may have keys."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class TextReaderConfig(ReaderConfig):
    """Lines that end with a newline: `{type: text}`."""

    type: ReaderType = ReaderType.TEXT  #: what a record is
    max_record: ByteSize = ByteSize(960 << 10)  #: bytes, terminator excluded
    oversize: Oversize = Oversize.DEAD_LETTER  #: what becomes of longer ones
    encoding: str | None = None  #: converted to UTF-8: `utf-16le`, `latin-1`, …; null: as it is
    crlf: bool = False  #: a carriage return before the newline belongs to it

    @property
    def of_lines(self) -> bool:
        """See ReaderConfig."""
        return not _is_wide(self.encoding)


@dataclass(frozen=True, slots=True, kw_only=True)
class MultilineReaderConfig(ReaderConfig):
    """Lines that belong together, such as stack traces: `{type: multiline, start: '^[0-9]'}`."""

    type: ReaderType = ReaderType.MULTILINE  #: what a record is
    start: Regex | None = None  #: a regular expression (RE2), found in each record's first line
    end: Regex | None = None  #: one that is found in the last line; `start`, `end` or both
    max_lines: int = 500  #: a record of more lines is cut, and its rest is another
    max_record: ByteSize = ByteSize(960 << 10)  #: bytes, likewise; a longer line is a dead letter
    timeout: Seconds = Seconds(1.0)  #: a last record is sent when nothing came for so long
    encoding: str | None = None  #: as for `text`
    crlf: bool = False  #: as for `text`; those within a record stay

    @property
    def quiet_after(self) -> Seconds | None:
        """See ReaderConfig."""
        return self.timeout

    @property
    def of_lines(self) -> bool:
        """See ReaderConfig."""
        return not _is_wide(self.encoding)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerReaderConfig(ReaderConfig):
    """Lines of containers, without what the runtime writes around them: `{type: cri}`."""

    type: ReaderType = ReaderType.AUTO  #: cri | docker | auto: told line by line
    max_record: ByteSize = ByteSize(960 << 10)  #: bytes; of parts that are more, each is a record
    timeout: Seconds = Seconds(5.0)  #: parts are sent without the last if it does not come so long
    on_corrupt: OnCorrupt = OnCorrupt.DEAD_LETTER  #: lines of another format: dead_letter | pass

    @property
    def quiet_after(self) -> Seconds | None:
        """See ReaderConfig."""
        return self.timeout

    @property
    def of_lines(self) -> bool:
        """See ReaderConfig."""
        return True


class LengthType(Enum):
    """How long a frame is."""

    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    FIXED = "fixed"  #: all are as long as `size`


class Endian(Enum):
    """Which byte of a number comes first."""

    BIG = "big"
    LITTLE = "little"


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesReaderConfig(ReaderConfig):
    """Binary records with their length before them, or of one length: `{type: frames}`."""

    type: ReaderType = ReaderType.FRAMES  #: what a record is
    length: LengthType = LengthType.U32  #: the number before each: u16 | u32 | u64 | fixed
    endian: Endian = Endian.BIG  #: big | little
    includes_itself: bool = False  #: the length counts its own bytes too
    size: ByteSize | None = None  #: of each, with `length: fixed`
    max_record: ByteSize = ByteSize(960 << 10)  #: bytes; longer ones are dead letters
    payload: Payload = Payload.MESSAGE  #: message: without the length | frame: with it


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtobufReaderConfig(ReaderConfig):
    """Protobuf messages with a varint length before them: `{type: protobuf}`."""

    type: ReaderType = ReaderType.PROTOBUF  #: what a record is
    max_record: ByteSize = ByteSize(960 << 10)  #: bytes; longer ones are dead letters
    descriptor_set: Path | None = None  #: what `protoc --descriptor_set_out --include_imports` made
    message: str | None = None  #: the full name of theirs in it
    key: str | None = None  #: the field that is the key, as `header.id`
    timestamp: str | None = None  #: the number, or `google.protobuf.Timestamp`, that is the time
    timestamp_unit: TimeUnit = TimeUnit.NS  #: what a number counts since 1970: ns | us | ms | s

    @property
    def of_keys(self) -> bool:
        """See ReaderConfig."""
        return self.key is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThriftReaderConfig(ReaderConfig):
    """Structs in frames of a 4-byte length, `LogMessage` without an `idl`: `{type: thrift}`."""

    type: ReaderType = ReaderType.THRIFT  #: what a record is
    max_record: ByteSize = ByteSize(960 << 10)  #: bytes of a frame; longer ones are dead letters
    payload: Payload | None = None  #: message: the field of that name | frame: the struct
    checksum: bool = False  #: compare messages with the CRC-32 beside them, where there is one
    on_corrupt: OnCorrupt = OnCorrupt.DEAD_LETTER  #: if that differs: dead_letter | pass
    idl: Path | None = None  #: a `.thrift` file that describes the structs, if others
    struct: str | None = None  #: the name of theirs in it; by default the one no other has in it
    key: str | None = None  #: the field that is the key, with an `idl`, as `header.id`
    timestamp: str | None = None  #: the `i64` that is the time, with an `idl`
    timestamp_unit: TimeUnit = TimeUnit.NS  #: what that counts since 1970: ns | us | ms | s

    @property
    def of_keys(self) -> bool:
        """See ReaderConfig. A `LogMessage` may have one."""
        return self.idl is None or self.key is not None


class SampleBy(Enum):
    """What decides whether a record is in a sample."""

    KEY = "key"  #: its key; its payload if it has none
    PAYLOAD = "payload"


class EnvelopeType(Enum):
    """What payloads are put into."""

    JSON = "json"  #: `{"message", "host", "path", "key", "timestamp_ms"}`
    LOG_MESSAGE = "log_message"  #: the Thrift struct that the reader `thrift` knows
    TEXT_MESSAGE = "text_message"  #: the Thrift struct that Java Singer makes of lines


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternConfig:
    """A pattern that is looked for in every record; `filter: x` is short for `{pattern: x}`."""

    pattern: Regex  #: found anywhere in a record, and in one record only


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactConfig:
    """What is put in place of all that a pattern finds."""

    pattern: Regex  #: as for `filter`
    replacement: str  #: text with `\\1` or `\\g<name>` for groups; `with` is short for it


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteConfig:
    """A new payload, made of what a pattern finds first; records without it stay as they are."""

    pattern: Regex  #: as for `filter`
    format: str  #: text with `\\1` or `\\g<name>` for groups


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig:
    """A share of the records, the same on every host and every time."""

    percent: float | None = None  #: 0 to 100
    decider: str | None = None  #: or the name that says so in `agent.decider_file`
    by: SampleBy = SampleBy.KEY  #: what is hashed: key | payload


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixConfig:
    """Text before every payload; `prefix: x` is short for `{text: x}`."""

    text: str  #: with `{host}` and `{time}`, the record's own if the reader knows it


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeConfig:
    """A format around every payload; `envelope: json` is short for `{type: json}`."""

    type: EnvelopeType  #: json | log_message | text_message


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformConfig:
    """One step on the way of a record; each has one of these keys."""

    filter: PatternConfig | None = None  #: only records in which it is found are published
    drop: PatternConfig | None = None  #: only records in which it is not found are
    redact: RedactConfig | None = None  #: something else in place of what is found
    rewrite: RewriteConfig | None = None  #: a new payload
    sample: SampleConfig | None = None  #: a share of the records
    prefix: PrefixConfig | None = None  #: text before the payload
    envelope: EnvelopeConfig | None = None  #: a format around the payload


class Excess(Enum):
    """What becomes of what is more than a limit allows."""

    DELAY = "delay"  #: it is read later
    DROP = "drop"  #: it is skipped, and counted


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitConfig:
    """How much of a stream each of its destinations is sent; `limit: 1MiB` is short for it."""

    bytes_per_second: ByteSize  #: of the files, on average
    burst: ByteSize | None = None  #: what may come at once after a pause; null: of a second
    excess: Excess = Excess.DELAY  #: what becomes of more: delay | drop


@dataclass(frozen=True, slots=True, kw_only=True)
class LingerConfig:
    """How long new lines wait for more; `linger: 20ms` is short for `{wait: 20ms}`.

    `linger: auto` is short for `{}`: they wait while batches hold fewer than 10 records, as long as
    the budget allows. What operations.md says of batches tells when more is worth it.
    """

    wait: Seconds | None = None  #: always so long; null: as long as it takes, within `latency`
    latency: Seconds = Seconds(0.005)  #: from a line to its acknowledgement, for 99 of 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """Files that are published together."""

    name: str  #: positions are kept under it
    paths: tuple[Glob, ...]  #: absolute globs with `*`, `?`, `[…]`, `**` and `{a,b}`
    exclude: tuple[Glob, ...] = ()  #: with a slash: whole paths; without: names
    rotated: tuple[Glob, ...] = ()  #: more globs of rotated names
    rotated_dirs: tuple[Path, ...] = ()  #: more directories where rotated files go
    rotated_files: Rotated = Rotated.SINCE  #: `rotated: all` is short for `rotated_files: all`
    path_pattern: str | None = None  #: a regular expression (RE2) with `(?P<groups>…)` for topics
    follow_symlinks: bool = False  #: symbolic links that stay below the directories of `paths`
    priority: Priority = Priority.NORMAL  #: whose turn comes first: high | normal | low
    reader: ReaderConfig = field(default_factory=TextReaderConfig)  #: see below
    transforms: tuple[TransformConfig, ...] = ()  #: one behind the other
    limit: LimitConfig | None = None  #: null: as fast as it goes
    linger: LingerConfig = field(default_factory=LingerConfig)  #: how long new lines wait for more
    start: Start = Start.BEGINNING  #: for files that exist when the stream is first seen
    rotate_grace: Seconds = Seconds(2.0)  #: how long a rotated file is still read
    flush_partial_after: Seconds | None = None  #: a last line without its end is sent; null: held
    publish: tuple[DestinationConfig, ...]  #: one entry for each destination


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole, valid configuration."""

    agent: AgentConfig = field(default_factory=AgentConfig)  #: the process on this host
    clusters: Mapping[str, ClusterConfig]  #: the Kafka clusters by name
    streams: tuple[StreamConfig, ...]  #: what is read, and where it goes
    registry: RegistryConfig | None = None  #: where clusters and properties came from as well
    #: The destinations, by stream, that this host is not drawn for: they are not in `streams`.
    undrawn: tuple[tuple[str, DestinationConfig], ...] = ()

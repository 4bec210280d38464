from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singer.base.config import (
    ByteSize,
    CatchUpConfig,
    CreateConfig,
    LocalConfig,
    Ordering,
    Oversize,
    PartitionerConfig,
    PartitionerType,
    Rotated,
    Secret,
    Start,
)
from singer.base.errors import ConfigError
from singer.config.document import parse
from singer.config.loader import load
from tests.config.files import CLUSTERS, MINIMAL, STREAMS, Folder


class TestValid:
    def test_minimal(self, folder: Folder) -> None:
        loaded = folder.load(MINIMAL)
        (stream,) = loaded.config.streams
        (destination,) = stream.publish
        assert stream.paths == ("/var/log/access.log",)
        assert destination.name == "main/web.access"
        assert destination.partitioner.type is PartitionerType.STICKY
        assert loaded.config.clusters["main"].name == "main"
        assert loaded.config.clusters["main"].bootstrap == ("kafka-1:9092",)
        assert loaded.config.agent.memory == 64 << 20
        assert (loaded.warnings, loaded.files) == ((), (folder.main,))

    def test_everything_that_is_built(self, folder: Folder) -> None:
        config = folder.load(
            """\
            agent:
              id: 0123
              labels: {team: yes, shift: 1:30}
              state_dir: state
              memory: 1GB
              locality: file:zone
              http: null
              admin_socket: null
              drain_deadline: 500ms
              dead_letters: {max_bytes: 64MiB, files: 2}
            clusters:
              main:
                bootstrap: [kafka-1:9092, "[::1]:9092"]
                delivery: at_least_once
                properties: {linger.ms: 5, log.connection.close: false, compression.type: lz4}
              try-out:
                bootstrap: embedded
                embedded: {brokers: 2, racks: [a], partitions: 3, show: true}
            streams:
              - name: access
                paths: ["/srv/*/logs/access{,-*}.log"]
                exclude: ["*.tmp", "/srv/old/**"]
                rotated: all
                rotated_dirs: [old]
                reader: {type: text, max_record: 1MiB, oversize: split}
                start: end
                transforms: []
                flush_partial_after: 5m
                publish:
                  - {cluster: main, topic: web.access, partitioner: {type: random, local: true}}
                  - {cluster: try-out, topic: web.access, shadow: true, partitioner: sticky}
                  - {cluster: main, topic: web.access, name: second}
            """
        ).config
        agent = config.agent
        assert (agent.id, dict(agent.labels)) == ("0123", {"team": "yes", "shift": "1:30"})
        assert agent.state_dir == os.path.join(os.path.realpath(folder.path), "state")
        assert agent.locality == f"file:{os.path.realpath(folder.path)}/zone"
        assert (agent.memory, agent.drain_deadline) == (10**9, 0.5)
        assert (agent.dead_letters.max_bytes, agent.dead_letters.files) == (64 << 20, 2)
        main, embedded = config.clusters["main"], config.clusters["try-out"].embedded
        assert dict(main.properties) == {
            "linger.ms": "5",
            "log.connection.close": "false",
            "compression.type": "lz4",
        }
        assert embedded is not None
        assert (embedded.brokers, embedded.racks, embedded.show) == (2, ("a",), True)
        (stream,) = config.streams
        assert stream.rotated_files is Rotated.ALL
        assert stream.rotated_dirs == (os.path.join(os.path.realpath(folder.path), "old"),)
        assert (stream.reader.max_record, stream.reader.oversize) == (1 << 20, Oversize.SPLIT)
        assert (stream.start, stream.flush_partial_after) == (Start.END, 300)
        assert [entry.name for entry in stream.publish] == [
            "main/web.access",
            "try-out/web.access",
            "second",
        ]
        assert stream.publish[0].partitioner.local
        assert stream.publish[1].shadow

    def test_topics_are_created_only_where_that_is_said(self, folder: Folder) -> None:
        def created(text: str) -> CreateConfig | None:
            publish = f"topic: web.access, create: {text}"
            (stream,) = folder.load(MINIMAL.replace("topic: web.access", publish)).config.streams
            return stream.publish[0].create

        assert folder.load(MINIMAL).config.streams[0].publish[0].create is None
        assert created("false") is None
        assert created("true") == CreateConfig()
        assert created("{partitions: 6}") == CreateConfig(partitions=6)

    def test_empty_sections_are_all_defaults(self, folder: Folder) -> None:
        assert folder.load("agent:\n" + MINIMAL).config.agent.rescan == 10

    def test_catching_up(self, folder: Folder) -> None:
        clusters = "clusters: {main: {bootstrap: [a:1], catch_up: %s}}\n"
        loaded = folder.load(clusters % "{max_bytes_per_second: 20MiB}" + STREAMS)
        caught = loaded.config.clusters["main"].catch_up
        assert caught == CatchUpConfig(max_bytes_per_second=ByteSize(20 << 20))
        with pytest.raises(ConfigError, match="max_bytes_per_second"):
            folder.load(clusters % "{order: newest_first}" + STREAMS)

    def test_not_built_yet_is_one_warning(self, folder: Folder) -> None:
        loaded = folder.load(
            """\
            agent: {http: "127.0.0.1:2047", admin_socket: /run/s.sock, locality: ec2}
            heartbeat: {cluster: main, topic: singer.heartbeat, every: 60s}
            clusters: {main: {bootstrap: [a:1]}}
            """
            + STREAMS.replace("\n", "\n            ").replace(
                "name:", "transforms: []\n                name:"
            )
        )
        (warning,) = loaded.warnings
        assert warning.message == (
            "not built yet, ignored: heartbeat, agent.http, agent.admin_socket"
        )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # (what is put in place of `    publish:` in the minimal stream), line:column: ...
        ("strt: end", "6:5: streams[0].strt: unknown key: did you mean start?"),
        ("zebra: 1", "6:5: streams[0].zebra: unknown key: known are exclude, flush_partial_after"),
        ("start: start", "6:12: streams[0].start: must be one of beginning, end, not 'start'"),
        ("start: [end]", "6:12: streams[0].start: must be a single value, not a list"),
        ("start:", "6:11: streams[0].start: has no value"),
        ("name: twice", "6:5: streams[0].name: duplicate key, first on line 4"),
        ("rotate_grace: 2", "6:19: streams[0].rotate_grace: must be a duration with its unit"),
        ("rotated: /x.old", "6:14: streams[0].rotated: must be a list"),
        ("exclude: ['a{b']", "6:15: streams[0].exclude[0]: must balance its braces { }, not 'a{b'"),
        ("exclude: ['a[b']", "6:15: streams[0].exclude[0]: must close its bracket [, not 'a[b'"),
        ("reader: txt", "6:13: streams[0].reader: must be one of text, multiline, cri"),
        ("reader: {max_record: 0}", "6:26: streams[0].reader.max_record: must be at least 1"),
        ("reader: {type: frames, length: fixed}", "6:13: streams[0].reader: size says how long"),
        (
            "reader: {type: protobuf, key: x}",
            "6:35: streams[0].reader.key: needs a descriptor_set",
        ),
        ("reader: multiline", "6:13: streams[0].reader: needs start or end"),
        (
            "reader: {type: multiline, start: '('}",
            "6:38: streams[0].reader.start: must be a regular",
        ),
        (
            r"reader: {type: multiline, start: '\A[0-9]', end: 'a\\A'}",
            r"6:38: streams[0].reader.start: is found in lines: say ^ for \A",
        ),
        (
            "reader: {type: frames, length: fixed, size: 2MiB}",
            "6:49: streams[0].reader.size: must be at most max_record",
        ),
        (
            "reader: {type: text, encoding: utf-16}",
            "6:36: streams[0].reader.encoding: must be utf-16le",
        ),
        ("reader: {type: thrift, key: x}", "6:33: streams[0].reader.key: needs an idl"),
        (
            "reader: {type: thrift, oversize: split}",
            "6:28: streams[0].reader.oversize: unknown key: known are checksum, idl",
        ),
        (
            "transforms: [{redact: {pattern: a}}]",
            "6:27: streams[0].transforms[0].redact: replacement",
        ),
        ("transforms: [{}]", "6:18: streams[0].transforms[0]: needs one key"),
        (
            "transforms: [{drop: '('}]",
            "6:25: streams[0].transforms[0].drop: must be a regular",
        ),
        (
            "transforms: [{redact: {pattern: a, with: '\\2'}}]",
            "6:18: streams[0].transforms[0]: speaks of",
        ),
        (
            "transforms: [{sample: {percent: x}}]",
            "6:37: streams[0].transforms[0].sample.percent: must be",
        ),
        ("limit: {burst: 1MiB}", "6:12: streams[0].limit: bytes_per_second is missing"),
        ("limit: 0", "6:12: streams[0].limit: must be at least 1"),
        ("follow_symlinks: yes", "6:22: streams[0].follow_symlinks: must be true or false"),
        ("rotated_dirs: ['']", "6:20: streams[0].rotated_dirs[0]: must be a path, not ''"),
        ("1: x", "6:5: streams[0].1: unknown key"),
        ("? [a]\n    : b", "6:7: streams[0].?: a key must be plain text"),
    ],
)
def test_problem_of_a_stream(folder: Folder, change: str, expected: str) -> None:
    line = folder.problem(MINIMAL.replace("    publish:", f"    {change}\n    publish:"))
    assert line.startswith(f"singer.yaml:{expected}"), line


@pytest.mark.parametrize(
    ("publish", "expected"),
    [
        ("[]", "publish: must not be empty"),
        ("[{cluster: mian, topic: t}]", "there is no cluster 'mian': did you mean main?"),
        ("[{topic: t}]", "publish[0]: cluster is missing"),
        ("[{cluster: main, topic: a b}]", "publish[0].topic: must be a topic name of letters"),
        ("[{cluster: main, topic: ..}]", "publish[0].topic: must be a topic name"),
        (f"[{{cluster: main, topic: {'x' * 250}}}]", "publish[0].topic: must be a topic name"),
        ("[{cluster: main, topic: 'w.{s}'}]", "topic: path_pattern has no group (?P<s>…)"),
        ("[{cluster: main, topic: '{s}'}]", "topic: must be a topic name that begins with"),
        (
            "[{cluster: main, topic: t}, {cluster: main, topic: t}]",
            "duplicate destination 'main/t'",
        ),
        (
            "[{cluster: main, topic: t, partitioner: fixed}]",
            "partitioner: partitions says how many",
        ),
        (
            "[{cluster: main, topic: t, partitioner: {type: random, partitions: 2}}]",
            "streams[0].publish[0].partitioner.partitions: partitions says how many, with",
        ),
        (
            "[{cluster: main, topic: t, partitioner: {type: fixed, partitions: 0}}]",
            "partitioner.partitions: must be at least 1",
        ),
        ("[{cluster: main, topic: t, partitioner: key}]", "must be one of sticky, random, round"),
        (
            "[{cluster: main, topic: t, partitioner: {local: near}}]",
            "partitioner.local: must be true or false, not 'near'",
        ),
        (
            "[{cluster: main, topic: t, partitioner: {local: {max_share: 0.5}}}]",
            "partitioner.local.max_share: must be at least 1",
        ),
        (
            "[{cluster: main, topic: t, partitioner: {local: {hosts: {a: 1, b: 0}}}}]",
            "6:80: streams[0].publish[0].partitioner.local.hosts.b: must be more than 0, not 0",
        ),
        *(
            (
                f"[{{cluster: main, topic: t, partitioner: {{local: true, type: {kind}}}}}]",
                f"6:62: streams[0].publish[0].partitioner.local: with {kind} a key has other part",
            )
            for kind in ("key_murmur2", "key_crc32", "key_murmur3", "key_md5")
        ),
        ("[{cluster: main, topic: t, partitioner: {locl: true}}]", "did you mean local?"),
        ("{cluster: main, topic: t}", "publish: must be a list ([a, b] or lines with -)"),
        ("[main]", "publish[0]: must be a mapping (key: value), not a single value"),
    ],
)
def test_problem_of_a_destination(folder: Folder, publish: str, expected: str) -> None:
    text = MINIMAL.replace("[{cluster: main, topic: web.access}]", publish)
    assert expected in folder.problem(text)


def _partitioner(folder: Folder, reader: str, partitioner: str) -> PartitionerConfig:
    publish = f"publish: [{{cluster: main, topic: t, partitioner: {partitioner}}}]"
    text = CLUSTERS + f"streams:\n  - {{name: s, paths: [/a], reader: {reader}, {publish}}}\n"
    return folder.load(text).config.streams[0].publish[0].partitioner


def test_local_is_said_in_a_word_or_in_detail(folder: Folder) -> None:
    assert _partitioner(folder, "text", "{local: false}").local is None
    assert _partitioner(folder, "text", "{local: true}").local == LocalConfig()
    local = _partitioner(folder, "text", "{local: {max_share: 2, hosts: {a: 60, b: 20.5}}}").local
    assert local == LocalConfig(max_share=2.0, hosts={"a": 60.0, "b": 20.5})


@pytest.mark.parametrize(
    ("reader", "default"),
    [
        ("text", PartitionerType.STICKY),
        ("thrift", PartitionerType.KEY_MURMUR2),
        ("protobuf", PartitionerType.STICKY),
        ("frames", PartitionerType.STICKY),
    ],
)
def test_keys_choose_the_partition_where_the_reader_knows_them_and_nothing_is_said(
    folder: Folder, reader: str, default: PartitionerType
) -> None:
    for said in ("", "{}", "{interval: 1s}"):
        assert _partitioner(folder, reader, said).type is default
    assert _partitioner(folder, reader, "random").type is PartitionerType.RANDOM
    assert _partitioner(folder, reader, "{type: sticky, local: true}").local


def test_the_default_by_key_does_not_go_with_local_either(folder: Folder) -> None:
    line = folder.problem(
        CLUSTERS
        + "streams:\n  - name: s\n    paths: [/a]\n    reader: thrift\n"
        + "    publish: [{cluster: main, topic: t, partitioner: {local: {max_share: 2}}}]\n"
    )
    assert line.startswith(
        "singer.yaml:7:62: streams[0].publish[0].partitioner.local: with key_mur"
    )
    assert line.endswith(
        "say ordering: none if that may be; if there are no keys, say type: sticky"
    )


def test_who_gives_up_the_order_of_keys_may_keep_them_local(folder: Folder) -> None:
    for said in ("{local: true, ordering: none}", "{type: key_md5, local: true, ordering: none}"):
        partitioner = _partitioner(folder, "thrift", said)
        assert partitioner.ordering is Ordering.NONE
        assert partitioner.type.by_key
        assert partitioner.local


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ("{}", "main: bootstrap is missing: a list of host:port, or embedded"),
        ("{bootstrap: []}", "main.bootstrap: must not be empty"),
        ("{bootstrap: kafka-1:9092}", "main.bootstrap: must be a list"),
        ("{bootstrap: [kafka-1]}", "main.bootstrap[0]: must be host:port, not 'kafka-1'"),
        ("{bootstrap: ['a:70000']}", "main.bootstrap[0]: must be host:port"),
        (
            "{bootstrap: ['kafka:/rn:a:b:c:d:e']}",
            "(a topic URI is written as the topic in publish)",
        ),
        ("{bootstrap: [a:1], embedded: {}}", "main.embedded: needs bootstrap: embedded"),
        ("{bootstrap: embedded, embedded: {brokers: 0}}", "embedded.brokers: must be at least 1"),
        ("{bootstrap: embedded, delivery: exactly_once}", "the embedded cluster forgets all"),
        ("{bootstrap: [a:1], delivery: once}", "must be one of at_least_once, exactly_once"),
        ("{bootstrap: [a:1], bootstrap_file: /x}", "bootstrap_file: is another way to say"),
        ("{bootstrap: [a:1], properties: {acks: 1}}", "properties.acks: must stay all"),
        ("{bootstrap: [a:1], properties: {lingr.ms: 1}}", "is not a property of librdkafka"),
        ("{bootstrap: [a:1], properties: {linger.ms: [1]}}", "linger.ms: must be a single value"),
        ("{bootstrap: [a:1], properties: {compression.type: none}}", "needs allow_uncompressed"),
        ("{bootstrap: [a:1], allow_uncompressed: ' '}", "must say why, not ' '"),
    ],
)
def test_problem_of_a_cluster(folder: Folder, cluster: str, expected: str) -> None:
    text = f"clusters:\n  main: {cluster}\n" + STREAMS
    line = folder.problem(text)
    assert line.startswith("singer.yaml:2:")
    assert expected in line


def test_every_property_is_judged_even_if_one_cannot_be_read(folder: Folder) -> None:
    problems = folder.problems(
        "clusters: {main: {bootstrap: [a:1], properties: {acks: 1, x.y: 1, sasl.password: [1]}}}\n"
        + STREAMS
    )
    assert [line.split(": ")[1].rpartition("properties.")[2] for line in problems] == [
        "acks",
        "x.y",
        "sasl.password",
    ]


def test_uncompressed_with_a_reason(folder: Folder) -> None:
    config = folder.load(
        "clusters: {main: {bootstrap: [a:1], allow_uncompressed: already compressed, "
        "properties: {compression.type: none}}}\n" + STREAMS
    ).config
    assert config.clusters["main"].properties["compression.type"] == "none"


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("{memroy: 1MiB}", "agent.memroy: unknown key: did you mean memory?"),
        ("{memory: 64 mebibytes}", "agent.memory: must be a size in bytes"),
        ("{memory: 1KiB}", "agent.memory: must be at least 1MiB"),
        ("{rescan: 0s}", "agent.rescan: must be at least 100ms"),
        ("{locality: us-east-1a}", "agent.locality: must be none, ec2, static:ZONE"),
        ("{state_dir: [x]}", "agent.state_dir: must be a single value, not a list"),
        ("{max_open_files: many}", "agent.max_open_files: must be a whole number, not 'many'"),
        ("no", "agent: must be a mapping (key: value), not a single value"),
    ],
)
def test_problem_of_the_agent(folder: Folder, agent: str, expected: str) -> None:
    assert expected in folder.problem(f"agent: {agent}\n" + MINIMAL)


def test_all_problems_at_once_in_file_order(folder: Folder) -> None:
    problems = folder.problems(
        """\
        agnet: {}
        clusters:
          main: {bootstrap: [kafka], properties: {acks: 0}}
          bad name: {bootstrap: embedded}
        streams:
          - name: a
            paths: [var/log/x, /ok]
            publish: [{cluster: other, topic: '!'}]
          - name: a
            paths: []
            rescan: 1s
        """
    )
    assert [line.split(": ")[0] + ": " + line.split(": ")[1] for line in problems] == [
        "singer.yaml:1:1: agnet",
        "singer.yaml:3:22: clusters.main.bootstrap[0]",
        "singer.yaml:3:49: clusters.main.properties.acks",
        "singer.yaml:4:3: clusters.bad name",
        "singer.yaml:7:13: streams[0].paths[0]",
        "singer.yaml:8:25: streams[0].publish[0].cluster",
        "singer.yaml:8:39: streams[0].publish[0].topic",
        "singer.yaml:9:5: streams[1]",
        "singer.yaml:9:11: streams[1].name",
        "singer.yaml:10:12: streams[1].paths",
        "singer.yaml:11:5: streams[1].rescan",
    ]


class TestInclude:
    def test_sorted_files_and_paths_relative_to_them(self, folder: Folder) -> None:
        folder.write(STREAMS.replace("access", "b"), "conf.d/b.yaml")
        folder.write(
            STREAMS.replace("access", "a").replace("publish", "rotated_dirs: [old]\n    publish"),
            "conf.d/a.yaml",
        )
        folder.write("clusters: {more: {bootstrap: embedded}}", "conf.d/c.yaml")
        folder.write("# empty", "conf.d/d.yaml")
        loaded = folder.load("include: [conf.d/*.yaml, conf.d/*.yaml, none/*.yaml]\n" + CLUSTERS)
        assert [stream.name for stream in loaded.config.streams] == ["a", "b"]
        assert set(loaded.config.clusters) == {"main", "more"}
        assert loaded.config.streams[0].rotated_dirs == (
            os.path.realpath(f"{folder.path}/conf.d/old"),
        )
        assert [os.path.basename(file) for file in loaded.files] == [
            "singer.yaml",
            "a.yaml",
            "b.yaml",
            "c.yaml",
            "d.yaml",
        ]

    def test_problems_name_the_included_file(self, folder: Folder) -> None:
        folder.write("agent: {}\nstreems: []\n" + CLUSTERS + STREAMS, "conf.d/a.yaml")
        folder.write("streams: [", "conf.d/b.yaml")
        os.mkdir(f"{folder.path}/conf.d/c.yaml")
        problems = folder.problems("include: [conf.d/*.yaml, absent.yaml]\n" + MINIMAL)
        first = ", first in singer.yaml on line {}"
        assert [line.partition(", expected")[0] for line in problems] == [
            "singer.yaml:1:26: include[1]: no such file: absent.yaml",
            "conf.d/a.yaml:1:1: agent: belongs in the main file, not in an included one",
            "conf.d/a.yaml:2:1: streems: unknown key: did you mean streams?",
            "conf.d/a.yaml:4:3: clusters.main: duplicate cluster 'main'" + first.format(3),
            "conf.d/a.yaml:6:11: streams[0].name: duplicate stream 'access'" + first.format(5),
            "conf.d/b.yaml:1:11: yaml syntax: while parsing a flow node",
            "conf.d/c.yaml:1:1: open configuration: is a directory, not a file",
        ]

    def test_main_file_is_not_its_own_include(self, folder: Folder) -> None:
        assert len(folder.load("include: ['*.yaml']\n" + MINIMAL).config.streams) == 1


class TestSubstitution:
    def test_environment_and_files(self, folder: Folder) -> None:
        folder.write("s3cr3t ${env:NOT_AGAIN}\n\n", "secret")
        config = folder.load(
            """\
            agent: {memory: "${env:MEMORY}", id: "$${env:MEMORY}"}
            clusters:
              main:
                bootstrap: ["${env:HOST}:9092"]
                properties: {sasl.password: "${file:secret}", sasl.username: "a-${env:HOST}"}
            """
            + STREAMS.replace("\n", "\n            "),
            {"MEMORY": "2MiB", "HOST": "kafka"},
        ).config
        main = config.clusters["main"]
        assert config.agent.memory == 2 << 20
        assert config.agent.id == "${env:MEMORY}"
        assert main.bootstrap == ("kafka:9092",)
        assert main.properties["sasl.username"] == "a-kafka"
        assert main.properties["sasl.password"] == "s3cr3t ${env:NOT_AGAIN}\n"
        assert isinstance(main.properties["sasl.password"], Secret)
        assert "s3cr3t" not in repr(config)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("${env:ABSENT}", "agent.id: environment variable ABSENT is not set"),
            ("${file:absent}", "absent: no such file"),
            ("${file:/}", "agent.id: cannot read file /: is a directory, not a file"),
            ("${HOME}", "agent.id: ${HOME} is no substitution: known are ${env:NAME}"),
            ("${env:}", "agent.id: ${env:} is no substitution"),
        ],
    )
    def test_what_is_missing(self, folder: Folder, value: str, expected: str) -> None:
        assert expected in folder.problem(f"agent: {{id: '{value}'}}\n" + MINIMAL)

    def test_secrets_are_not_in_messages(self, folder: Folder) -> None:
        folder.write("hunter2", "secret")
        problems = folder.problems(
            """\
            agent: {memory: "${file:secret}", locality: "${file:secret}"}
            clusters:
              main:
                bootstrap: ["${file:secret}"]
                properties: {ssl.key.password: [1], security.protocol: "${file:secret}"}
            streams:
              - name: a
                paths: ["${file:secret}"]
                publish: [{cluster: main, topic: "${file:secret}!"}]
            """
        )
        assert len(problems) == 7
        assert "hunter2" not in "\n".join(problems)

    def test_tokens(self, folder: Folder) -> None:
        def text(oauth: str, mechanism: str) -> str:
            properties = f"security.protocol: sasl_ssl, sasl.mechanism: {mechanism}"
            cluster = f"bootstrap: [kafka-1:9092], oauth: {oauth}, properties: {{{properties}}}"
            return f"clusters: {{main: {{{cluster}}}}}\n{STREAMS}"

        loaded = folder.load(text("{file: token}", "OAUTHBEARER"))
        oauth = loaded.config.clusters["main"].oauth
        assert oauth is not None
        assert oauth.file == os.path.join(folder.path, "token")
        for said, mechanism, problem in (
            ("{}", "OAUTHBEARER", "oauth: needs one of file, command and msk_iam"),
            ("{command: [x], timeout: 0}", "OAUTHBEARER", "oauth.timeout: must be at least 1s"),
            ("{msk_iam: {region: us-east-1}}", "OAUTHBEARER", "pip install 'singer-agent[msk]'"),
            (
                "{command: [x]}",
                "PLAIN, sasl.username: u, sasl.password: p",
                "oauth: needs sasl.mechanism: OAUTHBEARER",
            ),
            (
                "null",
                "GSSAPI",
                "sasl.mechanism: GSSAPI needs a librdkafka built with Kerberos",
            ),
        ):
            assert problem in folder.problem(text(said, mechanism))

    def test_keys_are_not_substituted(self, folder: Folder) -> None:
        assert "unknown key" in folder.problem("${env:X}: 1\n" + MINIMAL, {"X": "agent"})


@given(text=st.text(alphabet=st.sampled_from("ab:- \n[]{}&*!#'\"|>?%@,<\t0~"), max_size=60))
def test_any_text_is_loaded_or_refused_with_a_place(text: str) -> None:
    try:
        parse(text, "f.yaml")
    except ConfigError as error:
        assert all(problem.line >= 1 <= problem.column for problem in error.problems)
        assert "\n" not in str(error)


def test_the_example_is_valid() -> None:
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    config = load(os.path.join(root, "etc/singer.yaml"), {}).config
    assert config.agent.state_dir == os.path.realpath(os.path.join(root, ".run/state"))
    assert all(cluster.is_embedded for cluster in config.clusters.values())


# --- linger -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "wait", "latency"),
    [
        ("auto", None, 0.005),
        ("25ms", 0.025, 0.005),
        ("{latency: 30ms}", None, 0.03),
        ("{wait: 0s}", 0.0, 0.005),
    ],
)
def test_linger(folder: Folder, written: str, wait: float | None, latency: float) -> None:
    linger = folder.load(MINIMAL + f"    linger: {written}\n").config.streams[0].linger
    assert (linger.wait, linger.latency) == (wait, latency)


def test_a_budget_beside_a_fixed_linger_is_refused(folder: Folder) -> None:
    (problem,) = folder.problems(MINIMAL + "    linger: {wait: 1ms, latency: 5ms}\n")
    assert "with wait it says nothing" in problem


# --- headers ------------------------------------------------------------------------------


def with_headers(written: str) -> str:
    publish = f"{{cluster: main, topic: web.access, headers: {written}}}"
    return CLUSTERS + STREAMS.replace("{cluster: main, topic: web.access}", publish)


@pytest.mark.parametrize(
    ("written", "fields", "static"),
    [
        ("[mid, ots]", ("mid", "ots"), {}),
        ("{add: [host], static: {env: prod}}", ("host",), {"env": "prod"}),
        ("{static: {team: web}}", (), {"team": "web"}),
    ],
)
def test_headers(
    folder: Folder, written: str, fields: tuple[str, ...], static: dict[str, str]
) -> None:
    loaded = folder.load(with_headers(written))
    headers = loaded.config.streams[0].publish[0].headers
    assert tuple(field.value for field in headers.add) == fields
    assert headers.static == static
    (warning,) = loaded.warnings
    assert "a call of its own" in warning.message


def test_no_headers_cost_nothing(folder: Folder) -> None:
    for written in ("[]", "{}"):
        loaded = folder.load(with_headers(written))
        assert not loaded.config.streams[0].publish[0].headers
        assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[mud]", "must be one of mid, ots"),
        ("{static: {_mid: x}}", "is the name of one that add fills in"),
        ("{static: {'': x}}", "must be a name"),
        ("{extra: 1}", "unknown key"),
    ],
)
def test_headers_that_cannot_be(folder: Folder, written: str, said: str) -> None:
    (problem,) = folder.problems(with_headers(written))
    assert said in problem

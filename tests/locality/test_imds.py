"""The metadata service, asked over real connections: of the tests' own server, and of moto's."""

from __future__ import annotations

import socket
import threading

import pytest

from singer.base.errors import LocalityError
from singer.locality.imds import Imds, Instance, endpoint
from tests.locality.metadata_server import PREFIX, MetadataServer

HERE = Instance(instance_id="i-0123456789abcdef0", zone="us-east-1b", zone_id="use1-az2")
TOKEN = "/latest/api/token"
ZONE = f"{PREFIX}placement/availability-zone"


@pytest.fixture
def server():
    with MetadataServer() as server:
        yield server


def test_zone_name_and_zone_id_are_both_told(server):
    assert Imds(server.url).instance() == HERE
    assert HERE.names == ("us-east-1b", "use1-az2")


def test_one_token_serves_many_questions(server):
    imds = Imds(server.url)
    for _ in range(3):
        imds.instance()
    assert server.asked[f"PUT {TOKEN}"] == 1


def test_a_token_that_is_refused_is_replaced_once(server):
    imds = Imds(server.url)
    imds.instance()
    server._tokens.clear()
    assert imds.instance() == HERE
    assert server.asked[f"PUT {TOKEN}"] == 2
    server.token_seconds = 0.0
    server._tokens.clear()
    with pytest.raises(LocalityError, match="401"):
        imds.instance()
    assert server.asked[f"PUT {TOKEN}"] == 3


def test_a_token_is_renewed_before_it_ends(server, monkeypatch):
    imds = Imds(server.url)
    imds.instance()
    imds._token_until = 0.0
    imds.instance()
    assert server.asked[f"PUT {TOKEN}"] == 2
    assert server.asked[f"GET {ZONE}"] == 2, "nobody was refused"


def test_there_may_be_no_zone_id(server):
    del server.values["placement/availability-zone-id"]
    assert Imds(server.url).instance().names == ("us-east-1b",)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (TOKEN, 403, "turned off"),
        (TOKEN, 400, "400"),
        (TOKEN, 302, "302"),
        (ZONE, 403, "turned off"),
        (ZONE, 404, "404"),
        (ZONE, 500, "500"),
        (ZONE, 301, "301"),
    ],
)
def test_a_refusal_is_said(server, path, status, said):
    server.refuses[path] = status
    with pytest.raises(LocalityError, match=said):
        Imds(server.url).instance()


@pytest.mark.parametrize("path", [TOKEN, ZONE])
def test_who_does_not_answer_is_not_waited_for(server, path):
    server.hangs.add(path)
    with pytest.raises(LocalityError, match="does not answer within 1 s"):
        Imds(server.url).instance()


def test_an_answer_that_drips_has_a_deadline_too(server):
    server.drips = True
    with pytest.raises(LocalityError, match="more than 3 s"):
        Imds(server.url).instance()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("placement/availability-zone", "<html>", "not the name of a zone"),
        ("placement/availability-zone", "", "not the name of a zone"),
        ("placement/availability-zone", "a" * 5000, "a whole page"),
        ("placement/availability-zone-id", "a b", "not the name of a zone"),
        ("instance-id", "../x", "not the id of an instance"),
    ],
)
def test_what_is_no_zone_is_not_believed(server, name, value, said):
    server.values[name] = value
    with pytest.raises(LocalityError, match=said):
        Imds(server.url).instance()


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(LocalityError, match="cannot be reached"):
        Imds(f"http://127.0.0.1:{port}").instance()


def test_no_proxy_is_asked(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert Imds(server.url).instance() == HERE


def test_by_ipv6():
    try:
        server = MetadataServer("::1")
    except OSError:
        pytest.skip("this host has no IPv6")
    with server:
        assert Imds(server.url).instance() == HERE


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://169.254.169.254"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, "http://[fd00:ec2::254]"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1/"}, "http://127.0.0.1:1"),
        ({"AWS_EC2_METADATA_DISABLED": "True"}, None),
        ({"AWS_EC2_METADATA_DISABLED": "false"}, "http://169.254.169.254"),
    ],
)
def test_the_variables_of_the_sdks_say_where(environ, url):
    assert endpoint(environ) == url


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv5"},
        {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "169.254.169.254"},
    ],
)
def test_variables_that_say_nothing_are_named(environ):
    with pytest.raises(LocalityError, match="AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        endpoint(environ)


def test_moto_is_understood():
    server = pytest.importorskip("moto.server")
    serving = pytest.importorskip("werkzeug.serving")
    application = server.create_backend_app("instance_metadata")
    served = serving.make_server("127.0.0.1", 0, application)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    try:
        found = Imds(f"http://127.0.0.1:{served.port}").instance()
    finally:
        served.shutdown()
        thread.join()
    assert found == Instance(instance_id="i-fake", zone="us-east-1a", zone_id="use1-az1")

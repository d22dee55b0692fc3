"""One request to a receiver, whatever the receiver does: five seconds at most, no redirect, no address that was not meant."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelwatch.notify.client import Client, redacted
from modelwatch.notify.outcome import Delivered, Outcome, Refused, Retry
from notify.receivers import Web, web
from support import free_port

WALL_S = 0.5  # of the tests that wait for it
SECRET = "T0K3N-abcdef"


@pytest.fixture
def server() -> Iterator[Web]:
    """Run a server."""
    with web() as kept:
        yield kept


def post(url: str, **options: Any) -> Outcome:
    """Post something within half a second."""
    return Client(wall_s=WALL_S, **options).post(url, b"{}", {"Idempotency-Key": "1"}, (SECRET,))


def test_a_post_arrives_as_it_is_written(server: Web) -> None:
    """Path, query, headers and a name with a password, which go as HTTP wants them."""
    assert post(server.url.replace("//", "//ann:p%40ss@") + "/a/b?c=d") == Delivered()
    request = server.requests[0]
    assert (request.path, request.body) == ("/a/b?c=d", {})
    assert request.headers["Authorization"] == "Basic YW5uOnBAc3M="
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
def test_what_will_never_be_taken_is_refused(server: Web, status: int) -> None:
    """With what the receiver says, and no secret in it."""
    server.answer, server.words = lambda request: status, f"bad  token\n{SECRET} at /services/B0000001"
    outcome = post(server.url + "/services/B0000001")
    assert outcome == Refused(f"it answered {status}: bad token *** at /***/***")


def test_what_a_receiver_says_is_one_line_of_a_log(server: Web) -> None:
    """No line of a log can be forged, and no terminal told to do anything: reasons are logged, stored and printed."""
    server.answer, server.words = lambda request: 400, "no\r\nERROR forged \x1b[31m\x9b\u202e\u2028 \x00."
    outcome = post(server.url)
    assert isinstance(outcome, Refused)
    assert outcome.reason.isprintable()
    assert outcome.reason.startswith("it answered 400: no ERROR forged  [31m")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_be_taken_later_is_tried_again(server: Web, status: int) -> None:
    """After the time that the receiver asks for."""
    server.answer = lambda request: (status, {"Retry-After": "17"})
    outcome = post(server.url)
    assert isinstance(outcome, Retry)
    assert (outcome.after_s, outcome.maybe_told) == (17.0, status in (502, 504))


def test_retry_after_may_be_a_date_or_nonsense(server: Web) -> None:
    """A date counts from now; what is neither, or more than an hour, is bounded."""
    asked = {
        "Thu, 01 Jan 1970 00:02:00 GMT": 20.0, "soon": 0.0, "-5": 0.0, "": 0.0, "999999999999": 3600.0,
        "Thu, 01 Jan 1970 00:00:00 GMT": 0.0, "Fri, 01 Jan 2100 00:00:00 GMT": 3600.0,
    }  # fmt: skip
    texts = iter(asked)
    server.answer = lambda request: (503, {"Retry-After": next(texts)})
    for text, after_s in asked.items():
        outcome = post(server.url, wall=lambda: 100.0)
        assert isinstance(outcome, Retry)
        assert outcome.after_s == after_s, text


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server: Web, status: int) -> None:
    """It is refused, and nobody asks where it leads."""
    with web() as other:
        server.answer = lambda request: (status, {"Location": other.url})
        outcome = post(server.url)
        assert isinstance(outcome, Refused)
        assert "redirect" in outcome.reason
        assert other.requests == []


@pytest.mark.parametrize("behaviour", ["hang", "drip", "reset"])
def test_a_receiver_without_an_answer_costs_the_wall_time_at_most(server: Web, behaviour: str) -> None:
    """One that hangs, one that sends a byte now and then, one that resets: it may have the message."""
    server.answer = lambda request: behaviour
    began = time.monotonic()
    outcome = post(server.url)
    assert time.monotonic() - began < WALL_S + 1.0
    assert isinstance(outcome, Retry)
    assert outcome.maybe_told


def test_an_answer_whose_body_drips_is_an_answer(server: Web) -> None:
    """Its status says all that matters."""
    server.answer = lambda request: "drip body"
    began = time.monotonic()
    assert post(server.url) == Delivered()
    assert time.monotonic() - began < WALL_S + 1.0


def test_nobody_listens() -> None:
    """Nothing has left this host, so nobody was told."""
    outcome = post(f"http://127.0.0.1:{free_port()}/{SECRET}")
    assert isinstance(outcome, Retry)
    assert (outcome.maybe_told, SECRET in outcome.reason) == (False, False)
    assert "refused" in outcome.reason


def test_a_name_that_is_not_known_or_never_answered() -> None:
    """The look-up counts into the wall time."""

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    def never(*_: Any, **__: Any) -> Any:
        time.sleep(3)

    for look_up in (unknown, never):
        began = time.monotonic()
        outcome = post("http://hooks.example.com/", look_up=look_up)
        assert time.monotonic() - began < WALL_S + 1.0
        assert isinstance(outcome, Retry)
        assert not outcome.maybe_told


def test_a_certificate_that_nobody_trusts(pem: Path) -> None:
    """Nothing is sent; with a context that trusts it, it is."""
    with web(tls=pem) as server:
        outcome = post(server.url)
        assert isinstance(outcome, Retry)
        assert outcome.reason == "TLS failed: self-signed certificate"
        assert server.requests == []
        assert post(server.url, tls=ssl.create_default_context(cafile=str(pem))) == Delivered()


def test_a_server_that_speaks_no_tls(server: Web) -> None:
    """And the other way round: a failure, in words."""
    outcome = post(server.url.replace("http:", "https:"))
    assert isinstance(outcome, Retry)
    assert not outcome.maybe_told


def lead_to(*addresses: str) -> Any:
    """Return a look-up that always answers these."""
    return lambda host, port, **_: [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses
    ]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.7", "192.168.1.1", "172.16.0.1", "100.64.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1",
     "::1", "fd00::1", "fe80::1%eth0", "::ffff:10.0.0.7", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200",
     "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.7", "2002:a9fe:a9fe::1", "::10.0.0.7", "::ffff:0:10.0.0.7", "fec0::1"],
)  # fmt: skip
def test_a_name_may_not_lead_inside(address: str) -> None:
    """A name of the internet that leads to a private address is refused, and told."""
    outcome = post("http://hooks.example.com/", look_up=lead_to(address))
    assert isinstance(outcome, Refused)
    assert "list hooks.example.com below alerting.private_hosts" in outcome.reason


def test_a_name_that_is_listed_may_lead_inside(server: Web) -> None:
    """The address that was looked up is the one that is spoken to."""
    url = server.url.replace("127.0.0.1", "hooks.internal")
    assert post(url, look_up=lead_to("127.0.0.1"), private_hosts=("hooks.internal",)) == Delivered()
    assert server.requests[0].headers["Host"].startswith("hooks.internal:")


@pytest.mark.parametrize("host", ["169.254.169.254", "100.100.100.200", "[fe80::1]", "[fd00:ec2::254]", "0.0.0.0"])
def test_metadata_is_never_spoken_to(host: str) -> None:
    """Not even when its address stands in the configuration."""
    assert isinstance(post(f"http://{host}/latest/meta-data"), Refused)


def test_a_name_that_is_listed_does_not_lead_to_metadata() -> None:
    """Who answers for an internal name cannot send a message there."""
    for address in (
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "169.254.170.2",
        "fd00:ec2::254",
    ):
        outcome = post("http://hooks.internal/", look_up=lead_to(address), private_hosts=("hooks.internal",))
        assert isinstance(outcome, Refused), address


def test_this_machine_may_be_written_as_an_address() -> None:
    """Of IPv6 as of IPv4: there is nobody, but it was not refused."""
    for host in ("127.0.0.1", "[::1]"):
        assert isinstance(post(f"http://{host}:{free_port()}/"), Retry), host


@pytest.mark.parametrize(
    "url", ["http://[", "http://a:99999/", "http://\udcff.example/", "http:///x", f"http://{'a' * 70}.example/"]
)
def test_an_address_that_is_none(url: str) -> None:
    """Is an outcome, not an exception."""
    assert isinstance(post(url), (Refused, Retry))


def test_secrets_do_not_stand_in_reasons() -> None:
    """Of an address, parts of the path, values of the query and the password."""
    url = "https://ann:s3cr3t@hooks.example.com/services/T000001/B000001?token=abcdefgh"
    text = f"cannot POST {url}: T000001 B000001 abcdefgh s3cr3t at hooks.example.com"
    hidden = redacted(text, (url,))
    assert [part for part in ("T000001", "B000001", "abcdefgh", "s3cr3t") if part in hidden] == []
    assert hidden.endswith("hooks.example.com")

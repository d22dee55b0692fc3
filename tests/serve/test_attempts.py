"""How often a token may be guessed: some times at once, then ever more slowly, by address, and by no one else's fault."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from integrations.calling import Answer, call
from modelwatch.config import parse_config
from modelwatch.errors import ConfigError
from modelwatch.serve.guard import Forwarded
from modelwatch.serve.run import app_of
from modelwatch.server.access import LOGIN, OPERATE, VIEW, Access
from modelwatch.server.attempts import FIRST_S, FORGET_S, FREE, LONGEST_S, Attempts, address_of
from serve.conftest import CONFIG, House

HERE = (b"host", b"localhost:8080")
TOKENS = {VIEW: "token-of-view", OPERATE: "token-of-operate"}
ANN, EVE, PROXY = "192.0.2.7", "192.0.2.66", "10.0.0.1"


class Door:
    """A `serve` with tokens, and those who knock."""

    def __init__(self, house: House) -> None:
        self.now = 1000.0
        self.attempts = Attempts(lambda: self.now)
        self.access = Access(TOKENS.items(), now=lambda: 0.0, attempts=self.attempts)
        self.app = app_of(house.serve(), self.access)

    def sign_in(self, token: str, address: str = EVE, *headers: tuple[bytes, bytes]) -> Answer:
        """Send the form."""
        form = (b"content-type", b"application/x-www-form-urlencoded"), (b"origin", b"http://localhost:8080")
        return call(
            self.app, "/login", method="POST", headers=[HERE, *form, *headers], body=f"token={token}&next=/drift".encode(),
            client=(address, 5000),
        )  # fmt: skip

    def bear(self, token: str, address: str = EVE, kind: str = "Bearer", **more: Any) -> Answer:
        """Ask with a token in the header."""
        given = token if kind == "Bearer" else base64.b64encode(f"x:{token}".encode()).decode()
        headers = [HERE, (b"authorization", f"{kind} {given}".encode()), *more.pop("headers", [])]
        return call(self.app, "/api/status", headers=headers, client=(address, 5000))


@pytest.fixture
def door(house: House) -> Door:
    """Return a door that nobody has knocked at."""
    return Door(house)


def test_whoever_guesses_waits_ever_longer(door: Door) -> None:
    """Five wrong tokens are answered at once, each later one doubles the wait, and the page says when to try again."""
    for i in range(FREE):
        assert door.sign_in(f"guess-{i}").status == 401
    held = door.sign_in("token-of-view")
    assert (held.status, held.headers["retry-after"]) == (429, f"{FIRST_S:.0f}")
    words = held.body.decode().replace("\u00a0", " ")
    assert "Too many wrong tokens came from your address. Try again in 2 s, at 00:00:02 UTC." in words
    assert "token-of-view" not in words
    assert 'name="next" value="/drift"' in words
    waits = []
    for i in range(10):
        door.now += door.attempts.wait_s(EVE)
        assert door.sign_in(f"more-{i}").status == 401
        waits.append(door.attempts.wait_s(EVE))
    assert waits == [min(LONGEST_S, FIRST_S * 2 ** (i + 1)) for i in range(10)]
    door.now += LONGEST_S
    assert door.sign_in("token-of-view").status == 303


def test_who_does_not_guess_is_let_in(door: Door) -> None:
    """From another address with a right token, and with a session of that very address, while the guesser waits."""
    session = door.access.sign_in(TOKENS[VIEW].encode())
    for i in range(FREE):
        door.sign_in(f"guess-{i}")
    assert door.sign_in("token-of-view", EVE).status == 429
    assert door.sign_in("token-of-view", ANN).status == 303
    assert door.bear("token-of-operate", ANN).status == 200
    cookie = (b"cookie", f"{LOGIN}={session}".encode())
    assert call(door.app, "/api/status", headers=[HERE, cookie], client=(EVE, 1)).status == 200


@pytest.mark.parametrize("kind", ["Bearer", "Basic"])
def test_a_header_is_no_way_round(door: Door, kind: str) -> None:
    """Tokens of programs are counted together with those of the form, and refused in the one shape of errors."""
    for i in range(FREE - 1):
        assert door.bear(f"guess-{i}", kind=kind).status == 401
    door.sign_in("the last")
    held = door.bear("token-of-operate", kind=kind)
    assert (held.status, held.headers["retry-after"]) == (429, "2")
    assert json.loads(held.body)["error"]["code"] == "too_many_attempts"


def test_a_right_token_forgives_nothing_and_time_does(door: Door) -> None:
    """Nobody who may view goes on guessing the token of who may operate; after a quiet quarter of an hour all is new."""
    for i in range(FREE):
        door.sign_in(f"guess-{i}")
        if i < FREE - 1:
            assert door.sign_in("token-of-view").status == 303
    assert door.sign_in("token-of-view").status == 429
    door.now += FORGET_S
    assert door.sign_in("another guess").status == 401
    assert door.attempts.wait_s(EVE) == 0


def test_the_same_wrong_token_is_one_guess(door: Door) -> None:
    """A scrape with a token of last year keeps nobody of its address out; no token at all is no guess either."""
    for _ in range(50):
        assert door.bear("token of last year").status == 401
        assert call(door.app, "/api/status", headers=[HERE], client=(EVE, 1)).status == 401
    assert door.attempts.wait_s(EVE) == 0
    assert door.bear("token-of-view").status == 200


def test_its_memory_is_bounded() -> None:
    """A million addresses would not fill the memory: the one that was quiet longest is forgotten."""
    attempts = Attempts(lambda: 0.0, most=100)
    for i in range(FREE):
        attempts.wrong("first", b"%d" % i)
    for i in range(99):
        attempts.wrong(f"address {i}", b"x")
    assert (len(attempts), attempts.wait_s("first")) == (100, FIRST_S)
    attempts.wrong("one more", b"x")
    assert (len(attempts), attempts.wait_s("first")) == (100, 0)
    for i in range(1000):
        attempts.wrong("one more", b"%d" % i)
    assert attempts.wait_s("one more") == LONGEST_S


def test_one_client_has_a_whole_network_of_ipv6() -> None:
    """Its addresses are one; those of its neighbours are others; an address of IPv4 in IPv6 is that of IPv4."""
    of = {name: address_of({"client": (name, 1)}) for name in ("2001:db8::1", "2001:db8::2:3", "2001:db8:0:1::1")}
    assert of["2001:db8::1"] == of["2001:db8::2:3"] != of["2001:db8:0:1::1"]
    assert address_of({"client": ("::ffff:192.0.2.7", 1)}) == ANN
    assert address_of({"client": ("fe80::1%eth0", 1)}) == "fe80::"
    assert address_of({"client": ("testclient", 1)}) == "testclient"
    assert address_of({"client": None}) == ""


@pytest.mark.parametrize(
    ("proxies", "said", "counted"),
    [
        ([], ANN, PROXY),
        (["192.0.2.0/24"], ANN, PROXY),
        (["10.0.0.0/8"], ANN, ANN),
        (["10.0.0.1"], f"6.6.6.6, {ANN}", ANN),
        (["10.0.0.0/8"], f"6.6.6.6, {ANN}, 10.0.0.9", ANN),
        (["10.0.0.0/8"], "", PROXY),
        (["10.0.0.0/8"], "10.0.0.3, 10.0.0.9", "10.0.0.3"),
    ],
)
def test_behind_a_proxy_the_right_client_is_counted(proxies: list[str], said: str, counted: str) -> None:
    """Whom a proxy passes on is believed of proxies that are named only, and of what it was told only its last word."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["client"][0], scope["scheme"]))

    headers = [(b"x-forwarded-for", said.encode()), (b"x-forwarded-proto", b"https")]
    call(Forwarded(app, proxies), "/", headers=headers, client=(PROXY, 1))
    assert seen == [(counted, "https" if "10.0.0.0/8" in proxies or "10.0.0.1" in proxies else "http")]
    call(Forwarded(app, proxies), "/", headers=headers, client=("127.0.0.1", 1))
    assert seen[1] == ("127.0.0.1", "https")


def test_a_trusted_proxy_is_configured_and_limits_by_client(house: House) -> None:
    """With `pages.proxies` a guesser behind the proxy locks himself out and nobody else; without it, all behind it."""
    for line, other in (("pages: {proxies: [10.0.0.0/8]}", 303), ("", 429)):
        house.write(f"{CONFIG}\n{line}\n")
        door = Door(house)
        for i in range(FREE):
            door.sign_in(f"guess-{i}", PROXY, (b"x-forwarded-for", EVE.encode()))
        assert door.sign_in("token-of-view", PROXY, (b"x-forwarded-for", EVE.encode())).status == 429
        assert door.sign_in("token-of-view", PROXY, (b"x-forwarded-for", ANN.encode())).status == other


def test_a_proxy_that_is_no_address_is_refused() -> None:
    """The message names it, and what is expected."""
    with pytest.raises(ConfigError, match=r"10\.0\.0\.300.*expected an address or a network"):
        parse_config(f"{CONFIG}\npages: {{proxies: ['10.0.0.300']}}\n")

"""Who may see the pages of `modelwatch serve`, and under which names and path they are known."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from modelwatch.configfields import Duration, Problem, Section, or_empty, refuse, text, texts

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def _secret(value: object) -> SecretStr | None:
    if value is None or isinstance(value, SecretStr):
        return value
    return SecretStr(text(value))


def _prefix(value: str) -> str:
    plain = value.rstrip("/")
    if not _PREFIX.fullmatch(plain):
        raise refuse(Problem("a path such as /ops/ml", "Write letters, digits and . _ ~ - between its slashes."))
    return plain


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    problems = []
    for index, value in enumerate(values):
        try:
            ip_network(value)
        except ValueError:
            problems.append(Problem("an address or a network", "Write it as 10.0.0.7 or 10.0.0.0/8.", below=(index,)))
    if problems:
        raise refuse(*problems)
    return values


class Tokens(Section):
    """What lets in who reads (`view`), who labels, too (`review`), and who acknowledges and silences (`operate`)."""

    view: Annotated[SecretStr | None, BeforeValidator(_secret)] = None
    review: Annotated[SecretStr | None, BeforeValidator(_secret)] = None
    operate: Annotated[SecretStr | None, BeforeValidator(_secret)] = None


class Pages(Section):
    """The pages of `modelwatch serve`.

    hosts : names that the server is known by, besides localhost and its addresses.
    prefix : the path that a proxy in front serves them under.
    proxies : addresses or networks of proxies that are believed whom they pass on (`X-Forwarded-For`).
    session_s : after which somebody who has signed in does so again.
    """

    tokens: Annotated[Tokens, or_empty] = Tokens()
    hosts: Annotated[tuple[str, ...], BeforeValidator(texts)] = ()
    prefix: Annotated[str, BeforeValidator(text), AfterValidator(_prefix)] = Field(default="")
    proxies: Annotated[tuple[str, ...], BeforeValidator(texts), AfterValidator(_networks)] = ()
    session_s: Duration = Field(default=12 * 3600.0, validation_alias="session")

"""Deploys that somebody has told of, as rows of the audit: who changed what before a number moved."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, select

from modelwatch.groundtruth.tables import audit

ACTION = "deploy"
MOST = 100
LONGEST_NAME, LONGEST_NOTE = 100, 500  # characters that are kept


@dataclass(frozen=True)
class Deploy:
    """One deploy of a model. at: Unix seconds."""

    model: str
    version: str
    at: float
    by: str
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def tell(connection: Connection, deploy: Deploy) -> None:
    """Keep a deploy."""
    detail = {"model": deploy.model, "version": deploy.version, "note": _line(deploy.note, LONGEST_NOTE)}
    row = {"at": deploy.at, "actor": _line(deploy.by, LONGEST_NAME), "action": ACTION, "detail": json.dumps(detail)}
    connection.execute(audit.insert(), row)


def deploys(connection: Connection, model: str, since: float = float("-inf")) -> list[Deploy]:
    """Return the deploys of a model since a time, the latest first, 100 at most."""
    query = select(audit.c.at, audit.c.actor, audit.c.detail).where(audit.c.action == ACTION, audit.c.at >= since)
    found = []
    for at, actor, text in connection.execute(query.order_by(audit.c.at.desc(), audit.c.id.desc())):
        detail = json.loads(text)
        if detail["model"] == model:
            found.append(Deploy(model, detail["version"], at, actor, detail["note"]))
        if len(found) == MOST:
            break
    return found


def _line(text: str, longest: int) -> str:
    """Return a text as one line of printable characters."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(plain.split())[:longest]

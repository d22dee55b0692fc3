"""Compaction of `live.db`: minutes of all workers to one row, then to hours, days and one base row.

The sum of all rows never changes. A compacted row takes the highest sequence number of its parts, so a reader that has
seen the parts does not see it as new; one that has not starts again (`horizon`).
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from typing import NamedTuple

from modelwatch.errors import DamagedData
from modelwatch.store.live import BASE, DAY, EVERYDAY, HOUR, MINUTE, Spans
from modelwatch.tally import Tally

ALL_WORKERS = ""  # the worker of a compacted row


KEPT_S = 400 * DAY


class Tier(NamedTuple):
    """Rows of span `of` that ended more than `after` seconds ago become rows of span `to`; as they are unscaled."""

    of: int
    to: int
    after: int


TIERS = (
    Tier(MINUTE, MINUTE, 15 * MINUTE),  # the workers of one minute
    Tier(MINUTE, HOUR, DAY),
    Tier(HOUR, DAY, 35 * DAY),
    Tier(DAY, BASE, KEPT_S),
)
MOST_ROWS = 2000  # read in one transaction: others wait for it


def compact(db: sqlite3.Connection, now: float, spans: Spans = EVERYDAY) -> int:
    """Compact what is due; return the number of rows that were summed up."""
    tiers = [Tier(*(spans.seconds(s) for s in tier)) for tier in TIERS]
    return sum(_compact_tier(db, tier, now) for tier in tiers) + _compact_others(db, now, spans) + _compact_bases(db)


def _compact_tier(db: sqlite3.Connection, tier: Tier, now: float) -> int:
    unit = tier.to or 1
    # only whole units: an hour is summed up when all of its minutes are due
    before = int((now - tier.after) // unit) * unit if tier.to else int(now - tier.after)
    alone = "AND worker <> ''" if tier.of == tier.to else ""
    where = f"span = ? AND start <= ? {alone}"
    return _sum_rows(db, where, (tier.of, before - tier.of), tier.to)


def _compact_others(db: sqlite3.Connection, now: float, spans: Spans) -> int:
    """Sum rows of spans that this file had under another scale of time, once they are as old as days may be."""
    known = (BASE, *(spans.seconds(s) for s in (MINUTE, HOUR, DAY)))
    return _sum_rows(
        db, "span NOT IN (?, ?, ?, ?) AND start + span <= ?", (*known, int(now - spans.seconds(KEPT_S))), BASE
    )


def _compact_bases(db: sqlite3.Connection) -> int:
    """Sum base rows that workers brought along when their file was gone."""
    (dead,) = db.execute(
        "SELECT count(*) FROM counts WHERE span = ? AND worker <> '' AND worker NOT IN (SELECT worker FROM workers)",
        (BASE,),
    ).fetchone()
    if not dead:
        return 0
    return _sum_rows(db, "span = ? AND worker <> '' AND worker NOT IN (SELECT worker FROM workers)", (BASE,), BASE)


def _sum_rows(db: sqlite3.Connection, where: str, values: tuple[int, ...], span: int) -> int:
    db.execute("BEGIN IMMEDIATE")
    try:
        rows = db.execute(
            f"SELECT rowid, model, version, start, host, seq, tally FROM counts WHERE {where} ORDER BY start LIMIT ?",  # noqa: S608 - constants of this module
            (*values, MOST_ROWS),
        ).fetchall()
        groups: dict[tuple[str, str, int], list[tuple[int, str, int, bytes]]] = defaultdict(list)
        for rowid, model, version, start, host, seq, blob in rows:
            if not (type(start) is type(seq) is int and type(blob) is bytes):
                raise DamagedData(
                    "live: a row holds values of other types than were written. Another file will be made."
                )
            groups[model, version, start // span * span if span else 0].append((rowid, host, seq, blob))
        horizon = lost = 0
        for (model, version, start), parts in groups.items():
            have = db.execute(
                "SELECT rowid, host, seq, tally FROM counts"
                " WHERE model = ? AND version = ? AND start = ? AND span = ? AND worker = ''",
                (model, version, start, span),
            ).fetchone()
            horizon = max(horizon, *(seq for _, _, seq, _ in parts))
            lost += _replace(db, (model, version, start, span), [*parts, have] if have else parts)
        if lost:  # readers count the damaged rows that they see: all of them begin again, and see these no more
            db.execute("UPDATE state SET value = value + ? WHERE name = 'damaged_rows'", (lost,))
            (horizon,) = db.execute("UPDATE state SET value = value + 1 WHERE name = 'seq' RETURNING value").fetchone()
        if rows:
            db.execute("UPDATE state SET value = max(value, ?) WHERE name = 'horizon'", (horizon,))
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return len(rows)


def _replace(db: sqlite3.Connection, to: tuple[str, str, int, int], parts: list[tuple[int, str, int, bytes]]) -> int:
    """Put the sum of `parts` in their place; return how many could not be read.

    A damaged part goes, and so do counts on other edges than those of the newest part: they are in no sum.
    """
    total = Tally()
    lost = 0
    for _, _, _, blob in sorted(parts, key=lambda part: -part[2]):  # the newest first: its edges are the ones in use
        try:
            total.add_matching(Tally.load(blob))
        except DamagedData:
            lost += 1
    db.executemany("DELETE FROM counts WHERE rowid = ?", [(rowid,) for rowid, *_ in parts])
    seq, host = max(part[2] for part in parts), parts[0][1]
    model, version, start, span = to
    db.execute(
        "INSERT OR REPLACE INTO counts (model, version, start, span, worker, host, seq, tally)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (model, version, start, span, ALL_WORKERS, host, seq, total.dump()),
    )
    return lost

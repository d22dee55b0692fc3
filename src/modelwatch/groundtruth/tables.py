"""The tables of the store, as SQLAlchemy sees them. `migrations` makes them; a test compares the two."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text, and_

metadata = MetaData()

#: Names and values of the store itself: its layout, the key that signs request ids.
state = Table(
    "modelwatch_store",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

#: One row a request id. A label that comes before its sample makes the row; `model` is NULL until the sample comes.
samples = Table(
    "samples",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("model", Text),
    Column("version", Text),
    Column("endpoint", Text),
    Column("predicted_at", Double),
    Column("prediction", Text),  # JSON: text or a number
    Column("confidence", Double),
    Column("segment", Text),
    Column("inclusion", Double),
    Column("label", Text),  # JSON; the current one of `labels`
    Column("labelled_at", Double),
    Column("revisions", Integer, nullable=False),  # how often the current label has changed since the first
    Column("counted", Boolean, nullable=False),  # the first label has been handed out for counting
    Column("kept_until", Double),  # of a row that waits for its sample
    Column("claimed_by", Text),
    Column("claimed_until", Double),
    Column("input", Text),  # the long columns are last: a scan need not step over them
    Column("features", Text),  # JSON
)
Index("samples_predicted", samples.c.model, samples.c.predicted_at)
Index(
    "samples_waiting",
    samples.c.model,
    samples.c.predicted_at,
    sqlite_where=and_(samples.c.label.is_(None), samples.c.model.is_not(None)),
    postgresql_where=and_(samples.c.label.is_(None), samples.c.model.is_not(None)),
)
Index(
    "samples_labelled",
    samples.c.model,
    samples.c.labelled_at,
    sqlite_where=samples.c.label.is_not(None),
    postgresql_where=samples.c.label.is_not(None),
)
Index(
    "samples_early",
    samples.c.kept_until,
    sqlite_where=samples.c.kept_until.is_not(None),
    postgresql_where=samples.c.kept_until.is_not(None),
)

Index(
    "samples_claimed",
    samples.c.claimed_until,
    sqlite_where=samples.c.claimed_until.is_not(None),
    postgresql_where=samples.c.claimed_until.is_not(None),
)

#: What a reviewer says of a request, and when last. The latest that is not taken back is the label of the sample.
labels = Table(
    "labels",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("reviewer", Text, primary_key=True),  # "": nobody in particular
    Column("label", Text, primary_key=True),  # JSON
    Column("at", Double, nullable=False),
    Column("withdrawn_at", Double),
    Column("note", Text),
)

#: Items that a reviewer does not want to see again.
skips = Table(
    "skips",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("reviewer", Text, primary_key=True),
)

#: Who changed what: appended, never changed; removed with the sample it is about.
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("request_id", Text),
    Column("detail", Text, nullable=False),  # JSON
)
Index("audit_request", audit.c.request_id)
Index("audit_at", audit.c.at)

#: What the hosts of a fleet have counted: closed minutes of their `live.db`, later hours and days. `file` tells one
#: `live.db` from the next one of the same host.
counts = Table(
    "counts",
    metadata,
    Column("host", Text, primary_key=True),
    Column("file", BigInteger, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("start", BigInteger, primary_key=True),  # Unix seconds
    Column("span", Integer, primary_key=True),  # seconds
    Column("tally", LargeBinary, nullable=False),
)
Index("counts_start", counts.c.start)

#: What is counted of a model version: its edges and labels, as JSON.
models = Table(
    "models",
    metadata,
    Column("model", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("schema", Text, nullable=False),
)

#: The last that is known of every alert, told or not. `alert` is JSON.
alert_states = Table(
    "alert_states",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("severity_at", Double, nullable=False),  # since when it is that severe
    Column("ended_at", Double),
    Column("acknowledged_by", Text),
    Column("acknowledged_at", Double),
    Column("alert", Text, nullable=False),
)

#: What a receiver has been told of the alerts of one name and model: JSON, fingerprint to severity.
alert_groups = Table(
    "alert_groups",
    metadata,
    Column("receiver", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("began_at", Double, nullable=False),
    Column("sent_at", Double),
    Column("number", Integer, nullable=False),  # of notices so far
    Column("told", Text, nullable=False),
)

#: The outbox: what is to be sent, and what became of it.
notices = Table(
    "notices",
    metadata,
    Column("id", Text, primary_key=True),
    Column("receiver", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting, delivered, refused, replaced
    Column("made_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("claimed_by", Text),
    Column("claimed_until", Double),
    Column("tries", Integer, nullable=False),
    Column("maybe_told", Boolean, nullable=False),  # a try may have arrived though nobody knows
    Column("done_at", Double),
    Column("reason", Text),
    Column("notice", Text, nullable=False),  # JSON
)
Index(
    "notices_waiting",
    notices.c.receiver,
    notices.c.due_at,
    sqlite_where=notices.c.state == "waiting",
    postgresql_where=notices.c.state == "waiting",
)
Index(
    "notices_done",
    notices.c.done_at,
    sqlite_where=notices.c.done_at.is_not(None),
    postgresql_where=notices.c.done_at.is_not(None),
)

#: Alerts that nobody is to be told of for a while. `matches` is JSON: name, model and labels to their values.
silences = Table(
    "silences",
    metadata,
    Column("id", Text, primary_key=True),
    Column("author", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("starts_at", Double, nullable=False),
    Column("ends_at", Double, nullable=False),
    Column("matches", Text, nullable=False),
)

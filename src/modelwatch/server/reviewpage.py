"""The page on which people say what the truth is: one sample, what may be said of it, and why it matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from modelwatch.server import charts, words
from modelwatch.server.accuracy import accuracy, amount
from modelwatch.server.frame import PATHS, REVIEW, document, frame, page_title, query, render
from modelwatch.server.words import MISSING, clean, finite, number, plural

if TYPE_CHECKING:
    from modelwatch.groundtruth.store import Sample
    from modelwatch.server.desk import Turn

KEYS = 9  # classes that have a key
SHOWN_FEATURES = 24
SHOWN_EARLIER = 5
LONGEST_TEXT = 16_384
LONGEST_NAME = 64
NO_STORE = (
    "This service keeps no samples, so there is nothing to review. Add store: sqlite:///modelwatch.db to "
    "modelwatch.yaml, and give the pages the monitor's review: pages_app(status, Desk([monitor.review]))."
)
NO_DESK = (
    "Samples wait, but this server only shows pages: it was given no Desk. Review them where the service itself serves "
    "its pages, or take them out with modelwatch label export."
)
#: What is said after something was done, by the word in the address.
DONE = {
    "matched": "Saved.",
    "duplicate": "Saved. Somebody had said the same before.",
    "conflict": "Saved. Somebody had said something else before: both are kept, the latest counts.",
    "late": "Not counted: the sample is older than the retention.",
    "not_sampled": "Not counted: this sample is not in the store any more.",
    "unknown_id": "Not counted: this sample is not in the store any more.",
    "unknown_label": "Not saved: that is no label of this model. Choose again.",
    "skipped": "Skipped: somebody else gets it.",
    "undone": "Taken back. Here it is again.",
    "nothing": "There is nothing of today to take back.",
    "peeked": "You have looked at the model's answer; that is written down with your label.",
    "named": "",
}
_WELL = {"matched", "duplicate", "skipped", "undone", "named", "peeked"}


class Choice(NamedTuple):
    """A class that may be said, with its key."""

    name: str
    value: str
    key: str


class Remark(NamedTuple):
    """What somebody did about the sample before."""

    when: str
    who: str
    what: str
    note: str


def review_page(
    status: Mapping[str, Any],
    chosen: Mapping[str, Any] | None,
    turn: Turn | None,
    *,
    base: str,
    model: str | None,
    token: str,
    said: str = "",
    naming: bool = False,
    reviewer: str = "",
) -> str:
    """Return the page of a reviewer as a full HTML document.

    Parameters
    ----------
    status : mapping
        What the server knows now.
    chosen : mapping, optional
        The model in the status; None while it has not reported.
    turn : Turn, optional
        What the reviewer sees; None where nobody is reviewing, or nothing can be reviewed.
    model : str, optional
        The name in the address.
    token : str
        What the forms bring along; empty where there is no desk.
    said : str
        A key of `DONE`.
    naming : bool
        Ask for the name of the reviewer.
    """
    parts = frame(status, chosen, base, model, REVIEW)
    parts["why"] = why(chosen, turn)
    if not token:
        has_store = bool((chosen or {}).get("quality"))
        parts["item"] = render("noreview", told=NO_DESK if has_store else NO_STORE)
    elif naming or turn is None:
        parts["item"] = render(
            "name", base=base, model=model or "", token=token, reviewer=clean(reviewer, LONGEST_NAME)
        )
    else:
        parts["item"] = item(turn, base=base, token=token, said=said)
    refresh = f"{base}/fragments/review{query(model)}"
    return document("review", parts, base, refresh, page_title(REVIEW, model=chosen), "none")


def item(turn: Turn, *, base: str, token: str, said: str = "") -> str:
    """Return the sample in hand with its form, or that none waits."""
    whole = turn.done + turn.waiting
    common = {
        "base": base,
        "model": turn.model,
        "token": token,
        "reviewer": clean(turn.reviewer, LONGEST_NAME),
        "rename": f"{base}{PATHS[REVIEW]}{query(turn.model)}&rename=1",
        "progress": f"{number(turn.done)} labelled today · {_waiting(turn)} waiting",
        "bar": Markup(charts.bar(turn.done / whole if whole else 0.0, height=6)),
        "said": DONE.get(said, ""),
        "well": said in _WELL,
        "last": "" if turn.undo is None else _answer(turn.undo, 60),
    }
    if turn.sample is None:
        return render("idle", **common, told=_idle(turn))
    return render("item", **common, **_sample(turn, turn.sample))


def _idle(turn: Turn) -> str:
    if turn.held:
        others = f"{plural(turn.held, 'sample is', 'samples are')} with other reviewers"
        return f"{others}; what they do not finish comes back within ten minutes."
    if turn.waiting:
        what = f"{_waiting(turn)} {'sample' if turn.waiting == 1 else 'samples'}"
        return f"You have skipped all {what} that wait: others have to look at them."
    return "Every sample has a label. New ones come as predictions are kept for review."


def _waiting(turn: Turn) -> str:
    return f"over {number(turn.waiting)}" if turn.more else number(turn.waiting)


def _sample(turn: Turn, sample: Sample) -> dict[str, Any]:
    features = sample.features or {}
    choices = [
        Choice(clean(name, 60) or "(empty)", name, str(i + 1) if i < KEYS else "")
        for i, name in enumerate(turn.classes or ())
    ]
    return {
        "request_id": sample.request_id,
        "text": lines(sample.input) if sample.input else "",
        "choices": choices,
        "regression": turn.classes is None,
        "peeked": turn.peeked,
        "answer": _answer(sample.prediction, 120) if turn.peeked else "",
        "confidence": _confidence(sample.confidence) if turn.peeked else "",
        "segment": clean(sample.segment, 60) if sample.segment is not None else "",
        "predicted": words.day_and_clock(sample.predicted_at),
        "version": clean(sample.model_version, 40),
        "features": [(clean(name, 60), _feature(value)) for name, value in list(features.items())[:SHOWN_FEATURES]],
        "hidden": max(0, len(features) - SHOWN_FEATURES),
        "earlier": _remarks(turn),
    }


def _remarks(turn: Turn) -> list[Remark]:
    found: Sequence[Any] = turn.earlier[-SHOWN_EARLIER:]
    return [
        Remark(words.day_and_clock(e.at), clean(e.who, LONGEST_NAME) or "somebody", e.what, clean(e.note, 400))
        for e in found
    ]


def _answer(value: str | float, longest: int) -> str:
    return clean(value, longest) or "(empty)" if isinstance(value, str) else amount(value)


def _confidence(value: float | None) -> str:
    return MISSING if value is None else number(value, 2)


def _feature(value: Any) -> str:
    if value is None:
        return "missing"
    return amount(value) if finite(value) is not None else clean(value, 200) or "(empty)"


def lines(text: str) -> str:
    r"""Return foreign text of several lines, each in a form that is safe to encode and to read.

    Examples
    --------
    >>> lines("a\x00\nb") == "a\N{REPLACEMENT CHARACTER}\nb"
    True
    """
    return "\n".join(clean(line, LONGEST_TEXT) for line in text[:LONGEST_TEXT].splitlines())


def why(chosen: Mapping[str, Any] | None, turn: Turn | None) -> str:
    """Return why labels matter: how right the model is known to be now, and what waits."""
    found = accuracy(chosen)
    facts = [("Now", f"{found.number}{words.NBSP}{found.unit} ({found.interval})" if found.interval else found.clause)]
    facts += [("From", found.of)] if found.of else []
    if turn is not None:
        oldest = "" if turn.oldest_waiting_s is None else f", the oldest for {words.span(turn.oldest_waiting_s)}"
        facts.append(("Waiting", f"{_waiting(turn)}{oldest}"))
        facts.append(("With others", number(turn.held)))
    keys = []
    if turn is not None and turn.sample is not None:
        keys = [(str(i + 1), clean(name, 40)) for i, name in enumerate((turn.classes or ())[:KEYS])]
        keys = keys or [("Enter", "save it"), ("Esc", "leave the field, for the other keys")]
    return render("why", state=found.state, word=found.word, facts=facts, keys=keys)


def review_json(turn: Turn, token: str) -> dict[str, Any]:
    """Return what a reviewer sees as plain values; the model's answer only after they have asked for it."""
    sample = turn.sample
    shown: dict[str, Any] | None = None
    if sample is not None:
        shown = {
            "request_id": sample.request_id,
            "input": sample.input,
            "features": dict(sample.features or {}),
            "segment": sample.segment,
            "predicted_at": sample.predicted_at,
            "model_version": sample.model_version,
            "peeked": turn.peeked,
        }
        if turn.peeked:
            shown |= {"prediction": sample.prediction, "confidence": sample.confidence}
    return {
        "model": turn.model,
        "reviewer": turn.reviewer,
        "task": "regression" if turn.classes is None else "classification",
        "classes": turn.classes,
        "csrf": token,
        "sample": shown,
        "labelled_today": turn.done,
        "last_label": turn.undo,
        "waiting": turn.waiting,
        "more_waiting": turn.more,
        "with_others": turn.held,
        "oldest_waiting_s": turn.oldest_waiting_s,
    }


def here(base: str, model: str, said: str = "") -> str:
    """Return the address of the page of a model, with what was done."""
    return f"{base}{PATHS[REVIEW]}{query(model)}" + (f"&said={quote(said, safe='')}" if said else "")

"""The page "may I deploy?": what is promised, how it is kept, and how much may still go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwatch.server.budgets import budgets, slos_verdict
from modelwatch.server.frame import SLOS, band, choose, document, frame, page_title, query, render
from modelwatch.server.standing import standing_of


def slos_page(status: Mapping[str, Any], *, base: str = "", model: str | None = None) -> str:
    """Return the page of the objectives of one model as a full HTML document.

    Parameters and errors are those of `pages.health_page`.
    """
    parts = slos_fragments(status, base=base, model=model)
    chosen = choose(status, model)
    said = slos_verdict(budgets(status, chosen, standing_of(status, chosen)))
    title = page_title(said.word, SLOS, chosen)
    return document("slos", parts, base, f"{base}/fragments/slos{query(model)}", title, said.state)


def slos_fragments(status: Mapping[str, Any], *, base: str = "", model: str | None = None) -> dict[str, str]:
    """Return the changing parts of the page of objectives, by the name that the page gives their boxes."""
    chosen = choose(status, model)
    found = budgets(status, chosen, standing_of(status, chosen))
    bits = frame(status, chosen, base, model, SLOS) | band(slos_verdict(found), SLOS, chosen)
    table = render("budgets", rows=found.rows) if found.rows else ""
    todo = "" if found.rows or found.why else render("sloless", nobody=found.nobody)
    return bits | {"budgets": table, "todo": todo}

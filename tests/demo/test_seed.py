"""The demo again: the same seed keeps the same predictions for review."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from modelwatch.demo.run import ids_of, store_of, write_config
from modelwatch.demo.service import CONFIG, SEED, create_app
from modelwatch.demo.traffic import NUMBER
from modelwatch.groundtruth.ids import signer_of
from modelwatch.groundtruth.queue import waiting
from modelwatch.groundtruth.store import Store
from modelwatch.groundtruth.writer import Writer
from modelwatch.record import lifetime

REQUESTS = 120


async def answers_of(app: FastAPI) -> list[str]:
    """Send numbered requests to the service; return the ids that it hands out."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://demo") as client:
        return [
            str(
                (await client.post("/predict", json={"text": f"good {n}"}, headers={NUMBER: str(n)})).json()[
                    "request_id"
                ]
            )
            for n in range(REQUESTS)
        ]


def played(folder: Path, seed: int | None, patch: pytest.MonkeyPatch) -> tuple[list[str], set[str]]:
    """Play the demo in a folder; return the ids that it handed out, and those that it has kept."""
    folder.mkdir(exist_ok=True)
    write_config(folder)
    store = Store(store_of(folder))
    before = {sample.request_id for sample in waiting(store, "sentiment_classifier")}
    patch.setenv(CONFIG, str(folder / "modelwatch.yaml"))
    patch.delenv(SEED, raising=False)
    if seed is not None:
        patch.setenv(SEED, ids_of(seed, store))
    answers = asyncio.run(answers_of(create_app()))
    for writer in lifetime.every(Writer):
        assert writer.flush()
    signer = signer_of(store)
    raw = [issued.request_id for one in answers if (issued := signer.verify(one))]
    assert len(raw) == len(set(raw)) == REQUESTS
    kept = {sample.request_id for sample in waiting(store, "sentiment_classifier")} - before
    store.close()
    return raw, kept


def test_a_seed_tells_which_predictions_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one seed the same ids, each once and signed, in another folder; with another seed, or none, other ones.

    A second demo in the same folder has new ids.
    """
    first = played(tmp_path / "a", 3, monkeypatch)
    assert first[1]
    assert played(tmp_path / "b", 3, monkeypatch) == first
    again = played(tmp_path / "a", 3, monkeypatch)
    others = [again, played(tmp_path / "c", 4, monkeypatch), played(tmp_path / "d", None, monkeypatch)]
    for ids, _ in others:
        assert not set(ids) & set(first[0])

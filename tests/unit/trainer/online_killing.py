"""``python online_killing.py SEED KILLS FOLDER [RUN]``: kill an online trainer again and again while events come.

It begins here undisturbed, so that all is imported and it is known how long a start takes on this machine. Then every
attempt is forked. Half of them are killed at a random moment, half right before a random file operation, so that the
gaps between two writes are hit as well. The last attempt runs until it has trained on everything
and, with anchors, until the last of them is champion. Prints one line of JSON: the exit codes, and the sequence of the
head after each kill.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from killing import ended, kill_before
from online_site import FIRST, Site

from viridian_trainer.online import publication, reader, trainer
from viridian_trainer.spec import Online

PER_KILL, OPERATIONS = 24, 150
#: Events that are enough for the gate of the site.
JUDGED_BY = 60
LEASE = 1.0
#: Settings of each kind of run; ``partial`` deltas leave rows and tensors for later, and round.
RUNS = {
    "plain": Online(publish_interval=0.01, anchor_every=3600, anchor_events=10**6),
    "anchors": Online(publish_interval=0.01, anchor_every=3600, anchor_events=150),
    "partial": Online(
        publish_interval=0.01, anchor_every=3600, anchor_events=10**6, rows=0.3, dense_every=4, encoding="int8"
    ),
}


def hurry() -> None:
    """Small batches, and everything that happens now and then happens all the time."""
    reader.LIMIT = 12
    trainer.SAVE_SECONDS = 0.15
    publication.COMPACT_AT = 4


def attempt(work: Callable[[], None], operation: int | None, moment: float | None) -> int:
    """Run ``work`` in a child; gives its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if operation is not None:
                kill_before(operation)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return ended(child, moment)


def main() -> None:
    """Kill, then finish."""
    seed, kills, site = int(sys.argv[1]), int(sys.argv[2]), Site(Path(sys.argv[3]))
    torch.set_num_threads(1)
    hurry()
    run = sys.argv[4] if sys.argv[4:] else "plain"
    online = RUNS[run]
    start = undisturbed(site, online)
    choice, codes, heads = random.Random(seed), [], []
    for number in range(1, kills + 1):
        site.append(FIRST + number * PER_KILL, PER_KILL, duplicates=0.05, late=0.05)

        def endless() -> None:
            site.run(site.task(online=online), lambda told: False, local=True, lease=LEASE)

        if choice.random() < 0.5:
            code = attempt(endless, choice.randrange(OPERATIONS), 10 * start)
        else:
            code = attempt(endless, None, choice.uniform(0, 2 * start))
        codes.append(code)
        heads.append(str(site.head.sequence) if site.head else "")
    reader.LIMIT = 200
    until = judged(site, FIRST + (kills + 1) * PER_KILL) if run == "anchors" else site.caught_up
    last = attempt(lambda: finish(site, online, until=until), None, None)
    print(json.dumps({"codes": codes, "last": last, "heads": heads}))


def undisturbed(site: Site, online: Online) -> float:
    """Train on the first events; gives the seconds that a start and a few steps take."""
    finish(site, online, until=site.caught_up)
    site.append(FIRST, PER_KILL)
    begun = time.monotonic()
    finish(site, online, until=site.caught_up)
    return time.monotonic() - begun


def judged(site: Site, first: int) -> Callable[[dict[str, Any]], bool]:
    """The last anchor became champion; one that was made at the end of the log gets the events to judge it by."""
    helped: list[str] = []

    def until(told: dict[str, Any]) -> bool:
        anchor = told.get("anchor") or {}
        if site.caught_up(told) and anchor.get("at") and anchor["digest"] not in helped:
            site.append(first + len(helped) * JUDGED_BY, JUDGED_BY)
            helped.append(anchor["digest"])
        return site.promoted(told)

    return until


def finish(site: Site, online: Online, until: Callable[[dict[str, Any]], bool]) -> None:
    """Train on all that is left."""
    site.run(site.task(online=online), until, local=True, lease=LEASE)


if __name__ == "__main__":
    main()

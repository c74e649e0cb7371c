"""Files that nobody owns: which the caretaker takes away. What it does in a running service is in test_upkeep.py."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import cast

from texsynth_rpc.caretaker import UNOWNED, Caretaker
from texsynth_rpc.database import Database
from texsynth_rpc.jobs import JobStore, Limits
from texsynth_rpc.ledger import Ledger
from texsynth_rpc.objects import ObjectStore
from texsynth_rpc.scenes import SceneStore
from texsynth_rpc.supervisor import Supervisor


def test_what_a_crash_left_goes_and_what_is_owned_new_or_unfinished_stays(tmp_path: Path) -> None:
    database, objects = Database(tmp_path / "jobs.sqlite"), ObjectStore(tmp_path / "objects")
    ledger = Ledger(database)
    old = {name: objects.put(name.encode()) for name in ("left", "owned", "unfinished")}
    for digest in old.values():
        os.utime(objects.path(digest), (time.time() - UNOWNED - 10,) * 2)
    new = objects.put(b"new")
    ledger.own("ann", [(old["owned"], len("owned"))])
    jobs, scenes = JobStore(database, Limits(), lambda key: None), SceneStore(database, lambda tenant, scene: None)
    nobody = cast(Supervisor, None)  # no job is deleted here
    caretaker = Caretaker(jobs, ledger, objects, nobody, scenes, 0, lambda: {old["unfinished"]})
    asyncio.run(caretaker.remove_unowned())
    assert set(objects.digests()) == {old["owned"], old["unfinished"], new}
    database.close()

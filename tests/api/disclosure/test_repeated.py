"""The same task searched again gives the same octets: by another process beside this one, and after a restart."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from api.disclosure.casebook import Casebook
from api.disclosure.recipients import recipient_of
from api.disclosure.search import search
from store import Store
from tests.api.disclosure.conftest import peopled
from tests.api.disclosure.test_completeness import more
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S
from tests.store.conftest import deliver
from tests.store.records import NOW_US

CHILD = """
import json, sys
from pathlib import Path
from store import Store
from tests.api.disclosure.test_repeated import searched
from tests.conftest import FixedClock
from tests.store.records import NOW_US
with Store.open(Path(sys.argv[1]), clock=FixedClock(NOW_US)) as store:
    print(json.dumps(searched(store, sys.argv[2])))
"""


def searched(store: Store, task: str) -> list[str]:
    """The digests of the manifest and of each part's content; envelopes are fresh every time."""
    case = Casebook(store).case(task)
    recipient = recipient_of(store, case.authorisation, NOW_US)
    found = search(store, case, recipient, lambda _number, _octets: None)
    assert found.records > 0
    return [found.sha256, *(part.sha256 for part in found.parts)]


def in_another_process(root: Path, task: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(root), task], check=True, capture_output=True, timeout=PATIENCE_S, text=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_a_repeated_package_is_the_same_octets_by_another_process_and_after_a_restart(
    tmp_path: Path, clock: FixedClock
) -> None:
    root = tmp_path / "root"
    with Store.create(root, clock=clock) as store:
        court = peopled(store, clock)
        task = court.approved().id
        first = searched(store, task)
        assert searched(store, task) == first
        assert in_another_process(root, task) == first
    with Store.open(root, clock=clock) as store:
        assert searched(store, task) == first
        deliver(store, more(), source="later")
        assert searched(store, task) != first, "other records are another package"
        again = searched(store, task)
    assert in_another_process(root, task) == again

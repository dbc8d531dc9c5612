"""Checkpoints leave the machine; a real witness follows the log, and refuses every other past."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from api.settings import Settings
from api.witness import LAG_SECONDS_MAX, AuditKeeper, Drop, Remote, keepers_of, log_name
from api.witness_server import WitnessBook, create_witness
from schemas.errors import AuditError, BusyError, ConfigurationError, IntegrityError, NotFoundError, ProcedureError
from store import Store
from store.audit import AuditEntry, AuditLog, VerifierKey, verify_directory
from store.audit.checkpoint import Checkpoint, Signer, parse_note
from store.audit.cosign import WitnessKey, WitnessSigner
from store.audit.epochs import Certificate, load_epoch
from store.audit.paths import distrusted_path
from store.audit.submission import SUBMISSION_BYTES_MAX, Submission
from store.keys import Keyring
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S

ENTRY = AuditEntry("disclosure.run", {"task": "T-1"})


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as store:
        yield store


@pytest.fixture
def book(tmp_path: Path, store: Store, clock: FixedClock) -> WitnessBook:
    book = WitnessBook.open(tmp_path / "witness", clock, name="witness.test/1")
    book.watch(str(store.audit.origin))
    return book


@contextmanager
def serving(book: WitnessBook) -> Iterator[str]:
    """Serve a witness from a thread, on a port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_witness(book), log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)


@pytest.fixture
def url(book: WitnessBook) -> Iterator[str]:
    with serving(book) as url:
        yield url


def remote(store: Store, book: WitnessBook, url: str) -> Remote:
    return Remote(url, WitnessKey.parse(book.vkey), store.layout.audit / "cosigned")


def seen(book: WitnessBook, store: Store) -> int:
    return book.seen(log_name(store.audit.origin.name))[0].size


# A witness that follows


def test_a_witness_cosigns_a_log_that_only_grows_over_days_and_restarts(
    store: Store, book: WitnessBook, url: str, clock: FixedClock
) -> None:
    keeper = remote(store, book, url)
    for _ in range(3):
        for _ in range(3):
            store.log(ENTRY)
            assert keeper.send(store.audit) == store.audit.size == seen(book, store)
        clock.advance(days=1)
        assert store.audit.rotate_if_due()
    assert remote(store, book, url).send(store.audit) == store.audit.size  # a new process, which remembers nothing
    note = (store.layout.audit / "cosigned").read_text("utf-8")
    assert WitnessKey.parse(book.vkey).cosigned_at(parse_note(note)) == clock.now_us() // 1_000_000
    assert verify_directory(store.layout.audit, str(store.audit.origin), note) == []
    kept = sorted(path.name for path in (book._folder / "logs").glob("*/days/*"))
    assert kept == ["2026-11-22.checkpoint", "2026-11-23.checkpoint", "2026-11-24.checkpoint", "2026-11-25.checkpoint"]


def test_a_witness_that_is_restarted_remembers(store: Store, book: WitnessBook, url: str, clock: FixedClock) -> None:
    remote(store, book, url).send(store.audit)
    again = WitnessBook.open(book._folder, clock)
    assert again.vkey == book.vkey
    assert seen(again, store) == store.audit.size


def test_a_standard_witness_which_knows_one_key_is_followed_by_its_409(
    store: Store, book: WitnessBook, url: str
) -> None:
    keeper = remote(store, book, url)
    keeper.send(store.audit)
    store.log(ENTRY)
    keeper._seen = None, 0  # as with a witness that answers 404 to the question what it has seen
    assert keeper.send(store.audit) == store.audit.size == seen(book, store)


# A witness that refuses


def test_a_log_that_was_cut_is_refused(store: Store, book: WitnessBook, url: str, tmp_path: Path) -> None:
    shutil.copytree(store.root, tmp_path / "older")
    store.log(ENTRY)
    remote(store, book, url).send(store.audit)
    older = AuditLog.open(tmp_path / "older" / "audit", keyring=Keyring.open(tmp_path / "older"), clock=store.clock)
    with pytest.raises(IntegrityError, match="cut or made anew"):
        remote(store, book, url).send(older)
    with Store.open(tmp_path / "older", clock=store.clock) as cut:
        AuditKeeper(cut, [remote(store, book, url)]).send()
        assert cut.audit.distrusted is not None
        with pytest.raises(AuditError):
            cut.log(ENTRY)


def test_a_fork_is_refused_whether_it_is_longer_or_not(
    store: Store, book: WitnessBook, url: str, tmp_path: Path
) -> None:
    shutil.copytree(store.root, tmp_path / "fork")
    store.log(ENTRY)
    remote(store, book, url).send(store.audit)
    fork = AuditLog.open(tmp_path / "fork" / "audit", keyring=Keyring.open(tmp_path / "fork"), clock=store.clock)
    for n in range(3):
        fork.append([AuditEntry("disclosure.run", {"task": f"T-{7 + n}"})])
        with pytest.raises(IntegrityError, match="cut or made anew"):
            remote(store, book, url).send(fork)
    assert seen(book, store) == store.audit.size


def test_whoever_kept_an_old_epochs_key_is_refused(
    store: Store, book: WitnessBook, url: str, clock: FixedClock, tmp_path: Path
) -> None:
    stolen = load_epoch(store.layout.audit, 1, store.keyring).signer
    keeper = remote(store, book, url)
    keeper.send(store.audit)
    clock.advance(days=1)
    store.audit.rotate_if_due()
    keeper.send(store.audit)
    size = store.audit.size
    forged = Checkpoint(store.audit.origin.name, size + 1, bytes(32)).text()
    answer = httpx.post(
        f"{url}/add-checkpoint", content=Submission(size, (), stolen.sign(forged)).encode(), timeout=PATIENCE_S
    )
    assert answer.status_code == 403
    certificate = Certificate(store.audit.origin.name, store.store_id, 3, stolen.verifier, size, bytes(32))
    answer = httpx.post(
        f"{url}/add-epoch", content=Submission(size, (), stolen.sign(certificate.text())).encode(), timeout=PATIENCE_S
    )
    assert answer.status_code == 403


def _submission(store: Store, **changes: object) -> bytes:
    note = changes.get("note", store.audit.checkpoint())
    old, proof = changes.get("old", store.audit.size), changes.get("proof", ())
    return Submission(old, proof, note).encode()  # type: ignore[arg-type]


def test_every_refusal_has_the_status_of_the_protocol_and_changes_nothing(
    store: Store, book: WitnessBook, url: str
) -> None:
    older = store.audit.checkpoint()
    for _ in range(4):
        store.log(ENTRY)
    remote(store, book, url).send(store.audit)
    before, size = book.seen(log_name(store.audit.origin.name)), store.audit.size
    other = Signer.generate("lagrum/other")
    foreign = other.sign(Checkpoint("lagrum/other", size, bytes(32)).text())
    forged = Signer(store.audit.origin.name, bytes(32)).sign(parse_note(store.audit.checkpoint()).text)
    cases = {
        "malformed": (b"old x\n\n" + older.encode(), 400),
        "no proof lines end": (b"old 1\n", 400),
        "not UTF-8": (b"\xff" * 20, 400),
        "not a note": (b"old 1\n\nabc", 404),
        "a proof line of another length": (b"old 1\nAAAA\n\n" + older.encode(), 400),
        "too many proof lines": (b"old 1\n" + b"A" * 43 + b"=\n" * 64 + b"\n" + older.encode(), 400),
        "too long": (b"x" * (SUBMISSION_BYTES_MAX + 1), 413),
        "a foreign log": (_submission(store, note=foreign), 404),
        "signed by somebody else": (_submission(store, note=forged), 403),
        "an older checkpoint": (_submission(store, note=older, old=0), 409),
        "the proof begins behind the tree": (_submission(store, old=size + 1), 400),
        "the proof begins elsewhere": (_submission(store, old=size - 1), 409),
        "a proof that does not lead there": (_submission(store, proof=(bytes(32),)), 422),
    }
    for name, (body, status) in cases.items():
        answer = httpx.post(f"{url}/add-checkpoint", content=body, timeout=PATIENCE_S)
        assert answer.status_code == status, name
        if status == 409:
            assert (answer.headers["content-type"].partition(";")[0], answer.text) == ("text/x.tlog.size", f"{size}\n")
    assert httpx.post(f"{url}/add-epoch", content=_submission(store), timeout=PATIENCE_S).status_code in (403, 404)
    assert httpx.get(f"{url}/logs/..%2fwitness.key", timeout=PATIENCE_S).status_code == 404
    assert httpx.get(f"{url}/logs/{'0' * 32}", timeout=PATIENCE_S).status_code == 404
    assert book.seen(log_name(store.audit.origin.name)) == before


def test_a_cosignature_of_another_key_is_refused(store: Store, book: WitnessBook, url: str) -> None:
    other = WitnessSigner.generate("witness.test/1").key
    with pytest.raises(ProcedureError, match="cosignature"):
        Remote(url, other, store.layout.audit / "cosigned").send(store.audit)
    assert not (store.layout.audit / "cosigned").exists()


def test_a_witness_pins_one_key_and_one_name(store: Store, book: WitnessBook, clock: FixedClock) -> None:
    with pytest.raises(ConfigurationError, match="pinned"):
        book.watch(str(Signer.generate(store.audit.origin.name).verifier))
    with pytest.raises(ConfigurationError, match="another name"):
        WitnessBook.open(book._folder, clock, name="witness.test/2")
    with pytest.raises(ConfigurationError, match="needs a name"):
        WitnessBook.open(book._folder / "new", clock)
    with pytest.raises(NotFoundError):
        book.seen("../..")
    with pytest.raises(IntegrityError):
        book.watch(book.vkey)
    with pytest.raises(IntegrityError):
        WitnessKey.parse(str(store.audit.origin))
    assert WitnessKey.parse(book.vkey) == book._signer.key
    assert VerifierKey.parse(str(store.audit.origin)) == store.audit.origin


# A folder elsewhere


def test_every_checkpoint_is_dropped_once_and_verifies(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for _ in range(3):
        store.log(ENTRY)
        assert Drop(folder).send(store.audit) == store.audit.size
        assert Drop(folder).send(store.audit) == store.audit.size
    dropped = sorted(folder.rglob("*.checkpoint"))
    assert len(dropped) == 3
    for path in dropped:
        assert verify_directory(store.layout.audit, str(store.audit.origin), path.read_text("utf-8")) == []


def test_a_dropped_checkpoint_proves_that_the_log_was_cut_and_nothing_is_logged_any_more(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copytree(store.root, tmp_path / "older")
    store.log(ENTRY)
    Drop(folder).send(store.audit)
    with Store.open(tmp_path / "older", clock=store.clock) as older:
        keeper = AuditKeeper(older, [Drop(folder)])
        keeper.send()
        assert older.audit.distrusted is not None
        with pytest.raises(AuditError):
            older.log(ENTRY)
    distrusted_path(tmp_path / "older" / "audit").unlink()
    with Store.open(tmp_path / "older", clock=store.clock) as longer:
        for n in range(3):
            longer.log(AuditEntry("disclosure.run", {"task": f"T-{n}"}))
        AuditKeeper(longer, [Drop(folder)]).send()
        assert longer.audit.distrusted is not None


@pytest.mark.parametrize("forge", ["another key", "rubbish"])
def test_what_somebody_else_puts_into_the_folder_is_an_event_and_stops_nothing(
    store: Store, tmp_path: Path, forge: str
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    keeper = AuditKeeper(store, [Drop(folder)])
    keeper.send()
    text = Checkpoint(store.audit.origin.name, 999, bytes(32)).text()
    note = "rubbish" if forge == "rubbish" else Signer(store.audit.origin.name, bytes(32)).sign(text)
    (newest,) = folder.rglob("*.checkpoint")
    (newest.parent / f"{999:012d}.checkpoint").write_text(note)
    keeper.send()
    keeper.send()
    assert store.audit.distrusted is None
    kinds = [entry.kind for entry in store.audit.entries()]
    assert kinds.count("witness.refused") == 1
    assert [refused for _, _, refused in keeper.lags()] == [True]


# Lagging


def test_a_keeper_that_is_not_reached_in_time_is_an_event_and_so_is_its_return(store: Store, tmp_path: Path) -> None:
    now_s = [0.0]
    folder = tmp_path / "elsewhere"
    keeper = AuditKeeper(store, [Drop(folder)], lambda: now_s[0])
    keeper.send()
    assert "witness.lagging" not in [entry.kind for entry in store.audit.entries()]
    now_s[0] = LAG_SECONDS_MAX + 1
    keeper.send()
    keeper.send()
    assert [seconds for _, seconds, _ in keeper.lags()] == [LAG_SECONDS_MAX + 1]
    folder.mkdir()
    keeper.send()
    keeper.send()
    kinds = [entry.kind for entry in store.audit.entries()]
    assert [kind for kind in kinds if kind.startswith("witness.")] == ["witness.lagging", "witness.caught-up"]
    assert [seconds for _, seconds, _ in keeper.lags()] == [0.0]


def test_a_witness_that_does_not_answer_is_tried_again(store: Store, book: WitnessBook) -> None:
    with serving(book) as url:
        keeper = remote(store, book, url)
    with pytest.raises(BusyError):
        keeper.send(store.audit)


# Settings


def test_witnesses_come_from_the_settings(store: Store, book: WitnessBook) -> None:
    settings = Settings(witness_directory="/mnt/x", witness_url="https://witness.test", witness_key=book.vkey)
    assert [keeper.name for keeper in keepers_of(store, settings)] == ["directory", "http"]
    assert keepers_of(store, Settings()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"witness_url": "https://witness.test"},
        {"witness_key": "k"},
        {"witness_url": "https://witness.test", "witness_key": "k"},
        {"witness_url": "http://witness.test", "witness_key": None},
        {"witness_interval_seconds": 31},
    ],
)
def test_a_witness_that_cannot_work_is_refused(store: Store, book: WitnessBook, wrong: dict[str, object]) -> None:
    wrong = {name: book.vkey if value is None else value for name, value in wrong.items()}
    with pytest.raises(ConfigurationError):
        keepers_of(store, Settings(**wrong))  # type: ignore[arg-type]

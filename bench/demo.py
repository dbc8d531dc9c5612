"""`make demo`: from a switch's file to an approved disclosure, with the real program.

Everything it makes lies in ./demo-store. Fixtures are what real switches wrote; their dates are moved to yesterday,
because records beyond the ceiling are refused on any day.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from bench import workload
from bench.date_shift import shifted
from bench.stage import DemoError, Stage

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "demo-store"
MARK: Final = "made-by-make-demo"
FIXTURES: Final = ROOT / "tests" / "fixtures"
DELIVERIES: Final = (
    # (source, format, file below tests/fixtures, what it is)
    ("proxy", "kamailio-acc", "kamailio/acc_cdrs_129.log"),
    ("radius", "radius-detail", "freeradius/detail-20261122"),
    ("smsc", "kannel", "kannel/access.log"),
    ("cgnat", "conntrack", "conntrack/conntrack_events_nat44.log"),
)
ROWS: Final = 2_000_000
DAYS: Final = 30
BYTES_PER_ROW: Final = 162
SUBSCRIBER: Final = 100
ACCOUNT: Final = "A-1001"
AUTHORITY: Final = "police-se"
PEOPLE: Final = (
    ("officer-7", "Officer 7, Police Authority", "officer"),
    ("handler-3", "Case handler 3", "case-handler"),
    ("approver-2", "Approver 2", "approver"),
    ("auditor-1", "Auditor 1", "auditor"),
    ("billing-1", "Billing job", "billing"),
)


def main(folder: Path = FOLDER, rows: int = ROWS) -> int:
    """Tell the whole story in `folder` with `rows` generated records; return 0 when every step ended as it should."""
    started = time.perf_counter()
    stage = Stage(folder)
    try:
        _prepare(folder)
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        stage.console.print(
            "[bold]Lagrum[/]: traffic data kept as long as the law says, given to those who may have it, provable."
        )
        _found(stage)
        with stage.service() as address:
            stage.say(f"the service answers on {address} and on its unix socket")
            _enrol(stage)
            rates = _take_in(stage, yesterday, rows)
            _keep(stage)
            _bill(stage, yesterday)
            _disclose(stage, yesterday)
            rates += _prove(stage, rows)
    except DemoError as error:
        stage.console.print(f"[red]the demo stopped:[/] {error}", markup=True)
        return 1
    _end(stage, rates, time.perf_counter() - started)
    return 0


def _prepare(folder: Path) -> None:
    """Begin with an empty folder; only one that a demo made is removed."""
    if folder.exists():
        if not (folder / MARK).exists():
            raise DemoError(f"{folder.name} exists and was not made by the demo; move it away")
        shutil.rmtree(folder)
    folder.mkdir()
    (folder / MARK).touch()


def _found(stage: Stage) -> None:
    stage.chapter("A new store", "Keys for this user alone, a second copy of the keyring, and two custodians.")
    made = stage.lagrum(
        "init", stage.root, "--replica", stage.folder / "replica", "--custodian-keys", stage.folder / "keys"
    )
    names = " and ".join(item["id"] for item in made["custodians"])
    stage.say(f"store {made['store_id'][:8]}…, {names} hold their own keys")


def _enrol(stage: Stage) -> None:
    stage.chapter("People", "Each has an own key and one role; one custodian requests, another confirms.")
    both = ("--as", _key(stage, "custodian-1"), "--second", _key(stage, "custodian-2"))
    made = stage.lagrum("authority", "key", AUTHORITY, "--output", stage.folder / "keys", quiet=True)
    stage.lagrum(
        *("authority", "add", AUTHORITY, "--name", "Police Authority", "--country", "SE", "--kind", "law-enforcement"),
        *("--organisation", "SE-POLICE", "--call-back", "+46771140000", "--certificate", made["certificate"]),
        *("--signing-key", made["signing_key"], *both),
    )
    stage.say("registered: the Police Authority, with the certificate to which its deliveries are encrypted")
    for person, name, role in PEOPLE:
        stage.lagrum(
            *("person", "enrol", person, "--name", name, "--role", role),
            *(("--authority", AUTHORITY) if role == "officer" else ()),
            *("--key-file", _key(stage, person), "--as", _key(stage, "custodian-1")),
            *("--second", _key(stage, "custodian-2")),
            quiet=person != PEOPLE[0][0],
        )
    stage.say("enrolled: " + ", ".join(f"{person} ({role})" for person, _, role in PEOPLE))
    refusal = stage.lagrum(
        *("person", "enrol", "shadow-9", "--name", "Shadow", "--role", "approver"),
        *("--key-file", _key(stage, "shadow-9"), "--as", _key(stage, "custodian-1")),
        *("--second", _key(stage, "custodian-1")),
        fails=True,
        quiet=True,
    )
    stage.refused(f"one custodian alone enrols nobody ({refusal['error']})")


def _take_in(stage: Stage, yesterday: date, total: int) -> list[tuple[str, str]]:
    stage.chapter(
        "What switches write", "Real files of Kamailio, FreeRADIUS, Kannel and conntrack, dates moved to yesterday."
    )
    for source, country in (("proxy", "FR"), ("core", "SE")):
        stage.lagrum("sources", "add", source, "--country", country, "--as", _key(stage, "custodian-1"))
    rows = []
    for source, form, name in DELIVERIES:
        receipt = stage.lagrum(
            *("ingest", "--source", source, "--format", form, "-"),
            feed=shifted((FIXTURES / name).read_bytes(), yesterday),
        )
        rows.append([source, form, *_counts(receipt)])
    source, form, name = DELIVERIES[1]
    again = stage.lagrum(
        *("ingest", "--source", source, "--format", form, "-"), feed=shifted((FIXTURES / name).read_bytes(), yesterday)
    )
    rows.append([f"{source} again", form, *_counts(again)])
    stage.table(rows, ("source", "format", "read", "stored", "twice", "conflict", "refused", "rows"))
    stage.say("the four counts add up to the input; the same file again stores nothing")

    first = yesterday - timedelta(days=DAYS - 1)
    stage.chapter(f"{total:,} calls", f"Generated, {first} to {yesterday}, as CSV through the same command.")

    def write(stream: BinaryIO) -> int:
        return workload.write_csv(stream, total, days=DAYS, start_date=first)

    receipt = stage.pour(
        ["ingest", "--source", "core", "--format", "csv", "-"],
        write,
        title="taking in",
        size_bytes=total * BYTES_PER_ROW,
    )
    if receipt["accepted"] != total:
        raise DemoError(f"{receipt['accepted']} of {total} records were accepted")
    rate = receipt["records"] / receipt["seconds"]
    stage.say(
        f"{receipt['records']:,} records in {receipt['seconds']:.1f} s: {rate:,.0f} records/s, durable and encrypted"
    )
    return [("ingest, while the generator shares the processors", f"{rate:,.0f} records/s")]


def _counts(receipt: dict[str, Any]) -> list[int]:
    return [receipt[name] for name in ("records", "accepted", "duplicates", "conflicts", "rejected", "rows")]


def _keep(stage: Stage) -> None:
    stage.chapter(
        "What is kept, and until when",
        "One partition per day on which the communication ended, each under its own key.",
    )
    status = stage.lagrum("status")
    rows = [
        [
            item["date"],
            item["records"],
            item["parts"],
            item["bytes"] // 1000,
            item["floor_until"][:10],
            item["expires_at"][:10],
        ]
        for item in status["partitions"]
    ]
    shown = [*rows[:3], *rows[-4:]] if len(rows) > 8 else rows
    stage.table(shown, ("date", "records", "parts", "kB", "floor until", "expires at"))
    stage.say(
        f"{len(rows)} partitions ({len(shown)} shown), {status['records']:,} records, "
        f"{status['bytes'] / max(1, status['records']):.1f} bytes per record with their identities"
    )
    due = stage.lagrum("retention", "expire", "--dry-run")
    stage.say(f"past their period: {len(due['partitions'])}; nothing can be deleted before its floor")
    number = _number()
    found = sum(number.encode() in path.read_bytes() for path in stage.root.rglob("*") if path.is_file())
    stage.say(f"files of the store in which the bytes {number} are found: {found}")
    if found:
        raise DemoError("a number lies in the clear")


def _bill(stage: Stage, yesterday: date) -> None:
    first = yesterday - timedelta(days=DAYS - 1)
    stage.chapter("Billing", f"The account {ACCOUNT} owns the number {_number()}.")
    table = f"kind,value,account,valid_from,valid_to\nnumber,{_number()},{ACCOUNT},{first},\n"
    path = stage.folder / "subscriptions.csv"
    path.write_text(table, encoding="utf-8")
    stage.lagrum("subscriptions", "import", path)
    path.unlink()
    usage = stage.lagrum(
        "usage", "--account", ACCOUNT, "--from", str(first), "--to", str(yesterday + timedelta(days=1))
    )
    rows = [
        [line["service_type"], line["destination"], line["records"], round(line["duration_ms"] / 60_000)]
        for line in usage["lines"]
    ]
    stage.table(rows, ("service", "destination", "records", "minutes"))


def _disclose(stage: Stage, yesterday: date) -> None:
    stage.chapter(
        "An authority's order",
        "Officer, case handler and approver are three persons; request and release are approved apart.",
    )
    today = yesterday + timedelta(days=1)
    order = {
        "basis": "secret-surveillance",
        "decision_reference": f"B 1234-{today:%y}",
        "decided_on": str(today),
        "decided_by": "court",
        "authority": AUTHORITY,
        "country": "SE",
        "expires_at": str(today + timedelta(days=30)),
        "targets": [{"kind": "number", "value": _national()}],
        "window": {"from": str(yesterday - timedelta(days=DAYS - 1)), "to": str(today)},
    }
    officer, handler, approver = (
        ("--as", _key(stage, "officer-7")),
        ("--as", _key(stage, "handler-3")),
        ("--as", _key(stage, "approver-2")),
    )
    filed = stage.lagrum("disclosure", "authorise", "-", *officer, feed=json.dumps(order).encode())
    task = str(stage.lagrum("disclosure", "register", filed["id"], *officer)["id"])
    stage.say(f"filed as {filed['id']}, the target written {_national()}")
    stage.lagrum("disclosure", "check", task, *handler)
    stage.refused(stage.lagrum("disclosure", "run", task, *handler, fails=True)["error"])
    stage.refused(stage.lagrum("disclosure", "approve", task, "--yes", *handler, fails=True)["error"])
    stage.lagrum("disclosure", "approve", task, "--yes", *approver)
    ran = stage.lagrum("disclosure", "run", task, *handler)
    stage.say(f"approved by approver-2; the search found {ran['records']:,} records")
    package = stage.folder / "delivery.zip"
    stage.refused(stage.lagrum("disclosure", "deliver", task, "--output", package, *officer, fails=True)["error"])
    stage.lagrum("disclosure", "release", task, "--yes", *approver)
    stage.lagrum("disclosure", "deliver", task, "--output", package, *officer)
    key = stage.lagrum("disclosure", "key", *officer, quiet=True)["public_key"]
    keys, opened = stage.folder / "keys", stage.folder / "opened"
    checked = stage.lagrum(
        *("delivery", "open", package, "--key", keys / f"{AUTHORITY}.pem", "--certificate", keys / f"{AUTHORITY}.crt"),
        *("--signed-by", key, "--output", opened),
    )
    stage.say(f"opened with the authority's key and verified offline: {checked['records']:,} records, signed")
    stage.lagrum("disclosure", "acknowledge", task, "--receipt", opened / "receipt.json", *officer, quiet=True)


def _prove(stage: Stage, total: int) -> list[tuple[str, str]]:
    stage.chapter(
        "Proof", "The log is a Merkle tree under a signed checkpoint; the store is derived anew from its files."
    )
    stage.lagrum("audit", "export", stage.folder / "log", quiet=True)
    stage.lagrum("audit", "verify", stage.folder / "log", "--key", stage.root / "audit" / "origin.pub")
    size = stage.lagrum("audit", "checkpoint", quiet=True)["size"]
    stage.say(f"audit log whole: {size} entries, the refused steps of the order among them")
    began = time.perf_counter()
    stage.lagrum("verify")
    seconds = time.perf_counter() - began
    stage.say("store whole: every file authenticates, every count and digest agrees")
    return [("verification of every record", f"{total / seconds:,.0f} records/s")]


def _end(stage: Stage, rates: list[tuple[str, str]], seconds: float) -> None:
    stage.chapter("Measured")
    stage.table([*rates, ("the whole demo", f"{seconds:.0f} s")], ("what", "rate"))
    root = _from_here(stage.root)
    stage.console.print(
        f"\nStart the server on this store:  [bold]make serve[/]  (or .venv/bin/lagrum --root {root} serve)\n"
        f"Look around:  .venv/bin/lagrum --root {root} status\n"
        f"Remove it all:  rm -r {_from_here(stage.folder)}"
    )


def _key(stage: Stage, person: str) -> Path:
    return stage.folder / "keys" / f"{person}.key.json"


def _from_here(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _number() -> str:
    return str(workload.number_of(np.array([SUBSCRIBER]))[0])


def _national() -> str:
    digits = _number().removeprefix("46")
    return f"0{digits[:2]}-{digits[2:]}"


if __name__ == "__main__":
    sys.exit(main())

"""From approval to the delivered package: one number over all that is stored, every result compared with a full scan.

`python -m bench.disclosure STORE [NUMBERS]` prints one JSON object: for the four steps together (approve, run, release,
deliver, each signed, logged and durable) wall and processor seconds, p50, p95 and the largest. The store gets persons,
an authority and cases of its own; it is one that is thrown away. The numbers are drawn from its newest and its oldest
day; the last fifth are numbers that nobody has. A package is opened as its authority opens it; its records have to be
those that a scan of every record names, no more and no less.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from api.disclosure.model import Actor, Window, request_digest
from api.disclosure.procedure import (
    APPROVE_RELEASE,
    APPROVE_REQUEST,
    Disclosure,
    Order,
    SourceDocument,
    WrittenTarget,
)
from api.handover.opening import Reader, open_to
from api.people import authorities, persons
from api.people.persons import Approval
from api.people.roles import parse_roles
from api.people.signing import PersonKey, Statement, decode_public_key
from bench.results import percentiles
from schemas.legal_terms import Decider
from schemas.packing import pack_identifier_value, unpack_identifier_value
from store import Put, ScanQuery, Store, SystemClock
from store.clock import to_date, to_text

NUMBERS: Final = 20
ABSENT_SHARE: Final = 5
"""Every fifth number is nobody's."""
WINDOW_DAYS: Final = 731
ROLES: Final = {"officer": "officer", "handler": "case-handler", "approver": "approver"}
AUTHORITY: Final = "bench-authority"
SIDES: Final = ("calling_number", "called_number", "dialled_number", "forwarded_number")
_DAY_US: Final = 86_400_000_000


class Office:
    """The persons and the authority of one store."""

    def __init__(self, store: Store) -> None:
        self.store, self.procedure = store, Disclosure(store)
        self.keys = {name: PersonKey.generate(f"bench-{name}") for name in ROLES}
        self.private = rsa.generate_private_key(65537, 3072)
        self.certificate = _certificate(self.private)
        puts = [
            Put(persons.KIND, key.person_id, _person(key, role).to_body())
            for key, role in zip(self.keys.values(), ROLES.values(), strict=True)
        ]
        store.documents.commit([*puts, Put(authorities.KIND, AUTHORITY, self._authority().to_body())])

    def disclose(self, number: str) -> tuple[bytes, float, float]:
        """Return the package of one number, and the wall and processor seconds from its approval."""
        now_us = self.store.clock.now_us()
        order = Order(
            basis="secret-surveillance",
            decision_reference="B 1-26",
            decided_on=to_date(now_us),
            decided_by=Decider.COURT,
            authority=AUTHORITY,
            country="SE",
            source=SourceDocument("text/plain", b"a measurement"),
            targets=(WrittenTarget("number", "+" + number),),
            window=Window(now_us - WINDOW_DAYS * _DAY_US + 1, now_us),
            expires_at_us=now_us + _DAY_US,
        )
        filed = self.procedure.authorise(self._actor("officer"), order)
        task = self.procedure.register(self._actor("officer"), filed.id)
        self.procedure.check(self._actor("handler"), task.id)
        wall, cpu = time.perf_counter(), time.process_time()
        case = self.procedure.casebook.case(task.id)
        digest = request_digest(case.authorisation, case.task)
        self.procedure.approve(self._actor("approver"), task.id, self._signed(APPROVE_REQUEST, task.id, digest))
        found = self.procedure.run(self._actor("handler"), task.id)
        signed = self._signed(APPROVE_RELEASE, task.id, found.result_digest or "")
        self.procedure.release(self._actor("approver"), task.id, signed)
        package = self.procedure.deliver(self._actor("officer"), task.id).to_bytes()
        return package, time.perf_counter() - wall, time.process_time() - cpu

    def keys_of(self, package: bytes, folder: Path) -> list[str]:
        """Open a package as its authority does; return the keys of its records, sorted."""
        reader = Reader(self.certificate, self.private, decode_public_key(self.procedure.vault.public_key()))
        with tempfile.TemporaryDirectory(dir=folder) as name:
            path = Path(name) / "package.zip"
            path.write_bytes(package)
            open_to(path, Path(name) / "opened", reader)
            files = sorted(Path(name).glob("opened/part-*/records.ndjson"))
            return sorted(json.loads(line)["record_key"] for file in files for line in file.read_bytes().splitlines())

    def _actor(self, name: str) -> Actor:
        person = persons.get(self.store, self.keys[name].person_id)
        return Actor(person.person_id, person.key_id, frozenset(str(role) for role in person.roles))

    def _signed(self, action: str, case: str, digest: str) -> Approval:
        said = to_text(self.store.clock.now_us())
        return Approval(said, self.keys["approver"].sign(Statement(action, case, digest, said)))

    def _authority(self) -> authorities.Authority:
        terms = authorities.Terms(
            authority_id=AUTHORITY,
            name="Authority of a measurement",
            country="SE",
            organisation="BENCH",
            kind=authorities.AuthorityKind.LAW_ENFORCEMENT,
            certificate=b64encode(self.certificate.public_bytes(Encoding.DER)).decode(),
            call_back="+46771141400",
            formats=(authorities.Format.NDJSON, authorities.Format.CSV, authorities.Format.TS_102_657),
            from_us=0,
        )
        return authorities.Authority(terms, authorities.ACTIVE, {})


def measure(root: Path, count: int = NUMBERS) -> dict[str, Any]:
    """Disclose so many numbers of a store, and compare each package with a scan of every record.

    Raises:
        RuntimeError: a package lacks a record, or has one that it should not have.
    """
    with Store.open(root, clock=SystemClock()) as store, tempfile.TemporaryDirectory() as folder:
        office = Office(store)
        numbers = _drawn(store, count)
        for number in _drawn(store, 2 * count)[1::2][:3]:
            office.disclose(number)  # they warm: the first reads keys and footers of every partition
        taken = [office.disclose(number) for number in numbers]
        truth = _truth(store, numbers)
        for number, (package, _, _) in zip(numbers, taken, strict=True):
            if office.keys_of(package, Path(folder)) != truth[number]:
                raise RuntimeError("a package does not hold exactly what a full scan finds")
    walls, processors = [item[1] for item in taken], [item[2] for item in taken]
    return {
        "numbers": count,
        "records": sum(map(len, truth.values())),
        "none_found": sum(not keys for keys in truth.values()),
        "values": walls,
        "cpu": processors,
        **percentiles(walls),
        **{f"cpu_{name}": value for name, value in percentiles(processors).items()},
    }


def _drawn(store: Store, count: int) -> list[str]:
    """Return numbers of the newest and the oldest records, and some that nobody has."""
    days = [item.date for item in store.partitions() if item.records >= count]
    found: list[str] = []
    for day in (days[-1], days[0]):
        start_us = (day - to_date(0)).days * _DAY_US
        query = ScanQuery(start_us, start_us + _DAY_US, columns=("calling_number",), by_end=True)
        batches = [batch.column(0) for batch in store.scan(query)]
        values = pa.chunked_array(batches).unique().drop_null().to_pylist()
        step = max(1, len(values) // count)
        found += [str(unpack_identifier_value(value, None)) for value in values[::step][: count // 2]]
    absent = [f"4670174{number:04}" for number in range(count // ABSENT_SHARE)]
    return [*found[: count - len(absent)], *absent]


def _truth(store: Store, numbers: Sequence[str]) -> dict[str, list[str]]:
    """Read every record once; return the keys of those that name each number, sorted."""
    wanted = {pack_identifier_value(number)[0]: number for number in numbers}
    values = np.array(sorted(value for value in wanted if value is not None))
    keys: dict[str, set[str]] = {number: set() for number in numbers}
    for batch in store.scan(ScanQuery(0, 2**60, columns=(*SIDES, "record_key", "record_key_text"))):
        for side in SIDES:
            column = batch.column(side).fill_null(0).to_numpy(zero_copy_only=False)
            for row in np.flatnonzero(np.isin(column, values)):
                packed, text = (batch.column(name)[int(row)].as_py() for name in ("record_key", "record_key_text"))
                keys[wanted[int(column[row])]].add(str(unpack_identifier_value(packed, text)))
    return {number: sorted(found) for number, found in keys.items()}


def _person(key: PersonKey, role: str) -> persons.Person:
    authority = AUTHORITY if role == "officer" else None
    roles = parse_roles((role,))
    return persons.Person(
        key.person_id, key.person_id, roles, key.public_text, None, persons.ACTIVE, {}, authority=authority
    )


def _certificate(private: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.now(UTC)
    others = ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign")
    usage = dict.fromkeys(("digital_signature", *others, "encipher_only", "decipher_only"), False)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.KeyUsage(key_encipherment=True, **usage), critical=True)
        .sign(private, hashes.SHA256())
    )


def main() -> None:
    """Measure once."""
    count = int(sys.argv[2]) if len(sys.argv) > 2 else NUMBERS
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1]), count), indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Random lookups through postings against a search of every row, on a store that has everything that parts can have."""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.arrow import PACKED
from schemas.packing import pack_address, pack_identifier, pack_mac, unpack_table
from store import ScanQuery, Store, TargetIdentifier
from store.reading.targets import matches
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US, records, with_column

EVER = ScanQuery(0, 2**60)
DAYS = 12


def delivered(rows: int, seed: int, *, days_ago: int, days: int, first_key: int) -> pa.Table:
    """Return records with identifiers of every kind in every form, few enough to meet again and again."""
    random = np.random.default_rng(seed)
    table = records(rows, seed=seed, days_ago=days_ago, days=days, first_key=first_key)
    for name, pool in _pools().items():
        drawn = [pool[at] for at in (random.random(rows) ** 2 * len(pool)).astype(int)]
        drawn = [None if chance < 0.3 else text for chance, text in zip(random.random(rows), drawn, strict=True)]
        for column, values in _columns(name, pa.array(drawn, pa.string())).items():
            if column in table.column_names:
                table = table.drop_columns([column])
            if values.null_count < rows:
                table = table.append_column(column, values)
    first = random.integers(0, 120, rows) * 512
    has = random.random(rows) < 0.8
    spans = random.choice([1, 512, 512, 512, 4096], rows)
    table = with_column(table, "nat_port_first", pa.array(first, pa.int32(), mask=~has))
    table = with_column(table, "nat_port_last", pa.array(np.minimum(first + spans - 1, 65_535), pa.int32(), mask=~has))
    return with_column(table, "source_port", pa.array(random.integers(0, 65_536, rows), pa.int32()))


def _columns(name: str, texts: pa.Array) -> dict[str, Any]:
    if name.endswith("_ip"):
        v4, v6, _ = pack_address(texts)
        return {name: v4, name + "_v6": v6}
    if name == "mac":
        return {name: pack_mac(texts)[0]}
    if name + "_text" in PACKED.names:
        packed, text = pack_identifier(texts)
        return {name: packed, name + "_text": text}
    return {name: texts}


def _pools() -> dict[str, list[str]]:
    numbers = [f"4670174{n:04}" for n in range(600)] + [f"{n:04}" for n in range(40)]
    texts = [f"sip:user{n}@example.net" for n in range(40)] + ["Bank", "Ärende", "4" * 19]
    v4 = [f"192.0.2.{n}" for n in range(200)]
    v6 = [f"2001:db8:{n % 7:x}:{n % 31:x}::{n:x}" for n in range(200)]
    imeis = [f"35209900{n:06}{more}" for n in range(150) for more in ("", "1", "77")]
    imeis += [f"35-209900-{n:06}-1" for n in range(40)] + ["352099", "not known"]
    prefixes = [f"2001:db8:{n % 7:x}:{n % 31:x}00::/{length}" for n in range(40) for length in (40, 48, 56, 64, 72)]
    prefixes += ["192.0.2.0/28", "no prefix"]
    return {
        "calling_number": numbers + texts,
        "called_number": numbers + texts,
        "dialled_number": numbers[:50],
        "forwarded_number": texts + numbers[:20],
        "imsi": [f"24001{n:010}" for n in range(300)] + ["24001X"],
        "called_imsi": [f"24001{n:010}" for n in range(300)],
        "imei": imeis,
        "called_imei": imeis,
        "mac": [f"00:11:22:33:{n // 256:02x}:{n % 256:02x}" for n in range(300)],
        "source_ip": v4 + v6,
        "destination_ip": v4 + v6,
        "nat_ip": v4[:6] + v6[:4],
        "ipv6_prefix": prefixes,
        "account": [f"{n}" for n in range(300)] + ["A-1", "A-2"],
    }


def fill(store: Store, rows: int) -> None:
    """Deliver days apart and together, late records, conflicts and a withdrawn batch; merge some of the parts."""
    for number in range(6):
        deliver(store, delivered(rows, number, days_ago=2 + 2 * number, days=2, first_key=number * rows))
    store.compact(everything=True)
    late = deliver(store, delivered(rows // 4, 90, days_ago=DAYS + 1, days=DAYS, first_key=10**7))
    deliver(store, delivered(rows // 8, 91, days_ago=DAYS + 1, days=DAYS, first_key=2 * 10**7))
    deliver(store, delivered(rows // 8, 92, days_ago=2, days=1, first_key=0))  # the same keys: conflicts
    store.withdraw_batch(late.batch_id, reason="wrong zone", actors=("a", "b"))
    store.compact()


class Truth:
    """Every visible row, and what a search of them all finds."""

    def __init__(self, store: Store) -> None:
        self.rows = pa.Table.from_batches(list(store.scan(EVER)))
        start, end = (self.rows.column(name).cast(pa.int64()).to_numpy() for name in ("start_time", "end_time"))
        self.starts, self.ends = start, end
        self._known: dict[TargetIdentifier, np.ndarray[Any, Any]] = {}

    def keys(self, query: ScanQuery) -> list[int]:
        found = np.zeros(self.rows.num_rows, bool)
        for target in query.targets:
            if target not in self._known:
                if len(self._known) > 5_000:
                    self._known.clear()
                self._known[target] = np.packbits(np.asarray(matches(self.rows, target).to_numpy(zero_copy_only=False)))
            found |= np.unpackbits(self._known[target], count=len(found)).astype(bool)
        upper = self.ends if query.by_end else self.starts
        found &= (self.ends >= query.start_us) & (upper < query.end_us)
        return sorted(self.rows.column("batch_position").to_numpy()[found] + self._serial()[found])

    def _serial(self) -> np.ndarray[Any, Any]:
        return self.rows.column("record_key").to_numpy() * 1_000_003 + self.rows.column("batch_id").to_numpy() * 10**6


def found(store: Store, query: ScanQuery) -> list[int]:
    """Return the rows that a search through the index finds, as `Truth.keys` names them."""
    names = ("record_key", "batch_position", "batch_id")
    query = ScanQuery(query.start_us, query.end_us, query.targets, names, by_end=query.by_end)
    keys = []
    for batch in store.scan(query):
        keys += (
            batch["batch_position"].to_numpy()
            + batch["record_key"].to_numpy() * 1_000_003
            + batch["batch_id"].to_numpy() * 10**6
        ).tolist()
    return sorted(keys)


def queries(truth: Truth, count: int, seed: int) -> list[ScanQuery]:
    """Return random lookups: half of what is there, half of what is perhaps not, in windows of every size."""
    random = np.random.default_rng(seed)
    people = unpack_table(truth.rows.slice(0, 4_000)).to_pylist()
    made = []
    for _ in range(count):
        targets = tuple(_target(random, people) for _ in range(random.choice([1, 1, 1, 3])))
        start = int(NOW_US - random.integers(0, DAYS + 2) * DAY_US)
        if random.random() < 0.5:
            start -= start % DAY_US  # the edges of partitions
        length = int(random.choice([1, 10**9, DAY_US, 3 * DAY_US, 40 * DAY_US]))
        made.append(
            ScanQuery(start - length // 2, start - length // 2 + length, targets, by_end=bool(random.random() < 0.2))
        )
    return made


def _target(random: np.random.Generator, people: list[dict[str, Any]]) -> TargetIdentifier:
    fields = {
        "number": ("calling_number", "called_number", "dialled_number", "forwarded_number"),
        "imsi": ("imsi", "called_imsi"),
        "imei": ("imei", "called_imei"),
        "mac": ("mac",),
        "ip": ("source_ip", "destination_ip", "nat_ip", "ipv6_prefix"),
        "account": ("account",),
    }
    while True:
        kind = str(random.choice([*fields, "ip", "ip"]))
        row = people[int(random.integers(len(people)))]
        value = row[str(random.choice(fields[kind]))]
        if value is None:
            continue
        if random.random() < 0.15 and kind not in ("ip", "mac"):
            value = value[:-1] + str((int(value[-1]) + 5) % 10) if value[-1].isdigit() else value + "x"
        if kind == "imei" and not (value.isdigit() and 14 <= len(value) <= 16):
            value = "".join(filter(str.isdigit, value))
            if not 14 <= len(value) <= 16:
                continue
        port = None
        if kind == "ip":
            try:
                value, port = _address(random, value)
            except ValueError:
                continue
        return TargetIdentifier(kind, value, port)


def _address(random: np.random.Generator, text: str) -> tuple[str, int | None]:
    network = ipaddress.ip_network(text, strict=False)
    address = ipaddress.ip_address(int(network.network_address) + int(random.integers(0, 2)))
    if random.random() < 0.35:
        length = int(random.choice([8, 24, 29, 32] if address.version == 4 else [0, 36, 48, 52, 56, 64, 70, 128]))
        return f"{address}/{length}", None
    return str(address), int(random.integers(0, 65_536)) if random.random() < 0.5 else None

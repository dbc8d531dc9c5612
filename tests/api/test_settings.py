from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings, from_tables, is_loopback, load
from api.settings_reference import settings_reference
from api.tls import server_context
from schemas.errors import ConfigurationError


def test_without_a_file_the_defaults_listen_on_this_machine_only(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings == Settings()
    assert is_loopback(settings.host)


def test_a_file_sets_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "lagrum.toml").write_text("[server]\nport = 9000\n[ingest]\nbody_bytes_max = 1000\n")
    settings = load(tmp_path)
    assert (settings.port, settings.body_bytes_max) == (9000, 1000)


@pytest.mark.parametrize(
    "tables",
    [
        {"server": {"colour": 1}},
        {"ingest": {"port": 1}},
        {"port": 1},
        {"server": {"port": "1"}},
        {"server": {"port": True}},
        {"server": {"port": 65_536}},
        {"ingest": {"body_bytes_max": 0}},
        {"people": {"session_seconds": 901}},
        {"people": {"challenge_seconds": 61}},
        {"people": {"lockout_seconds": 60, "lockout_seconds_max": 59}},
        {"server": {"host": "0.0.0.0"}},
        {"server": {"host": "192.0.2.1"}},
        {"server": {"host": "example.org"}},
        {"server": {"tls_certificate": "a.pem"}},
        {"server": {"tls_client_ca": "ca.pem"}},
    ],
)
def test_what_cannot_work_is_refused(tables: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        from_tables(tables)


def test_a_setting_that_nothing_reads_is_none() -> None:
    package = Path(__file__).parents[2] / "api"
    texts = [path.read_text() for path in package.rglob("*.py") if path.name != "settings.py"]
    words = set(re.findall(r"\w+", " ".join(texts)))
    by_role = (
        "_per_minute",
        "_at_once",
    )  # `api.people.rates` and `api.people.role_turns` read these by the role's name
    unread = {field.name for field in fields(Settings)} - words
    assert [name for name in sorted(unread) if not name.endswith(by_role)] == []


def test_with_tls_the_service_may_listen_beyond_this_machine() -> None:
    tables = {"server": {"host": "0.0.0.0", "tls_certificate": "a.pem", "tls_key": "a.key"}}
    assert from_tables(tables).host == "0.0.0.0"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"= nothing", b"[server"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lagrum.toml").write_bytes(content)
    with pytest.raises(ConfigurationError):
        load(tmp_path)


def test_nothing_reaches_the_clock_or_the_limits_of_retention() -> None:
    names = " ".join(Settings.__dataclass_fields__)
    for word in ("clock", "now", "floor", "ceiling", "month", "retention", "skip", "disable", "force"):
        assert word not in names


def test_a_queue_is_set_whole_or_not_at_all() -> None:
    whole = {"queue_server": "nats://127.0.0.1", "queue_stream": "CDR", "queue_source": "a", "queue_format": "csv"}
    assert from_tables({"queue": whole}).queue_durable == "lagrum"
    with pytest.raises(ConfigurationError, match="queue_server"):
        from_tables({"queue": {"queue_server": "nats://127.0.0.1"}})


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[server]\nprot = 1\n", "'prot' in [server]", "did you mean port in [server]?"),
        ("[ingest]\nport = 1\n", "'port' in [ingest]", "did you mean port in [server]?"),
        ("[witness]\nzzz = 1\n", "'zzz' in [witness]", "witness_directory"),
        ("[sevrer]\nzzz = 1\n", "[sevrer]", "the tables are [server], [ingest]"),
        ("[server]\nhost = secret\n", "(line 2, column 8)", "quotes"),
        ("[server]\nport = 'a'\n", "is a whole number", None),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(
    tmp_path: Path, text: str, message: str, hint: str | None
) -> None:
    (tmp_path / "lagrum.toml").write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path)
    assert message in refused.value.message and "secret" not in refused.value.message
    assert hint is None or hint in str(refused.value.hint)


def test_every_setting_stands_on_the_page_of_settings() -> None:
    page = settings_reference()
    assert all(f"\n| `{item.name}` | " in page for item in fields(Settings))
    assert "`2147483648` (2 GiB)" in page


def test_a_tls_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings = Settings(tls_certificate="a.crt", tls_key="a.key")
    with pytest.raises(ConfigurationError, match=r"a\.crt cannot be read"):
        server_context(settings, tmp_path)
    for name in ("a.crt", "a.key"):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text("none")
    with pytest.raises(ConfigurationError, match="fit together"):
        server_context(settings, tmp_path)

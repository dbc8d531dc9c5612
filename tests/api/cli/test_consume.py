"""`lagrum consume`: credentials, TLS, exit codes, the lag in the metrics, and reconciliation over transports."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from nats.js.api import AckPolicy, ConsumerConfig

from api.telemetry.metrics import Metrics
from api.telemetry.queue_metrics import QueueMetrics
from ingest.jetstream import JetStream, JetStreamSettings
from schemas.errors import BusyError, ConfigurationError, PermissionsError
from store import Store
from tests.api.cli.conftest import Run
from tests.api.world import CSV
from tests.conftest import FixedClock
from tests.ingest.broker import STREAM, Broker, running
from tests.patience import PATIENCE_S

PASSWORD = "correct-horse"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path / "broker", f'authorization {{ user: "lagrum", password: "{PASSWORD}" }}') as made:
        yield made


@pytest.fixture
def login(tmp_path: Path) -> Path:
    path = tmp_path / "login"
    path.write_text(f"lagrum\n{PASSWORD}\n")
    path.chmod(0o600)
    return path


def publish(broker: Broker, *bodies: bytes) -> None:
    broker.publish(bodies, user="lagrum", password=PASSWORD)


def words(root: Path, broker: Broker, *more: object) -> list[str]:
    first = ["--root", root, "--json", "consume", "--source", "pbx", "--format", "csv", "--server", broker.url]
    return [str(word) for word in [*first, "--stream", STREAM, "--once", "--wait", "0.3", *more]]


def test_a_queue_is_consumed_counted_and_told_apart(
    run: Run, root: Path, broker: Broker, login: Path, tmp_path: Path, clock: FixedClock
) -> None:
    publish(broker, CSV, b"nonsense")
    (tmp_path / "more.csv").write_bytes(CSV)
    assert run("--root", root, "ingest", "--source", "pbx", "--format", "csv", tmp_path / "more.csv").code == 0
    ran = run(*words(root, broker, "--login-file", login))
    assert ran.code == 1, ran.err
    assert (ran.json["messages"], ran.json["duplicates"], ran.json["refused"]) == (2, 2, 1)
    assert run(*words(root, broker, "--login-file", login)).code == 0
    told = run("--root", root, "--json", "reconcile").json
    names = ("transport", "delivered", "stored", "duplicates", "rejects", "gaps")
    sums = [tuple(one[name] for name in names) for one in told["transports"]]
    assert sums == [("file", 2, 2, 0, 0, None), ("queue", 3, 0, 2, 1, 0)]
    (queue,) = told["queues"]
    assert (queue["source"], queue["waiting"], queue["refused"]) == ("pbx", 0, 1)
    with Store.open(root, clock=clock) as store:
        metrics = Metrics()
        metrics.registry.register(QueueMetrics(store))
        text = metrics.exposition().decode()
    assert 'lagrum_queue_waiting{source="pbx"} 0.0' in text
    assert 'lagrum_queue_refused{source="pbx"} 1.0' in text


def test_a_wrong_or_a_shared_login_is_refused_and_not_shown(run: Run, root: Path, broker: Broker, login: Path) -> None:
    publish(broker, CSV)
    login.write_text("lagrum\nwrong-battery\n")
    ran = run(*words(root, broker, "--login-file", login))
    assert ran.code == 2
    assert "refuses" in ran.err and "battery" not in ran.err
    login.chmod(0o640)
    assert run(*words(root, broker, "--login-file", login)).code != 0
    with pytest.raises(PermissionsError):
        JetStreamSettings(broker.url, STREAM, "lagrum", login_file=login).credentials()
    login.chmod(0o600)
    login.write_text("only-one-line\n")
    assert run(*words(root, broker, "--login-file", login)).code == 2
    assert run(*words(root, broker)).code == 2


def test_a_stream_that_is_not_there_is_not_made(run: Run, root: Path, broker: Broker, login: Path) -> None:
    ran = run(*words(root, broker, "--login-file", login))
    assert (ran.code, "no such stream" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("server", "more"),
    [
        ("nats://user:secret@127.0.0.1:4222", {}),
        ("nats://broker.example.net:4222", {}),
        ("http://127.0.0.1", {}),
        ("nats://127.0.0.1", {"stream": "a.b"}),
        ("tls://127.0.0.1", {"certificate": Path("x")}),
        ("nats://127.0.0.1", {"token_file": Path("x"), "login_file": Path("y")}),
    ],
)
def test_settings_that_show_a_secret_or_cannot_work_are_refused(server: str, more: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as told:
        JetStreamSettings(**{"server": server, "stream": STREAM, "durable": "lagrum", **more})
    assert "secret" not in told.value.message


@pytest.mark.parametrize(
    "change", [{"ack_policy": AckPolicy.NONE}, {"max_deliver": 3}, {"filter_subject": "cdr.other"}]
)
def test_a_consumer_that_would_lose_messages_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with running(tmp_path / "other") as broker:
        broker.publish([CSV])
        broker.manage("add_consumer", STREAM, ConsumerConfig(**{"durable_name": "lagrum", **change}))
        queue = JetStream(JetStreamSettings(broker.url, STREAM, "lagrum", subject="cdr.a"))
        try:
            with pytest.raises(ConfigurationError):
                queue.fetch(messages_max=1, bytes_max=1, wait_s=0.2)
        finally:
            queue.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of 127.0.0.1 that is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "broker.pem", folder / "broker.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return files


def test_tls_is_used_and_a_broker_of_another_ca_is_not_trusted(tmp_path: Path) -> None:
    made, key = certificate(tmp_path)
    with running(tmp_path / "tls", f'tls {{ cert_file: "{made}", key_file: "{key}" }}') as broker:
        context = ssl.create_default_context(cafile=made)
        broker.publish([CSV], tls=context)
        server = broker.url.replace("nats://", "tls://")
        trusted = JetStream(JetStreamSettings(server, STREAM, "lagrum", ca=made))
        foreign = JetStream(JetStreamSettings(server, STREAM, "lagrum"))
        try:
            assert len(trusted.fetch(messages_max=1, bytes_max=1 << 20, wait_s=PATIENCE_S)) == 1
            with pytest.raises(BusyError):
                foreign.fetch(messages_max=5, bytes_max=1 << 20, wait_s=0.3)
        finally:
            trusted.close()
            foreign.close()

"""Pushes as the switches send them, to the real service: every body, lost headers, retries; each leg is stored once."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from api.intake.push_door import without_uuid
from api.settings import Settings
from store import ScanQuery
from tests.api.world import World, running
from tests.patience import PATIENCE_S

FIXTURES = Path(__file__).parents[2] / "fixtures"
LEG = (FIXTURES / "freeswitch" / "a_leg.cdr.json").read_bytes()
FORM, BASE64 = "application/x-www-form-urlencoded", "application/x-www-form-base64-encoded"
XML = (
    b'<?xml version="1.0"?>\n<cdr><variables><uuid>5b7c3a10-0001-4d00-9a00-000000000001</uuid>'
    b"<direction>inbound</direction><start_uepoch>1795341600000000</start_uepoch>"
    b"<answer_uepoch>1795341605000000</answer_uepoch><end_uepoch>1795341665000000</end_uepoch>"
    b"<duration>65</duration><billsec>60</billsec><hangup_cause>NORMAL_CLEARING</hangup_cause></variables>"
    b"<callflow><caller_profile><caller_id_number>46700000001</caller_id_number>"
    b"<destination_number>46700000002</destination_number></caller_profile></callflow></cdr>"
)


class Switch:
    """A switch that pushes over TCP, with a login."""

    def __init__(self, port: int, login: str) -> None:
        self._port, self._login = port, base64.b64encode(login.encode()).decode()

    def post(self, path: str, body: bytes, content_type: str | None, **more: str) -> int:
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        try:
            link.putrequest("POST", path, skip_accept_encoding=True)
            link.putheader("Authorization", f"Basic {self._login}")
            link.putheader("Content-Length", str(len(body)))
            if content_type is not None:
                link.putheader("Content-Type", content_type)
            for name, value in more.items():
                link.putheader(name, value)
            link.endheaders()
            link.send(body)
            return link.getresponse().status
        finally:
            link.close()

    def hang_up(self, path: str, body: bytes) -> None:
        """Send everything and do not wait for the answer, as after a timeout."""
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        link.request("POST", path, body, {"Authorization": f"Basic {self._login}", "Content-Type": FORM})
        link.close()


@pytest.fixture
def switch(world: World) -> Iterator[Switch]:
    made = world.credential("fs1")
    with running(world.store, Settings(port=0)) as where:
        yield Switch(where.port, f"{made['id']}:{made['secret']}")


def stored(world: World) -> int:
    return sum(batch.num_rows for batch in world.store.scan(ScanQuery(0, 2**60)))


def bodies(document: bytes) -> list[tuple[bytes, str | None]]:
    """Return a document as mod_json_cdr and mod_xml_cdr encode it, with the content type that comes with it."""
    plain = base64.b64encode(document)
    form = b"cdr=" + quote(document, safe="").encode()
    return [(form, FORM), (form, None), (b"cdr=" + plain, BASE64), (b"cdr=" + plain, None), (document, None)]


@pytest.mark.parametrize(("format", "document"), [("freeswitch-json", LEG), ("freeswitch-xml", XML)])
@pytest.mark.parametrize("query", ["source=fs1&format={}&?uuid=a_0f6a1b2c", "source=fs1&format={}?uuid=0f6a1b2c"])
def test_a_leg_in_every_body_that_freeswitch_sends_is_stored_once(
    world: World, switch: Switch, format: str, document: bytes, query: str
) -> None:
    own = "application/json" if format == "freeswitch-json" else "text/xml"
    sent = [*bodies(document), (document, own), (document, "application/x-www-form-plaintext")]
    path = "/v1/cdrs?" + query.format(format)
    assert [switch.post(path, body, kind) for body, kind in sent] == [202] * len(sent)
    assert switch.post(path, sent[0][0], FORM, Expect="100-continue") == 202
    (row,) = world.store.reconcile("fs1")
    assert (row["delivered"], row["stored"], row["duplicates"]) == (len(sent) + 1, 1, len(sent))
    assert stored(world) == 1


def test_a_retry_after_a_lost_answer_is_a_duplicate(world: World, switch: Switch) -> None:
    path = "/v1/cdrs?source=fs1&format=freeswitch-json&?uuid=0f6a1b2c"
    body = b"cdr=" + quote(LEG, safe="").encode()
    switch.hang_up(path, body)
    assert switch.post(path, body, FORM) == 202
    assert stored(world) == 1


def test_kamailio_pushes_json_under_any_content_type(world: World, switch: Switch) -> None:
    lines = (FIXTURES / "kamailio" / "http_posts.flat.jsonl").read_bytes().splitlines()
    posts = [line.split(b"\t", 2)[2] for line in lines if line.startswith(b"/acc\t")]
    calls = sorted({json.loads(post)["callid"] for post in posts})[::3]
    posts = [post for post in posts if json.loads(post)["callid"] in calls]
    path = "/v1/cdrs?source=fs1&format=kamailio-json"
    # http_client says what it is told; http_async_client says what curl says of every body, or nothing.
    kinds = ["application/json", FORM, None]
    status = {switch.post(path, post, kinds[number % 3]) for number, post in enumerate(posts)}
    status |= {switch.post(path, post, FORM) for post in posts[:5]}
    assert status <= {200, 202}
    assert stored(world) == len(calls)
    assert sum(row["rejects"] for row in world.store.reconcile("fs1")) == 0


def test_a_body_that_is_no_leg_is_counted_and_anothers_source_is_refused(world: World, switch: Switch) -> None:
    path = "/v1/cdrs?source=fs1&format=freeswitch-json&?uuid=0f6a1b2c"
    assert switch.post(path, b"cdr=" + b"x" * 50, FORM) == 202
    assert switch.post(path.replace("fs1", "fs2"), LEG, None) == 403
    assert switch.post(path, LEG, "text/xml") == 415
    assert stored(world) == 0
    assert sum(row["rejects"] for row in world.store.reconcile("fs1")) == 1


def test_only_what_freeswitch_appends_is_left_out() -> None:
    assert without_uuid(b"source=a&format=csv&?uuid=1") == without_uuid(b"source=a&format=csv?uuid=1")
    for query in (b"", b"source=a&uuid=1", b"source=a?format=csv"):
        assert without_uuid(query) == query

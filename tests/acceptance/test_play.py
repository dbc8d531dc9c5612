"""The files of docs/demo are those of a play, and what they claim of themselves is true."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from api.handover.opening import verify_folder
from api.people.signing import Statement, decode_public_key, digest_of, verify
from schemas.errors import LagrumError
from store.audit.bundle import verify_bundle
from tests.acceptance.play import FOLDER, normalised, play, verification


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("played")
    play(folder)
    return folder


def test_the_files_are_those_of_a_play(played: Path) -> None:
    kept, made = normalised(FOLDER), normalised(played)
    assert sorted(kept) == sorted(made)
    assert [name for name in made if kept[name] != made[name]] == [], "write them anew: python -m tests.acceptance.play"


def test_the_kept_files_verify_offline() -> None:
    assert verification(FOLDER) == (FOLDER / "verification.txt").read_text()


def test_the_approvals_are_signatures_over_what_is_shown() -> None:
    order = json.loads((FOLDER / "approved-order.json").read_bytes())
    manifest = verify_folder(FOLDER / "delivery", decode_public_key((FOLDER / "delivery-key.pub").read_text().strip()))
    for name, digest in (("request", digest_of(order)), ("release", None)):
        approval = json.loads((FOLDER / f"approval-of-{name}.json").read_bytes())
        statement = Statement(**approval["statement"])
        assert verify(decode_public_key(approval["public_key"]), statement.to_bytes(), approval["signature"])
        assert digest in (None, statement.digest)
        assert manifest.receipt["approvals"][name]["signature"] == approval["signature"]


@pytest.mark.parametrize("name", ["manifest.json", "receipt.json", "summary.html", "part-0001/records.csv"])
def test_a_changed_delivery_does_not_verify(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "delivery"
    shutil.copytree(FOLDER / "delivery", folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(LagrumError):
        verify_folder(folder, decode_public_key((FOLDER / "delivery-key.pub").read_text().strip()))


def test_a_changed_log_does_not_verify() -> None:
    body = json.loads((FOLDER / "audit" / "case.json").read_bytes())
    body["entries"][0]["leaf"] = body["entries"][1]["leaf"]
    with pytest.raises(LagrumError):
        verify_bundle(json.dumps(body).encode(), (FOLDER / "audit" / "origin.pub").read_text(), None)

"""Signed notes and checkpoints, against published notes and forgers."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError, IntegrityError
from store.audit.checkpoint import DASH, Checkpoint, Note, Signer, VerifierKey, check_name, open_checkpoint, parse_note

# The example of Go's sumdb/note, where the format comes from: key pair, text, signature.
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example of c2sp.org/signed-note.
C2SP_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
ROOT = bytes(range(32))
SLOPPY_ROOT = base64.b64encode(ROOT).decode().replace("8=", "9=")
"""The same octets, with a bit that says nothing."""
SIGNER = Signer("log.example/a", bytes(32))
LINE = SIGNER.sign("a\n").removeprefix("a\n\n")
WITNESS_ALGORITHM = b"\x04"


def test_the_published_key_gives_the_published_note() -> None:
    signer = Signer("PeterNeumann", GO_SEED)
    assert str(signer.verifier) == GO_VKEY
    assert signer.sign(GO_TEXT) == f"{GO_TEXT}\n{GO_LINE}"


@pytest.mark.parametrize(("vkey", "note"), [(GO_VKEY, f"{GO_TEXT}\n{GO_LINE}"), (C2SP_VKEY, C2SP_NOTE)])
def test_published_notes_verify_and_with_any_other_octet_do_not(vkey: str, note: str) -> None:
    key = VerifierKey.parse(vkey)
    parse_note(note).verify(key)
    for place, character in enumerate(note):
        changed = note[:place] + ("x" if character != "x" else "y") + note[place + 1 :]
        with pytest.raises(IntegrityError):
            parse_note(changed).verify(key)


@given(st.binary(min_size=32, max_size=32), st.from_regex(r"[a-z0-9./-]{1,40}", fullmatch=True))
def test_a_verifier_key_reads_back_as_written(seed: bytes, name: str) -> None:
    key = Signer(name, seed).verifier
    assert VerifierKey.parse(str(key)) == key


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "PeterNeumann",
        GO_VKEY[:-4],
        GO_VKEY + "AAAA",
        GO_VKEY.replace("c74f20a3", "c74f20a4"),
        GO_VKEY.replace("PeterNeumann", "PeterNewmann"),
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ],
)
def test_a_malformed_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(IntegrityError):
        VerifierKey.parse(vkey)


@pytest.mark.parametrize("public", [bytes(31), bytes(33)])
def test_a_key_of_another_length_is_refused_though_its_hash_fits(public: bytes) -> None:
    with pytest.raises(IntegrityError):
        VerifierKey.parse(str(VerifierKey("log.example/a", public)))


def test_a_key_of_another_algorithm_is_refused_though_its_hash_fits() -> None:
    name, public = SIGNER.verifier.name, SIGNER.verifier.public
    with pytest.raises(IntegrityError):
        VerifierKey.parse(
            f"{name}+{SIGNER.verifier.hash.hex()}+{base64.b64encode(WITNESS_ALGORITHM + public).decode()}"
        )


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2003b", "a\x00b"])
def test_a_name_that_a_note_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        check_name(name)


@pytest.mark.parametrize("text", ["", "no newline", "a\tb\n", "a\x00\n"])
def test_a_text_that_is_no_note_is_not_signed(text: str) -> None:
    with pytest.raises(ConfigurationError):
        SIGNER.sign(text)


@given(st.integers(0, 10**17), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_reads_back_as_written(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("log.example/a", size, root)
    assert Checkpoint.parse_text(checkpoint.text()) == checkpoint
    assert open_checkpoint(SIGNER.sign(checkpoint.text()), [SIGNER.verifier]) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "log\n1\n",
        f"log\n01\n{base64.b64encode(ROOT).decode()}\n",
        f"log\n-1\n{base64.b64encode(ROOT).decode()}\n",
        f"log\n1\n{base64.b64encode(ROOT[:31]).decode()}\n",
        f"log\n1\n{base64.b64encode(ROOT).decode()[:-1]}\n",
        f"log\n1\n{base64.b64encode(ROOT).decode()}",
        f"\n1\n{base64.b64encode(ROOT).decode()}\n",
        f"log\n\n1\n{base64.b64encode(ROOT).decode()}\n",
        f"log\n\uff11\n{base64.b64encode(ROOT).decode()}\n",
        f"log\n1\n{base64.b64encode(ROOT).decode()}\nan extension without its end",
        f"log\n1\n{SLOPPY_ROOT}\n",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        Checkpoint.parse_text(text)


def test_extension_lines_of_a_checkpoint_are_left_alone() -> None:
    checkpoint = Checkpoint("log", 7, ROOT)
    assert Checkpoint.parse_text(checkpoint.text() + "extension\n") == checkpoint


def test_a_checkpoint_of_another_key_or_origin_is_refused() -> None:
    note = SIGNER.sign(Checkpoint("log.example/a", 7, ROOT).text())
    with pytest.raises(IntegrityError):
        open_checkpoint(note, [Signer("log.example/a", bytes(31) + b"\x01").verifier])
    with pytest.raises(IntegrityError):
        open_checkpoint(note, [])
    with pytest.raises(IntegrityError):
        open_checkpoint(note.replace("\n7\n", "\n8\n"), [SIGNER.verifier])
    foreign = SIGNER.sign(Checkpoint("log.example/b", 7, ROOT).text())
    with pytest.raises(IntegrityError):
        open_checkpoint(foreign, [SIGNER.verifier])


def test_further_signatures_do_not_matter_and_do_not_help() -> None:
    text = Checkpoint("log.example/a", 7, ROOT).text()
    note = SIGNER.sign(text)
    witness = Signer("witness", b"\x07" * 32).sign(text).removeprefix(text + "\n")
    assert open_checkpoint(note + witness, [SIGNER.verifier]).size == 7
    with pytest.raises(IntegrityError):
        open_checkpoint(text + "\n" + witness, [SIGNER.verifier])


@pytest.mark.parametrize(
    "note", ["", "\n", "a\n\n", "a\n\nb\n", "a\n\n— b\n", "a\n\n— b c\n", "a\n\n— b AAAA\n", "\n\n"]
)
def test_a_malformed_note_is_refused(note: str) -> None:
    with pytest.raises(IntegrityError):
        parse_note(note)


@pytest.mark.parametrize(
    "note",
    [
        "a" * 65_536 + "\n\n" + LINE,
        LINE,
        "\n\n" + LINE,
        "a\n\n" + LINE[:-1] + "x",
        "a\tb\n\n" + LINE,
        "a\n\n" + LINE.removeprefix(DASH),
        f"a\n\n{DASH}{LINE.split()[1]}\n",
        f"a\n\n{DASH} {LINE.split()[2]}\n",
        f"a\n\n{DASH}name {base64.b64encode(bytes(4)).decode()}\n",
    ],
    ids=["too long", "no gap", "no text", "no end", "a tab", "no dash", "no signature", "no name", "a hash only"],
)
def test_a_note_with_one_fault_is_refused(note: str) -> None:
    assert parse_note("a\n\n" + LINE).text == "a\n"
    with pytest.raises(IntegrityError):
        parse_note(note)


def test_a_note_with_too_many_signatures_is_refused() -> None:
    with pytest.raises(IntegrityError):
        parse_note("a\n\n" + LINE * 101)


@given(st.text(max_size=200))
def test_any_text_is_a_note_or_refused_and_never_an_accident(text: str) -> None:
    try:
        note = parse_note(text)
    except IntegrityError:
        return
    assert isinstance(note, Note)
    assert note.text.endswith("\n")

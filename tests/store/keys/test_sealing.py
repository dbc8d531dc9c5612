"""Sealing, wrapping, deriving."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BusyError, InputError, IntegrityError
from store.keys import SEAL_OVERHEAD_BYTES, derive, seal, seal_series, sealing, unseal, unseal_series
from store.keys.sealing import NUMBER_BYTES, WRAP_NONCES_MAX, WRAPS_MAX, Wrapper

keys = st.binary(min_size=32, max_size=32)


@given(keys, st.binary(max_size=300), st.binary(max_size=50))
def test_what_is_sealed_is_unsealed(key: bytes, plaintext: bytes, aad: bytes) -> None:
    blob = seal(key, plaintext, aad)
    assert len(blob) == len(plaintext) + SEAL_OVERHEAD_BYTES
    assert unseal(key, blob, aad) == plaintext
    assert seal(key, plaintext, aad) != blob


@given(keys, st.binary(max_size=40), st.binary(max_size=20), st.data())
def test_one_flipped_bit_anywhere_is_refused(key: bytes, plaintext: bytes, aad: bytes, data: st.DataObject) -> None:
    blob = bytearray(seal(key, plaintext, aad))
    bit = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        unseal(key, bytes(blob), aad)


@given(keys, keys, st.binary(max_size=20), st.binary(max_size=20))
def test_another_key_or_another_aad_is_refused(key: bytes, other: bytes, aad: bytes, other_aad: bytes) -> None:
    blob = seal(key, b"x", aad)
    for wrong_key, wrong_aad in ((other, aad), (key, other_aad)):
        if (wrong_key, wrong_aad) != (key, aad):
            with pytest.raises(IntegrityError):
                unseal(wrong_key, blob, wrong_aad)


@given(st.binary(max_size=SEAL_OVERHEAD_BYTES + 3), st.integers(0, SEAL_OVERHEAD_BYTES + 3))
def test_garbage_and_truncated_blobs_are_refused(garbage: bytes, cut: int) -> None:
    key = bytes(32)
    for blob in (garbage, seal(key, b"1234", b"")[:cut]):
        with pytest.raises(IntegrityError):
            unseal(key, blob, b"")


items = st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=20)), min_size=1, max_size=5)


@given(keys, items, items)
def test_series_are_unsealed_in_any_order(
    key: bytes, first: list[tuple[bytes, bytes]], second: list[tuple[bytes, bytes]]
) -> None:
    sealed = [*zip(seal_series(key, first), first, strict=True), *zip(seal_series(key, second), second, strict=True)]
    assert all(len(blob) == len(plain) + SEAL_OVERHEAD_BYTES + NUMBER_BYTES for blob, (plain, _) in sealed)
    turned = sealed[::-1]
    assert unseal_series(key, [(blob, aad) for blob, (_, aad) in turned]) == [plain for _, (plain, _) in turned]
    assert len({blob for blob, _ in sealed}) == len(sealed)
    assert len(seal_series(key, [])) == 0


@given(keys, items, st.data())
def test_one_flipped_bit_anywhere_in_a_series_is_refused(
    key: bytes, items: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    blob, aad = bytearray(seal_series(key, items)[-1]), items[-1][1]
    bit = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        unseal_series(key, [(bytes(blob), aad)])


@given(keys, st.binary(max_size=40), st.binary(max_size=20))
def test_a_blob_of_a_series_is_opened_by_its_key_aad_place_and_form_only(key: bytes, plain: bytes, aad: bytes) -> None:
    one, two = seal_series(key, [(plain, aad), (plain, aad)])
    assert one[17:21] != two[17:21] and one[21:] != two[21:]
    swapped = one[:17] + two[17:21] + one[21:]
    for wrong_key, blob, wrong_aad in (
        (derive(key, "other"), one, aad),
        (key, one, aad + b"x"),
        (key, swapped, aad),
        (key, one[:20], aad),
        (key, seal(key, plain, aad), aad),
    ):
        with pytest.raises(IntegrityError):
            unseal_series(wrong_key, [(blob, wrong_aad)])
    with pytest.raises(IntegrityError):
        unseal(key, one, aad)


def test_derived_keys_differ_by_key_purpose_context_and_boundary() -> None:
    key = os.urandom(32)
    made = {
        derive(key, "a"),
        derive(key, "ab"),
        derive(key, "a", b"b"),
        derive(key, "", b"ab"),
        derive(os.urandom(32), "a"),
    }
    assert len(made) == 5
    assert derive(key, "a", length=64)[:32] == derive(key, "a")


def test_deriving_gives_the_published_answer() -> None:
    # Computed with another implementation: HMAC-SHA256 by hand, RFC 5869 section 2.
    import hmac

    key = bytes(range(32))
    prk = hmac.digest(bytes(32), key, "sha256")
    info = b"lagrum\x00\x00\x04file" + b"context"
    assert derive(key, "file", b"context") == hmac.digest(prk, info + b"\x01", "sha256")


@given(keys, keys, st.binary(max_size=20))
def test_what_is_wrapped_is_unwrapped(wrapping: bytes, key: bytes, aad: bytes) -> None:
    wrapped = Wrapper(wrapping).wrap(key, aad)
    assert Wrapper(wrapping).unwrap(wrapped, aad) == key
    for blob in (wrapped[:-1], wrapped[:5], bytes([wrapped[0] ^ 1]) + wrapped[1:]):
        with pytest.raises(IntegrityError):
            Wrapper(wrapping).unwrap(blob, aad)
    with pytest.raises(IntegrityError):
        Wrapper(wrapping).unwrap(wrapped, aad + b"x")


def test_a_wrapping_key_refuses_to_go_beyond_its_nonces() -> None:
    assert WRAPS_MAX < WRAP_NONCES_MAX == 2**32
    wrapper = Wrapper(bytes(32), WRAPS_MAX - 1)
    wrapper.wrap(bytes(32), b"")
    with pytest.raises(BusyError, match="generation"):
        wrapper.wrap(bytes(32), b"")


def test_what_one_blob_or_one_series_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    key = bytes(32)
    monkeypatch.setattr(sealing, "PLAINTEXT_BYTES_MAX", 3)
    assert unseal(key, seal(key, b"abc", b""), b"") == b"abc"
    assert len(seal_series(key, [(b"abc", b"")] * 2)) == 2
    with pytest.raises(InputError):
        seal(key, b"abcd", b"")
    with pytest.raises(InputError):
        seal_series(key, [(b"abc", b""), (b"abcd", b"")])
    monkeypatch.setattr(sealing, "NUMBER_BYTES", 0)
    with pytest.raises(InputError):
        seal_series(key, [(b"abc", b"")])

"""Telephone numbers: what a switch wrote, to E.164 digits.

What is done to a value, in this order (the same for columns, single values and search targets):

0. Spaces and tabs before and behind a value, which fixed-width exports write, are removed from every value.
1. A `tel:` URI of a global number becomes that number. Every other URI, and whatever holds letters, `*` or `#`, stays.
2. Visual separators (space, `-`, `.`, `/`, parentheses, and the `(0)` behind a country
   code, with `+` or an international prefix or without) and marks of the direction of writing are removed from numbers.
3. Six digits or fewer are a short code and stay. More than 18 digits are no number and stay.
4. `+`, or the country's international prefix, is removed when 5 to 15 digits are left that do not begin with 0.
5. The country's national prefix is replaced by the country code.
6. Where a country has no national prefix (or its prefix is its code, as in North America), digits that have the form of
   a national number get the country code, unless they already read as code and national number.
7. A national prefix behind the country code is removed (`schemas.misplaced_prefixes`).

Digits without any prefix are E.164 in countries with a national prefix, and for sources without a country; such sources
take `00` as international prefix. International prefixes count only when they begin with 0 or are plain digits: a
pattern like Finland's 99… would swallow foreign E.164 numbers.

What a spreadsheet or a data frame made of a number (4.67E+10, 46701740605.0, '46701740605) is no number: its digits may
be lost. It stays a text here, and is refused where it is delivered (`spoiled`).

Source: ITU-T E.164 (15 digits, country codes), E.123 (writing), RFC 3966 (`tel:`); prefixes and forms of national
numbers come with the `phonenumbers` package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa

from schemas.buffers import (
    Column,
    Ints,
    Mask,
    flags,
    flat,
    map_unique,
    pc,
    replaced,
    text_views,
    valid_mask,
    values_int64,
)
from schemas.errors import ConfigurationError
from schemas.misplaced_prefixes import mend, without_misplaced_prefix
from schemas.packing import DIGITS_MAX, digit_counts, looking, pack_identifier, unpack_identifier

__all__ = [
    "CountryRules",
    "normalise_number",
    "normalise_numbers",
    "normalise_packed",
    "read_number",
    "rules",
    "spoiled",
]

SHORT_CODE_DIGITS_MAX: Final = 6
E164_DIGITS_MAX: Final = 15
INTERNATIONAL_DIGITS_MIN: Final = 5

_SPACES: Final = "\u00a0\u2000-\u200a\u202f\u3000"
_HYPHENS: Final = "\u2010-\u2015\u2212"
SEPARATORS: Final = str.maketrans(
    "", "", " -./()\u00a0\u202f\u3000\u2212" + "".join(map(chr, (*range(0x2000, 0x200B), *range(0x2010, 0x2016))))
)
_PADDING: Final = " \t\u00a0\u202f\u3000"
_NUMBER: Final = re.compile(rf"\+?[0-9 \-./(){_SPACES}{_HYPHENS}]+")
_UNSEEN: Final = str.maketrans(
    "", "", "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)
_QUAD: Final = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]{1,2})"
_DOTTED_QUAD: Final = re.compile(rf"{_QUAD}(?:\.{_QUAD}){{3}}")
_GLOBAL_TEL: Final = re.compile(r"tel:(\+[0-9\-.()]+)(?:;.*)?", re.IGNORECASE | re.DOTALL)
_EXPONENT: Final = r"[+-]?[0-9](?:[.,][0-9]+)?[Ee]\+[0-9]{2,3}"
_SPOILED: Final = (
    rf"^(?:{_EXPONENT}|[+-]?[0-9]+[.,]0{{1,2}}|-[0-9]+|'\+?[0-9]+|='?\"?\+?[0-9]+\"?|"
    "[0-9]{1,3}(?:,[0-9]{3}){2,}|[0-9]{1,3}(?:['\u2019][0-9]{3}){2,})$"
)
_FOREIGN: Final = "\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\uff10-\uff19\u00b2\u00b3\u00b9"
_CELL: Final = (
    "^#{4,}$|^#(?:N/A|REF!|VALUE!|NUM!|NAME\\?|DIV/0!|NULL!)$|[\\x00-\\x1f\\x7f\u0080-\u009f]|"
    rf"^[0-9 +()./-]*[{_FOREIGN}][0-9 +()./{_FOREIGN}-]*$"
)
"""What shows instead of a number, is one in another notation or script, or holds what cannot be seen."""
_SPOILED_NUMBER: Final = re.compile(_SPOILED)
_MAYBE_SPOILED: Final = (b".", b",", b"-", b"'", b"=", b"E", b"e")
_MAYBE_EXPONENT: Final = (b"+",)
_PLAIN_TRUNK: Final = re.compile(r"(?:\((?!0).*\)\$?\|)?0(?:\|180020)?|\[08\]")
_POWERS: Final = 10 ** np.arange(DIGITS_MAX + 1, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class CountryRules:
    """How a country writes numbers; all empty for a source whose numbers are E.164 already.

    `trunk` is the national prefix; `trunk_pattern` and `trunk_rewrite` are for the few countries where more than that
    prefix is removed (carrier selection codes). `national` matches a whole national number.
    """

    country: str | None
    code: str
    international: re.Pattern[str]
    international_is_00: bool
    trunk: str | None
    trunk_pattern: re.Pattern[str] | None
    trunk_rewrite: str | None
    national: re.Pattern[str] | None


@lru_cache(maxsize=512)
def rules(country: str | None) -> CountryRules:
    """Return the rules of an ISO 3166 country, or those of a source that writes E.164 (None).

    Raises:
        ConfigurationError: there is no such country.
    """
    if country is None:
        return CountryRules(None, "", re.compile("00"), True, None, None, None, None)
    import phonenumbers  # a source that writes E.164 needs none of it

    metadata = phonenumbers.PhoneMetadata.metadata_for_region(country.upper())
    if metadata is None:
        raise ConfigurationError(
            f"there is no country {country!r}", hint="countries are ISO 3166 codes of two letters, such as SE"
        )
    code = str(metadata.country_code)
    trunk = metadata.national_prefix
    parsing = metadata.national_prefix_for_parsing
    if trunk == code:
        trunk = parsing = None
    complex_trunk = parsing is not None and parsing != trunk and _PLAIN_TRUNK.fullmatch(parsing) is None
    complex_trunk = complex_trunk and trunk is not None
    international = metadata.international_prefix or "00"
    general = metadata.general_desc
    assert general is not None, "every country has a general form"
    return CountryRules(
        country=country.upper(),
        code=code,
        international=re.compile(international),
        international_is_00=international == "00",
        trunk=trunk,
        trunk_pattern=re.compile(parsing) if parsing is not None and complex_trunk else None,
        trunk_rewrite=metadata.national_prefix_transform_rule if complex_trunk else None,
        national=re.compile(general.national_number_pattern or ""),
    )


def normalise_number(text: str, rules: CountryRules) -> str:
    """Return the normal form of one number; what is no number stays as it is."""
    number = read_number(text, rules)
    return without_misplaced_prefix(number) or number


def read_number(text: str, rules: CountryRules) -> str:
    """Return the normal form of one number, a national prefix behind its country code left where it is."""
    text = text.strip(_PADDING) or text
    if text.isascii() and text.isdigit():
        return _normalise_digits(text, rules)
    number = text if text.isascii() else text.translate(_UNSEEN)
    if number[:4].lower() == "tel:":
        uri = _GLOBAL_TEL.fullmatch(number)
        if uri is None:
            return text
        number = uri[1]
    if _NUMBER.fullmatch(number) is None or _DOTTED_QUAD.fullmatch(number) or _SPOILED_NUMBER.match(number):
        return text
    if number.startswith("+"):
        digits = number[1:].replace("(0)", "").translate(SEPARATORS)
        return digits if _is_international(digits) else text
    digits = _without_trunk_mark(number, rules).translate(SEPARATORS)
    if SHORT_CODE_DIGITS_MAX < len(digits) <= DIGITS_MAX:
        return _normalise_digits(digits, rules)
    return text


def spoiled(text: Column, *, exponents_only: bool = False) -> Mask | None:
    """Tell which texts are what a spreadsheet or a data frame makes of digits, or cannot be seen; None: no text is.

    `exponents_only` leaves the forms alone that an identifier of another kind may have by itself (12.0).
    """
    data = text_views(text)[1]
    held = data.tobytes()
    patterns = []
    if any(sign in held for sign in (_MAYBE_EXPONENT if exponents_only else _MAYBE_SPOILED)):
        patterns.append(f"^{_EXPONENT}$" if exponents_only else _SPOILED)
    # One look for a byte below a space, and for DEL and all above it.
    strange = len(data) > 0 and bool(((data - np.uint8(0x20)) >= np.uint8(0x5F)).any())
    if not exponents_only and (strange or b"#" in held):
        patterns.append(_CELL)
    if not patterns:
        return None
    found = pc.match_substring_regex(pc.utf8_trim(text, characters=_PADDING), "|".join(patterns))
    mask: Mask = np.asarray(pc.fill_null(found, False))
    return mask if mask.any() else None


def _without_trunk_mark(number: str, rules: CountryRules) -> str:
    """Return a number written without `+` less the `(0)` behind its country code, as `0046 (0)70-123 45 67` has it."""
    before, mark, after = number.partition("(0)")
    code = before.translate(SEPARATORS)
    prefix = rules.international.match(code)
    is_code = code == rules.code or (prefix is not None and code[0] == "0" and 0 < len(code) - prefix.end() <= 3)
    return before + after if mark and code and is_code else number


def _is_international(digits: str) -> bool:
    return INTERNATIONAL_DIGITS_MIN <= len(digits) <= E164_DIGITS_MAX and digits[0] != "0"


def _normalise_digits(digits: str, rules: CountryRules) -> str:
    if not SHORT_CODE_DIGITS_MAX < len(digits) <= DIGITS_MAX:
        return digits
    prefix = rules.international.match(digits)
    if (
        prefix is not None
        and (digits[0] == "0" or rules.international.pattern.isdigit())
        and _is_international(digits[prefix.end() :])
    ):
        return digits[prefix.end() :]
    if rules.national is None:
        return digits
    whole = rules.code + (_national_digits(digits, rules) or "")
    return whole if len(rules.code) < len(whole) <= E164_DIGITS_MAX else digits


def _national_digits(digits: str, rules: CountryRules) -> str | None:
    """Return the national number without its prefix; None where the digits are not written nationally."""
    assert rules.national is not None
    if rules.trunk is None:
        coded = digits.startswith(rules.code) and rules.national.fullmatch(digits[len(rules.code) :])
        return digits if rules.national.fullmatch(digits) and not coded else None
    if rules.trunk_pattern is not None and digits[0] in "08":
        special = rules.trunk_pattern.match(digits)
        if special is not None and special.end() > 0:
            rewritten = rules.trunk_rewrite is not None and special.lastindex and special[special.lastindex] is not None
            start = special.expand(rules.trunk_rewrite or "") if rewritten else ""
            rest = start + digits[special.end() :]
            if rules.national.fullmatch(rest):
                return rest
    if not digits.startswith(rules.trunk):
        return None
    rest = digits[len(rules.trunk) :]
    if rules.trunk[0] == "0":  # nothing international begins with 0, so this is national whatever its length
        return rest if rest[0] != "0" else None
    return rest if rules.national.fullmatch(rest) else None


def normalise_numbers(array: Column, rules: CountryRules) -> Column:
    """Return a string column of normal forms, each equal to `normalise_number` of the value."""
    packed, text = pack_identifier(array)
    packed, text, _ = normalise_packed(packed, text, rules)
    return unpack_identifier(packed, text)


def normalise_packed(packed: Column, text: Column | None, rules: CountryRules) -> tuple[Column, Column | None, Mask]:
    """Normalise packed numbers: (digits, text, which rows changed). Arithmetic on digits, no strings for most rows.

    A text of None stands for nulls, and comes back as such.
    """
    packed, text = flat(packed), None if text is None else flat(text)
    rows = len(packed)
    changed = flags(rows)
    if packed.null_count < rows:
        values = values_int64(packed)
        if packed.null_count:
            values = np.where(valid_mask(packed), values, 1)
        made = _normalise_values(values, rules)
        if made is not None:
            changed = made != values
            packed = pa.array(made, mask=~valid_mask(packed) if packed.null_count else None)
    if text is not None and text.null_count < rows:
        packed, text, rewritten = _normalise_text(packed, text, rules)
        changed = changed | rewritten
    packed, mended = mend(packed)
    return packed, text, changed if mended is None else changed | mended


def _normalise_values(values: Ints, rules: CountryRules) -> Ints | None:
    """Return the values normalised, or None where nothing changes."""
    by_form = rules.country is not None and (rules.trunk is None or rules.trunk[0] != "0")
    if not by_form and not _some_zero_led(values):
        return None
    counts = digit_counts(values)
    plain = values - _POWERS.take(counts)
    long = counts > SHORT_CODE_DIGITS_MAX
    zero = long & (plain < _POWERS.take(np.maximum(counts - 1, 0)))
    if by_form:
        return _by_form(values, counts, plain, long, rules)
    if not zero.any():
        return None
    rows = np.flatnonzero(zero)
    made = values.copy()
    if not rules.international_is_00 or rules.trunk_pattern is not None or rules.trunk not in (None, "0"):
        made[rows] = _one_by_one(values[rows], rules)
        return made
    count, digits = counts[rows], plain[rows]
    international = digits < _POWERS.take(count - 2)
    rest = count - 2
    good = international & (rest >= INTERNATIONAL_DIGITS_MIN) & (rest <= E164_DIGITS_MAX)
    good &= digits >= _POWERS.take(rest - 1)
    made[rows[good]] = digits[good] + _POWERS.take(rest[good])
    if rules.trunk == "0":
        rest = count - 1
        whole = rest + len(rules.code)
        good = ~international & (whole <= E164_DIGITS_MAX)
        power = _POWERS.take(rest[good])
        made[rows[good]] = digits[good] + power * int(rules.code) + _POWERS.take(whole[good])
    return made


def _some_zero_led(values: Ints) -> bool:
    """Tell whether a number that is no short code may begin with 0; only "no" is certain without the kernels."""
    least, greatest = int(values.min()), int(values.max())
    power = int(_POWERS[len(str(least)) - 1])
    if greatest < 2 * power and least >= power + power // 10:  # all have the same number of digits
        return False
    kernels = looking(len(values))
    return True if kernels is None else bool(kernels.zero_led(values, SHORT_CODE_DIGITS_MAX))


def _by_form(values: Ints, counts: Ints, plain: Ints, long: Mask, rules: CountryRules) -> Ints | None:
    """Normalise where the form of a national number decides: no national prefix, or one that does not begin with 0."""
    assert rules.national is not None
    forms = rules.national.pattern
    text = unpack_identifier(pa.array(values, mask=~long))
    if rules.trunk is None:
        national = pc.and_not(
            pc.match_substring_regex(text, f"^(?:{forms})$"),
            pc.match_substring_regex(text, f"^{rules.code}(?:{forms})$"),
        )
    else:
        national = pc.match_substring_regex(text, f"^{rules.trunk}(?:{forms})$")
    # A leading 0, or digits that may be an international prefix, are decided one by one.
    first = pc.utf8_slice_codeunits(text, 0, 1)
    prefix = rules.international.pattern[:1]
    odd = np.asarray(pc.fill_null(pc.is_in(first, pa.array(["0", prefix, rules.trunk or "0"])), False))
    odd = odd if rules.trunk is not None or prefix != "0" else np.asarray(pc.fill_null(pc.equal(first, "0"), False))
    rows = np.flatnonzero(np.asarray(pc.fill_null(national, False)) & ~odd)
    slow = np.flatnonzero(odd)
    if not len(rows) and not len(slow):
        return None
    made = values.copy()
    count = counts[rows]
    whole = count + len(rules.code)
    fits = whole <= E164_DIGITS_MAX
    rows, count, whole = rows[fits], count[fits], whole[fits]
    made[rows] = plain[rows] + _POWERS.take(count) * int(rules.code) + _POWERS.take(whole)
    made[slow] = _one_by_one(values[slow], rules)
    return made


def _one_by_one(values: Ints, rules: CountryRules) -> Ints:
    """Normalise each distinct value by itself; the result of digits is always digits that fit."""
    distinct, back = np.unique(values, return_inverse=True)
    made = [int("1" + _normalise_digits(str(value)[1:], rules)) for value in distinct.tolist()]
    return np.array(made, np.int64)[back]


def _normalise_text(packed: Column, text: Column, rules: CountryRules) -> tuple[Column, Column, Mask]:
    """Normalise what is not plain digits: '+' and digits fast, the rest one distinct value at a time."""
    rows = np.flatnonzero(valid_mask(text))
    some = text.take(pa.array(rows))
    tail, _ = pack_identifier(pc.if_else(pc.starts_with(some, "+"), pc.utf8_slice_codeunits(some, 1), None))
    value = np.asarray(pc.fill_null(tail, 1))
    count = digit_counts(value)
    good = (count >= INTERNATIONAL_DIGITS_MIN) & (count <= E164_DIGITS_MAX)
    good &= value - _POWERS.take(count) >= _POWERS.take(np.maximum(count - 1, 0))
    digits = np.zeros(len(packed), np.int64)
    is_digits = flags(len(packed))
    digits[rows[good]], is_digits[rows[good]] = value[good], True
    others = np.flatnonzero(~good)
    changed = is_digits.copy()
    if len(others):
        before = some.take(pa.array(others))
        after = map_unique(before, lambda one: read_number(one, rules), pa.string())
        differs = np.asarray(pc.not_equal(before, after))
        made, still_text = pack_identifier(after)
        numeric = differs & valid_mask(made)
        chosen = rows[others[numeric]]
        digits[chosen], is_digits[chosen] = np.asarray(pc.fill_null(made, 0))[numeric], True
        changed[rows[others[differs]]] = True
        text = replaced(text, rows[others[differs & ~numeric]], still_text.filter(pa.array(differs & ~numeric)))
    if not changed.any():
        return packed, text, changed
    packed = pc.if_else(pa.array(is_digits), pa.array(digits), packed)
    return packed, pc.if_else(pa.array(is_digits), pa.scalar(None, pa.string()), text), changed

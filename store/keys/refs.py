"""What a key is for: the name under which the keyring keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date as calendar_date

from schemas.errors import ConfigurationError

PART_CHARACTERS_MAX = 200


@dataclass(frozen=True, order=True, slots=True)
class KeyRef:
    """Names one key; `text` is `kind/date/name/domain`.

    `kind` is a word such as `partition`, `quarantine`, `open`, `audit`; `date` an ISO day or empty; `name` the
    retention class, or what the kind wants; `domain` the key domain or empty.

    Raises:
        ConfigurationError: A part holds a slash or an unprintable character, is too long, or is not a date.
    """

    kind: str
    date: str = ""
    name: str = ""
    domain: str = ""

    def __post_init__(self) -> None:
        if not self.kind:
            raise ConfigurationError("a key reference needs a kind")
        for part in (self.kind, self.date, self.name, self.domain):
            if "/" in part or not part.isprintable() or len(part) > PART_CHARACTERS_MAX:
                raise ConfigurationError(
                    "a part of a key reference holds a slash or a control character, or is too long"
                )
        if self.date:
            try:
                iso = calendar_date.fromisoformat(self.date).isoformat()
            except ValueError as exc:
                raise ConfigurationError("the date of a key reference is no ISO day") from exc
            if iso != self.date:
                raise ConfigurationError("the date of a key reference is not written YYYY-MM-DD")

    @property
    def text(self) -> str:
        """The reference as one string; `parse` reads it back."""
        return f"{self.kind}/{self.date}/{self.name}/{self.domain}"

    @classmethod
    def parse(cls, text: str) -> KeyRef:
        """Read a reference's text form.

        Raises:
            ConfigurationError: It does not have four valid parts.
        """
        parts = text.split("/")
        if len(parts) != 4:
            raise ConfigurationError("a key reference has four parts")
        return cls(*parts)

    def __str__(self) -> str:
        return self.text

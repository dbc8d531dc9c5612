"""A witness for logs of other machines: it checks that a log only grew, remembers that durably, and cosigns.

Under its folder:

    witness.key                    name and private key (mode 0600)
    witness.pub                    the public key, a vkey, one line: what a log's settings name
    logs/LOG/origin.pub            the log's pinned origin key
    logs/LOG/state.json            epoch and key trusted now, tree seen last, the checkpoint as cosigned
    logs/LOG/days/DATE.checkpoint  the last cosigned checkpoint of each UTC day

It answers `POST /add-checkpoint` as c2sp.org/tlog-witness says, `POST /add-epoch` (`store.audit.submission`), and `GET
/logs/LOG` with what it has seen. It holds nothing secret but its key, and needs nobody's credentials: a checkpoint that
the log did not sign is refused.
"""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import Any, Final

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from api.witness import log_name
from schemas.errors import ConfigurationError, IntegrityError, NotFoundError, ProcedureError
from store import files
from store.audit.checkpoint import VerifierKey, parse_note
from store.audit.cosign import WitnessSigner
from store.audit.submission import (
    BACKWARDS,
    CONFLICT,
    FOREIGN,
    PROOF,
    SUBMISSION_BYTES_MAX,
    UNSIGNED,
    Seen,
    Submission,
    take_checkpoint,
    take_epoch,
)
from store.clock import Clock, to_date

STATUS: Final = {UNSIGNED: 403, FOREIGN: 404, BACKWARDS: 400, CONFLICT: 409, PROOF: 422}
_SEED_BYTES: Final = 32


class WitnessBook:
    """What a witness keeps; safe for threads, and one process at a time holds its folder."""

    def __init__(self, folder: Path, signer: WitnessSigner, clock: Clock) -> None:
        self._folder, self._signer, self._clock = folder, signer, clock
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path, clock: Clock, *, name: str | None = None) -> WitnessBook:
        """Open a folder; the first time its key is made, under `name`.

        Raises:
            ConfigurationError: there is no key and no name, or the key is another name's.
        """
        files.make_dir(folder)
        path = folder / "witness.key"
        if not path.exists():
            if not name:
                raise ConfigurationError("a new witness needs a name", hint="--name witness.example.org/1")
            made = WitnessSigner.generate(name)
            content = {"name": name, "seed": base64.b64encode(made.seed).decode()}
            files.write_atomic(path, orjson.dumps(content))
        told = orjson.loads(files.read_secret(path))
        if name is not None and told["name"] != name:
            raise ConfigurationError("the witness in that folder has another name")
        signer = WitnessSigner(told["name"], base64.b64decode(told["seed"]))
        files.write_atomic(folder / "witness.pub", f"{signer.key}\n".encode(), mode=0o644)
        return cls(folder, signer, clock)

    @property
    def vkey(self) -> str:
        """The public key, for the settings of the logs that are watched."""
        return str(self._signer.key)

    def watch(self, origin: str) -> str:
        """Watch the log of an origin key (a vkey) from now on; return how it is named here.

        Raises:
            IntegrityError: it is no key.
            ConfigurationError: another key was pinned for a log of that name.
        """
        key = VerifierKey.parse(origin.strip())
        folder = self._folder / "logs" / log_name(key.name)
        path = folder / "origin.pub"
        if path.exists() and path.read_text("utf-8").strip() != str(key):
            raise ConfigurationError("another origin key is pinned for that log")
        if not path.exists():
            files.make_dir(folder)
            files.write_atomic(path, f"{key}\n".encode(), mode=0o644)
        return log_name(key.name)

    def seen(self, name: str) -> tuple[Seen, str]:
        """Return what was seen of a log, and its newest checkpoint as cosigned (empty before the first).

        Raises:
            NotFoundError: it is not watched here.
        """
        folder = self._folder / "logs" / name
        if not name.isalnum() or not (folder / "origin.pub").exists():
            raise NotFoundError("that log is not watched here")
        origin = VerifierKey.parse((folder / "origin.pub").read_text("utf-8").strip())
        if not (folder / "state.json").exists():
            return Seen.nothing(origin), ""
        told = orjson.loads((folder / "state.json").read_bytes())
        key, root = VerifierKey.parse(told["key"]), base64.b64decode(told["root"])
        return Seen(origin, told["epoch"], key, told["size"], root), told["note"]

    def add_checkpoint(self, sent: Submission) -> str:
        """Take a checkpoint and return the cosignature line; what was seen is durable before.

        Raises:
            NotFoundError, ProcedureError: it is refused (`store.audit.submission.take_checkpoint`).
        """
        with self._lock:
            name = self._name_of(sent)
            before, _ = self.seen(name)
            after = take_checkpoint(before, sent)
            now_us = self._clock.now_us()
            text = parse_note(sent.note).text
            line = self._signer.cosign(text, now_us // 1_000_000)
            note = sent.note + line
            self._keep(name, after, note)
            days = self._folder / "logs" / name / "days"
            files.make_dir(days)
            files.write_atomic(days / f"{to_date(now_us).isoformat()}.checkpoint", note.encode(), mode=0o644)
        return line

    def add_epoch(self, sent: Submission) -> None:
        """Take the certificate of a log's next epoch.

        Raises:
            NotFoundError, ProcedureError: it is refused (`store.audit.submission.take_epoch`).
        """
        with self._lock:
            lines = sent.note.split("\n", 2)
            name = log_name(lines[1]) if len(lines) > 2 else ""
            before, note = self.seen(name)
            self._keep(name, take_epoch(before, sent), note)

    def _name_of(self, sent: Submission) -> str:
        return log_name(sent.note.partition("\n")[0])

    def _keep(self, name: str, seen: Seen, note: str) -> None:
        content = {
            "epoch": seen.epoch,
            "key": str(seen.key),
            "size": seen.size,
            "root": base64.b64encode(seen.root).decode(),
            "note": note,
        }
        path = self._folder / "logs" / name / "state.json"
        files.write_atomic(path, orjson.dumps(content, option=orjson.OPT_INDENT_2), mode=0o644)


def create_witness(book: WitnessBook) -> Starlette:
    """Return the witness as an application."""

    async def add_checkpoint(request: Request) -> Response:
        return await _answer(request, lambda sent: PlainTextResponse(book.add_checkpoint(sent)), book)

    async def add_epoch(request: Request) -> Response:
        def take(sent: Submission) -> Response:
            book.add_epoch(sent)
            return PlainTextResponse("")

        return await _answer(request, take, book)

    async def seen(request: Request) -> Response:
        try:
            known, note = await run_in_threadpool(book.seen, request.path_params["name"])
        except NotFoundError as error:
            return PlainTextResponse(f"{error.message}\n", 404)
        told = {"epoch": known.epoch, "size": known.size, "checkpoint": note}
        return Response(orjson.dumps(told), media_type="application/json")

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/add-epoch", add_epoch, methods=["POST"]),
            Route("/logs/{name}", seen, methods=["GET"]),
        ]
    )


async def _answer(request: Request, take: Any, book: WitnessBook) -> Response:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > SUBMISSION_BYTES_MAX:
            return PlainTextResponse("a submission is longer than any\n", 413)
    try:
        sent = Submission.parse(bytes(body))
        answer: Response = await run_in_threadpool(take, sent)
    except IntegrityError as error:
        return PlainTextResponse(f"{error.message}\n", 400)
    except NotFoundError as error:
        return PlainTextResponse(f"{error.message}\n", 404)
    except ProcedureError as refusal:
        if refusal.reason == CONFLICT:
            known, _ = book.seen(log_name(sent.note.split("\n")[request.url.path == "/add-epoch"]))
            return PlainTextResponse(f"{known.size}\n", 409, media_type="text/x.tlog.size")
        return PlainTextResponse(f"{refusal.message}\n", STATUS[refusal.reason])
    return answer

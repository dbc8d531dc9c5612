"""The service's own consumer of a queue, as [queue] of lagrum.toml sets it up; more run as `lagrum consume`."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from schemas.errors import LagrumError

if TYPE_CHECKING:
    from pathlib import Path

    from api.settings import Settings
    from ingest.consumer import Consumer
    from store import Store

AGAIN_S: Final = 30.0
"""After a refusal that only an operator can mend, the consumer tries again."""

_log = logging.getLogger("lagrum.consume")


class Consuming:
    """Runs a consumer in a thread while the service runs; nothing where no queue is set."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._stop = threading.Event()
        self._consumer: Consumer | None = None
        self._thread = threading.Thread(target=self._run, name="lagrum-consume")

    def start(self) -> None:
        """Begin to consume."""
        if self._settings.queue_server:
            self._thread.start()

    def stop(self) -> None:
        """End when the batch at hand is committed."""
        self._stop.set()
        if self._consumer is not None:
            self._consumer.stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._consume()
            except Exception as error:  # an operator mends it; the rest of the service goes on
                reason = error.message if isinstance(error, LagrumError) else type(error).__name__
                _log.error("the queue is not consumed: %s", reason)
                self._stop.wait(AGAIN_S)

    def _consume(self) -> None:
        from ingest.consumer import Consumer
        from ingest.jetstream import JetStream, JetStreamSettings

        chosen = self._settings
        queue = JetStream(
            JetStreamSettings(
                chosen.queue_server,
                chosen.queue_stream,
                chosen.queue_durable,
                chosen.queue_subject or None,
                token_file=self._path(chosen.queue_token_file),
                login_file=self._path(chosen.queue_login_file),
                credentials_file=self._path(chosen.queue_credentials_file),
                ca=self._path(chosen.queue_ca),
                certificate=self._path(chosen.queue_certificate),
                key=self._path(chosen.queue_key),
            )
        )
        try:
            self._consumer = Consumer(self._store, chosen.queue_source, chosen.queue_format, queue)
            if not self._stop.is_set():
                self._consumer.run()
        finally:
            queue.close()

    def _path(self, name: str) -> Path | None:
        return self._store.root / name if name else None

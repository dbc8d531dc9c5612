"""The application: routes, the door in front of them, pools, counters, and what looks after the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from api import problems
from api.access_middleware import AccessMiddleware
from api.custody.subjects import erase_due as erase_requests
from api.disclosure import lapses
from api.disclosure.outdated_marks import Watch
from api.disclosure.procedure import Disclosure
from api.disclosure.worklist import Reminders
from api.intake import delivery
from api.intake.consuming import Consuming
from api.intake.grouper import Grouper
from api.intake.push_door import PushDoor
from api.intake.push_protocol import PushLine
from api.intake.spooler import Spooler
from api.people.authenticator import Authenticator
from api.pools import BoundedPool
from api.pusher import Pusher
from api.routes import (
    audit,
    authorities,
    cdrs,
    clock,
    corrections,
    credentials,
    disclosure,
    handover,
    health,
    holds,
    logins,
    persons,
    policy,
    record_corrections,
    reports,
    sessions,
    sources,
    subjects,
    usage,
    worklist,
)
from api.routes.models import PROBLEM_SCHEMA
from api.scheduling import stand_back
from api.settings import Settings
from api.telemetry.audit_metrics import AuditMetrics
from api.telemetry.lock_metrics import LockMetrics
from api.telemetry.metrics import Metrics
from api.telemetry.queue_metrics import QueueMetrics
from api.telemetry.retention_metrics import RetentionMetrics
from api.telemetry.source_metrics import SourceMetrics
from api.witness import AuditKeeper
from schemas.errors import LagrumError
from store.compaction.compact import write_amplification
from store.compaction.retired import waiting

if TYPE_CHECKING:
    from api.merger import Merger
    from store import Store

VERSION: Final = "0.1.0"
OPENAPI_PATH: Final = "/v1/openapi.json"
AUDIT_INTERVAL_SECONDS: Final = 5
"""The files of the audit log are looked at so often; no setting slows it."""
CLOCK_INTERVAL_SECONDS: Final = 60
"""The guard of the clock looks so often; no setting slows it."""
_STANDS_BACK: Final = frozenset({"expire", "compact", "sessions", "silence"})
"""What computes for long, in threads of a lower priority."""
LAPSES_INTERVAL_SECONDS: Final = 60
"""What time does to authorisations is put on file so often; every step looks for itself too."""
DELIVERIES_INTERVAL_SECONDS: Final = 3_600
PUSH_INTERVAL_SECONDS: Final = 5
DEADLINES_INTERVAL_SECONDS: Final = 300
"""The shortest deadline is an hour, and its reminder comes a quarter of it before."""
_ROUTERS: Final[tuple[APIRouter, ...]] = (
    health.router,
    cdrs.router,
    sources.router,
    credentials.router,
    sessions.router,
    persons.router,
    authorities.router,
    logins.router,
    corrections.router,
    record_corrections.router,
    audit.router,
    clock.router,
    disclosure.router,
    worklist.router,
    reports.router,
    handover.router,
    holds.router,
    policy.router,
    usage.router,
    subjects.router,
)
_SECURITY: Final = {
    "session": {"type": "http", "scheme": "bearer", "description": "A person's session token, 15 minutes at most."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "A switch's token."},
    "basic": {"type": "http", "scheme": "basic", "description": "A switch's credential: id and secret."},
    "certificate": {"type": "mutualTLS", "description": "A client certificate of a switch, person or authority."},
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The OpenID provider's."},
    "signature": {"type": "http", "scheme": "Lagrum", "description": "A signed challenge; see Log in."},
}
_DESCRIPTION: Final = "Traffic data, kept as long as the law says, given to exactly those who may have it, provable."

logger = logging.getLogger("lagrum.upkeep")


def create_app(store: Store, *, settings: Settings, merger: Merger | None = None) -> FastAPI:
    """Return the application over an open store; the caller closes the store after it.

    Without a `merger` parts are merged in a thread.
    """
    metrics = Metrics()
    authenticator = Authenticator(store, settings)
    app = FastAPI(
        title="Lagrum",
        version=VERSION,
        description=_DESCRIPTION,
        openapi_url=OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # our own counters name nobody
        lifespan=_lifespan,
    )
    app.state.store = store
    app.state.settings = settings
    app.state.merger = merger
    app.state.authenticator = authenticator
    app.state.metrics = metrics
    app.state.grouper = Grouper(store, workers=settings.ingest_workers, queue_max=settings.ingest_queue_max)
    app.state.spooler = _spooler(store, settings, metrics)
    app.state.stream_pool = BoundedPool("stream", workers=settings.stream_workers, queue_max=settings.stream_queue_max)
    app.state.source_metrics = SourceMetrics(store)
    metrics.registry.register(app.state.source_metrics)
    metrics.registry.register(QueueMetrics(store))
    metrics.registry.register(LockMetrics())
    metrics.registry.register(RetentionMetrics(store))
    app.state.audit_keeper = AuditKeeper.of(store, settings)
    metrics.registry.register(AuditMetrics(store, app.state.audit_keeper))
    app.state.reminders = Reminders(store)
    metrics.registry.register(app.state.reminders)
    app.state.pusher = Pusher(store)
    metrics.registry.register(app.state.pusher)
    _add_gauges(app, metrics, authenticator)
    for router in _ROUTERS:
        app.include_router(router)
    problems.install(app)
    pushes = PushDoor(app.state.spooler, settings)
    app.state.push_line = PushLine(authenticator, pushes, app.state.spooler, metrics)
    app.add_middleware(
        AccessMiddleware, store=store, settings=settings, authenticator=authenticator, metrics=metrics, pushes=pushes
    )
    app.openapi = _documented(app)  # type: ignore[method-assign]
    return app


def _spooler(store: Store, settings: Settings, metrics: Metrics) -> Spooler:
    store.spool.bytes_max = settings.spool_bytes_max
    store.spool.drained = metrics.drained
    return Spooler(
        store,
        source_of=cdrs.source_of,
        limits=delivery.limits_of(settings),
        queue_max=settings.ingest_queue_max,
        drain_pushes=settings.spool_drain_pushes,
        metrics=metrics,
    )


def _add_gauges(app: FastAPI, metrics: Metrics, authenticator: Authenticator) -> None:
    grouper: Grouper = app.state.grouper
    stream: BoundedPool = app.state.stream_pool
    metrics.gauge("lagrum_ingest_in_flight", "Small deliveries that run or wait.", lambda: float(grouper.in_flight))
    metrics.gauge("lagrum_stream_in_flight", "Large deliveries that run or wait.", lambda: float(stream.in_flight))
    spool, clock = app.state.store.spool, app.state.store.clock

    def oldest_seconds() -> float:
        oldest_us = spool.spooled.oldest_us
        return 0.0 if oldest_us is None else (clock.now_us() - oldest_us) / 1e6

    metrics.gauge("lagrum_spool_pushes", "Deliveries in the spool.", lambda: float(spool.spooled.pushes))
    metrics.gauge("lagrum_spool_bytes", "Bytes in the spool.", lambda: float(spool.spooled.bytes))
    metrics.gauge("lagrum_spool_oldest_seconds", "Age of the oldest delivery in the spool.", oldest_seconds)
    store = app.state.store
    metrics.gauge(
        "lagrum_write_amplification",
        "Bytes that deliveries and merges wrote for each byte of deliveries that was merged.",
        lambda: write_amplification(store),
    )
    metrics.gauge(
        "lagrum_parts_merged_away",
        "Merged parts whose files wait for a reader to finish.",
        lambda: float(waiting(store)),
    )
    metrics.gauge("lagrum_sessions", "Open sessions of people.", lambda: float(len(authenticator.sessions)))


def _documented(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return a maker of the OpenAPI document with the security schemes and the problem schema."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            components = schema.setdefault("components", {})
            components["securitySchemes"] = _SECURITY
            components.setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
            schema["security"] = [{"session": []}]
            schema["paths"]["/v1/health"]["get"]["security"] = []
            app.openapi_schema = schema
        return app.openapi_schema

    return openapi


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    store: Store = app.state.store
    metrics: Metrics = app.state.metrics
    merger: Merger | None = app.state.merger
    limiter = anyio.to_thread.current_default_thread_limiter()
    limiter.total_tokens = settings.search_workers
    upkeep: tuple[tuple[str, Callable[[], Any], int], ...] = (
        ("expire", store.expire, settings.expiry_interval_seconds),
        ("audit", app.state.audit_keeper.look, AUDIT_INTERVAL_SECONDS),
        ("audit-expiry", app.state.audit_keeper.expire, settings.expiry_interval_seconds),
        ("witness", app.state.audit_keeper.send, settings.witness_interval_seconds),
        ("clock", store.clock_guard.beat, CLOCK_INTERVAL_SECONDS),
        ("flush", store.flush_outbox, settings.flush_interval_seconds),
        ("logins", app.state.authenticator.logins.flush, settings.flush_interval_seconds),
        ("logins-erase", app.state.authenticator.logins.erase, settings.expiry_interval_seconds),
        ("drain", store.spool.drain, settings.spool_drain_seconds),
        ("compact", store.compact if merger is None else merger.look, settings.compaction_interval_seconds),
        ("sessions", store.close_silent_sessions, settings.session_interval_seconds),
        ("lapses", lambda: lapses.apply_all(store), LAPSES_INTERVAL_SECONDS),
        ("deliveries", Disclosure(store).erase_due, DELIVERIES_INTERVAL_SECONDS),
        ("outdated", Watch(store).look, LAPSES_INTERVAL_SECONDS),
        ("push", app.state.pusher.look, PUSH_INTERVAL_SECONDS),
        ("subjects", lambda: erase_requests(store), DELIVERIES_INTERVAL_SECONDS),
        ("deadlines", app.state.reminders.look, DEADLINES_INTERVAL_SECONDS),
        ("silence", app.state.source_metrics.refresh, settings.silence_interval_seconds),
        # An idle process, too, gives back the keys of what another has erased.
        ("lease", store.keyring.refresh, settings.lease_interval_seconds),
    )
    back = ThreadPoolExecutor(len(_STANDS_BACK), "lagrum-background", initializer=stand_back)
    tasks = [
        asyncio.create_task(_repeat(name, work, seconds, metrics, back if name in _STANDS_BACK else None))
        for name, work, seconds in upkeep
    ]
    consuming = Consuming(store, settings)
    consuming.start()
    try:
        yield
    finally:
        app.state.pusher.stop()
        if merger is not None:
            await asyncio.to_thread(merger.stop)
        await asyncio.to_thread(consuming.stop)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(back.shutdown)
        await asyncio.to_thread(_close_pools, app)


def _close_pools(app: FastAPI) -> None:
    with suppress(LagrumError):  # what could not be written by now is told by the upkeep's log
        app.state.authenticator.logins.flush()
    app.state.grouper.close()
    app.state.spooler.close()
    app.state.stream_pool.close()


async def _repeat(
    name: str, work: Callable[[], Any], interval_seconds: int, metrics: Metrics, pool: ThreadPoolExecutor | None
) -> None:
    """Run `work` now and at every interval; a failure is counted and logged, and does not end it."""
    while True:
        try:
            await asyncio.get_running_loop().run_in_executor(pool, work)
            metrics.upkeep(name, "done")
        except LagrumError as error:
            metrics.upkeep(name, "failed")
            logger.error("%s failed: %s", name, error.message)
        except Exception as error:
            metrics.upkeep(name, "failed")
            logger.error("%s failed: %s", name, type(error).__name__)
        await asyncio.sleep(interval_seconds)

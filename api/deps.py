"""What routes take from the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from fastapi import Request

from api.intake.grouper import Grouper
from api.intake.spooler import Spooler
from api.people.authenticator import Authenticator
from api.pools import BoundedPool
from api.settings import Settings
from api.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from store import Store


def get_store(request: Request) -> Store:
    """Return the open store."""
    return cast("Store", request.app.state.store)


def get_settings(request: Request) -> Settings:
    """Return the settings in force."""
    return cast(Settings, request.app.state.settings)


def get_authenticator(request: Request) -> Authenticator:
    """Return what recognises callers: challenges, sessions, credentials."""
    return cast(Authenticator, request.app.state.authenticator)


def get_metrics(request: Request) -> Metrics:
    """Return the counters."""
    return cast(Metrics, request.app.state.metrics)


def get_grouper(request: Request) -> Grouper:
    """Return the threads that take small deliveries in, in groups."""
    return cast(Grouper, request.app.state.grouper)


def get_stream_pool(request: Request) -> BoundedPool:
    """Return the threads that take large deliveries in while they arrive."""
    return cast(BoundedPool, request.app.state.stream_pool)


def get_spooler(request: Request) -> Spooler:
    """Return what makes small deliveries durable, in groups."""
    return cast(Spooler, request.app.state.spooler)

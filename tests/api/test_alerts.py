"""The alert rules, read as Prometheus reads them: form, names, expressions, and the commands that they tell to run."""

from __future__ import annotations

import re
from typing import Any, Final

import click
import yaml

from api.cli.program import lagrum
from api.telemetry.metrics import Metrics
from tests.architecture.source import ROOT

DOCUMENT: Final = yaml.safe_load((ROOT / "docs" / "alerts.yml").read_text())
RULES: Final[list[dict[str, Any]]] = [rule for group in DOCUMENT["groups"] for rule in group["rules"]]
DURATION: Final = r"[1-9][0-9]*(?:ms|[smhdwy])"
SELECTOR: Final = r'lagrum_[a-z_]+(?:\{[a-z_]+="[a-z0-9-]+"(?:,[a-z_]+="[a-z0-9-]+")*\})?'
RANGE: Final = rf"increase\({SELECTOR}\[{DURATION}\]\)"
TERM: Final = rf"(?:{RANGE}|absent\({SELECTOR}\)|sum\({SELECTOR}\)|{SELECTOR}(?: offset {DURATION})?)"
EXPRESSION: Final = re.compile(rf"{TERM}(?: - {TERM})? (?:==|!=|>=?|<=?) [0-9]+")


def test_the_file_has_the_form_of_a_rule_file() -> None:
    assert set(DOCUMENT) == {"groups"}
    assert all(set(group) == {"name", "rules"} for group in DOCUMENT["groups"])
    for names in ([group["name"] for group in DOCUMENT["groups"]], [rule["alert"] for rule in RULES]):
        assert len(set(names)) == len(names)
    for rule in RULES:
        assert (
            {"alert", "expr", "labels", "annotations"} <= set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        )
        assert re.fullmatch(r"Lagrum[A-Za-z]+", rule["alert"])
        assert re.fullmatch(DURATION, rule.get("for", "1h")), rule["alert"]
        assert set(rule["labels"]) == {"severity"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert all(isinstance(text, str) and "{{" not in text for text in rule["annotations"].values())


def test_every_expression_parses() -> None:
    for rule in RULES:
        assert EXPRESSION.fullmatch(rule["expr"]), rule["alert"]


def test_what_does_not_parse_is_found() -> None:
    for wrong in (
        "lagrum_source_silent",
        "lagrum_source_silent > ",
        "increase(lagrum_queue_dropped) > 0",
        "increase(lagrum_queue_dropped[1h] > 0",
        "lagrum_queue_dropped offset 1 > 0",
        "lagrum_queue{source=sbc} > 0",
    ):
        assert not EXPRESSION.fullmatch(wrong), wrong


def test_the_range_of_a_rate_is_longer_than_two_scrapes() -> None:
    for rule in RULES:
        for minutes in re.findall(r"\[([0-9]+)m\]", rule["expr"]):
            assert int(minutes) >= 5, rule["alert"]


def test_every_task_that_a_rule_watches_is_one_of_the_service() -> None:
    service = (ROOT / "api" / "app.py").read_text()
    for rule in RULES:
        for task in re.findall(r'task="([a-z-]+)"', rule["expr"]):
            assert f'("{task}", ' in service, rule["alert"]
        for outcome in re.findall(r'outcome="([a-z-]+)"', rule["expr"]):
            assert outcome in str(Metrics.upkeep.__doc__), rule["alert"]


def test_every_command_that_a_rule_tells_to_run_exists() -> None:
    told = [words for rule in RULES for words in re.findall(r"`lagrum ([a-z -]+)", rule["annotations"]["action"])]
    assert len(told) > 5
    for words in told:
        found: click.Command = lagrum
        for word in words.split():
            assert isinstance(found, click.Group), words
            child = found.get_command(click.Context(found), word)
            assert child is not None, words
            found = child

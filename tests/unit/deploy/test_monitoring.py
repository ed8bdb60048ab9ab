"""Alerts by Prometheus's own tests, and the dashboard's queries by its parser."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.deployment import DEPLOY, documents, program

if TYPE_CHECKING:
    from pathlib import Path

_HOME = DEPLOY / "monitoring"
_METRIC = re.compile(r"\bbreakbulk_\w+")


def promtool(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [program("promtool", "promtool"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def alerts() -> list[dict[str, Any]]:
    (found,) = documents(_HOME / "alerts.yaml")
    rules: list[dict[str, Any]] = found["groups"][0]["rules"]
    return rules


def queries() -> list[str]:
    """What the dashboard asks, with its variables filled in."""
    dashboard = json.loads((_HOME / "dashboard.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    found += [one["definition"] for one in dashboard["templating"]["list"] if "definition" in one]
    return [re.sub(r"\$\w+", "any", one) for one in found]


def test_alerts_fire_when_they_should_and_not_before() -> None:
    code, said = promtool("test", "rules", str(_HOME / "alerts_test.yaml"))
    assert code == 0, said


def test_an_alert_that_never_fires_would_be_noticed(tmp_path: Path) -> None:
    text = (_HOME / "alerts.yaml").read_text()
    (tmp_path / "alerts.yaml").write_text(text.replace("chunks > 0", "chunks > 9"))
    (tmp_path / "test.yaml").write_text((_HOME / "alerts_test.yaml").read_text())
    assert promtool("test", "rules", str(tmp_path / "test.yaml"))[0] != 0


def test_every_alert_is_tested_and_says_what_to_do() -> None:
    (tests,) = documents(_HOME / "alerts_test.yaml")
    tried = {
        one["alertname"]
        for test in tests["tests"]
        for one in test["alert_rule_test"]
        if one["exp_alerts"]
    }
    assert tried == {rule["alert"] for rule in alerts()}
    assert all(rule["annotations"]["action"] for rule in alerts())


def test_prometheus_can_read_what_the_dashboard_asks(tmp_path: Path) -> None:
    asked = [one for one in queries() if not one.startswith("label_values")]
    rules = [{"record": f"asked:{number}", "expr": one} for number, one in enumerate(asked)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    code, said = promtool("check", "rules", str(file))
    assert code == 0, said


def test_the_scrape_configuration_is_one(tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yaml"
    token = tmp_path / "token"
    token.write_text("secret")
    text = (_HOME / "prometheus.yaml").read_text()
    file.write_text(text.replace("/etc/prometheus/breakbulk-token", str(token)))
    (tmp_path / "alerts.yaml").write_text((_HOME / "alerts.yaml").read_text())
    code, said = promtool("check", "config", str(file))
    assert code == 0, said


@pytest.mark.parametrize("place", ["alerts", "dashboard"])
def test_what_is_asked_is_what_is_told(place: str) -> None:
    told = set(_METRIC.findall((DEPLOY.parent / "docs" / "how-to" / "observe.md").read_text()))
    asked = [rule["expr"] for rule in alerts()] if place == "alerts" else queries()
    assert set(_METRIC.findall(" ".join(asked))) <= told


def test_panels_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((_HOME / "dashboard.json").read_text())["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells

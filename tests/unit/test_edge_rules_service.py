"""The agent put together with rules: its metrics are those of the page, and a file read again counts at once."""

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edge.config import EdgeSettings
from edge.service import Service
from local import ports
from runtime.settings import ConfigError
from tests.edge_rules_world import SPEED, capture, rule
from wire import codec

PAGE = (Path(__file__).parents[2] / "docs" / "collection-rules.md").read_text(encoding="utf-8")
TABLE = PAGE[PAGE.index("## Metrics") :]


def rules(version: int) -> bytes:
    return codec.to_json({"version": version, "rules": [rule("r", signals=[SPEED]), capture(f"{SPEED} > 50")]})


@pytest.fixture
def settings(tmp_path: Path) -> EdgeSettings:
    file = tmp_path / "rules.json"
    file.write_bytes(rules(1))
    return EdgeSettings.model_validate(
        {
            "kafka": {"bootstrap_servers": f"127.0.0.1:{ports.free_port()}"},
            "spool": {"directory": tmp_path / "spool"},
            "rules": {"file": file},
        }
    )


def exported(service: Service) -> dict[str, dict[tuple[str, ...], float]]:
    families = text_string_to_metric_families(generate_latest(service._registry).decode())
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for family in families
        if family.name.startswith("fleetfold_edge_rules_")
    }


def test_the_page_lists_exactly_what_is_exported(settings: EdgeSettings) -> None:
    with Service(settings) as service:
        service._parts.rules.engine.apply({})
        found = {name.removeprefix("fleetfold_edge_rules_") for name in exported(service)}
    rows = [line.split("|")[1] for line in TABLE.splitlines() if line.startswith("| `")]
    listed = {name.removesuffix("_total") for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    assert found == listed


def test_a_rules_file_is_read_again_on_reload_and_a_faulty_one_changes_nothing(settings: EdgeSettings) -> None:
    assert settings.rules.file is not None
    with Service(settings) as service:
        for text, version in ((rules(2), 2), (b"version = ", 2), (rules(3), 3)):
            settings.rules.file.write_bytes(text)
            service.reload(lambda: settings)
            service._parts.rules.engine.apply({})
            assert service._parts.rules.engine.plan is not None
            assert service._parts.rules.engine.plan.version == version
        assert exported(service)["fleetfold_edge_rules_refused"] == {(): 1.0}


def test_an_agent_does_not_start_with_a_faulty_rules_file(settings: EdgeSettings) -> None:
    assert settings.rules.file is not None
    settings.rules.file.write_bytes(rules(1).replace(b"Vehicle.Speed", b"Vehicle.Sped"))
    with pytest.raises(ConfigError) as caught:
        Service(settings)
    assert len(caught.value.faults) == 2
    assert all(fault.startswith("rules.file: ") for fault in caught.value.faults)


def test_without_rules_the_agent_has_no_step_for_them(settings: EdgeSettings) -> None:
    with Service(settings.model_copy(update={"rules": type(settings.rules)()})) as service:
        assert service._parts.rules.collect is None
        assert exported(service) == {}

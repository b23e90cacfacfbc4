"""What is exported is what the operator's page lists, and the other way round."""

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edge.config import EdgeSettings
from edge.service import Service
from local import ports

PAGE = (Path(__file__).parents[2] / "docs" / "edge-agent.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|([^|]*)\| [^|]+ \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Type and help text by name, of an agent that has not begun to work."""
    settings = EdgeSettings.model_validate(
        {
            "kafka": {"bootstrap_servers": f"127.0.0.1:{ports.free_port()}"},
            "spool": {"directory": tmp_path_factory.mktemp("metrics") / "spool"},
        }
    )
    with Service(settings) as service:
        page = generate_latest(service._registry).decode()
    return {family.name: (family.type, family.documentation) for family in text_string_to_metric_families(page)}


def test_the_page_lists_exactly_what_is_exported_with_its_type(exported):
    listed = {name: kind for name, kind, _ in ROW.findall(PAGE)}
    counters = {name.removesuffix("_total") if kind == "counter" else name: kind for name, kind in listed.items()}
    ours = {name: kind for name, (kind, _) in exported.items() if not re.match(r"process_|.*_created$", name)}
    assert {f"fleetfold_edge_{name}": kind for name, kind in counters.items()} == ours


def test_every_metric_explains_itself(exported):
    assert all(len(text) > 5 for _, text in exported.values())


def test_memory_and_processor_time_are_exported(exported):
    assert {"process_resident_memory_bytes", "process_cpu_seconds"} <= exported.keys()

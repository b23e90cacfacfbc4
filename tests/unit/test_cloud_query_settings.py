"""Settings of the questions."""

from pathlib import Path

import pytest

from cloud.query_settings import QuerySettings, overridden
from runtime import settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONGODB_URI", raising=False)


def test_the_services_file_serves_whatever_else_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text('[mongo]\ndatabase = "other"\n[kafka]\ngroup_id = "g"\n[fold]\ncached_twins_max = 5\n')
    assert settings.load(QuerySettings, file).mongo.database == "other"


def test_a_misspelt_key_of_the_database_is_still_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text('[mongo]\ndatabse = "other"\n')
    with pytest.raises(settings.ConfigError, match=r"mongo\.databse"):
        settings.load(QuerySettings, file)


def test_the_command_line_goes_before_environment_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text('[mongo]\nuri = "mongodb://file"\ndatabase = "file"\n')
    monkeypatch.setenv("MONGODB_URI", "mongodb://environment")
    loaded = settings.load(QuerySettings, file).mongo
    assert loaded.uri.get_secret_value() == "mongodb://environment"
    assert overridden(loaded, "mongodb://line", None).uri.get_secret_value() == "mongodb://line"
    assert overridden(loaded, None, "line").database == "line"

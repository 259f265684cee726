"""What the syncs of one run share."""

from pathlib import Path

import pytest

from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.project import Project


def test_no_working_directory_outlives_a_run(
    project: Project, api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    api.rows["roles"] = [{"no": "id"}]
    assert not project.run("roles", "groups").success
    assert list(scratch.glob("analytics_assets_*")) == []
    assert list((tmp_path / "dlt").glob("pipelines/*")) == []

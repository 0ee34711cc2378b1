"""Every test of the data layer has an empty cache of its own and no mirror, whatever the machine offers."""

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DSLSTUDY_MIRROR", raising=False)
    return tmp_path / "cache"

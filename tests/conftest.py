"""Settings every test shares."""

import os
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one test process per core: threads inside would fight

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "dslstudy", deadline=None, max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("dslstudy")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser() -> str | None:
    """A Chromium on this machine."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def leaves_out_browser() -> bool:
    """Without a browser its tests are left out, unless DSLSTUDY_REQUIRE_BROWSER says that they must run (and fail)."""
    return find_browser() is None and os.environ.get("DSLSTUDY_REQUIRE_BROWSER") != "1"


def pytest_collection_modifyitems(config, items):
    if leaves_out_browser():
        without = [item for item in items if item.get_closest_marker("browser") is None]
        config.hook.pytest_deselected(items=[item for item in items if item not in without])
        items[:] = without


def pytest_terminal_summary(terminalreporter):
    if leaves_out_browser():
        notice = "no Chromium found: tests marked `browser` were left out (DSLSTUDY_REQUIRE_BROWSER=1 demands one)"
        terminalreporter.write_line(notice)


@pytest.fixture(scope="session")
def browser():
    path = find_browser()
    assert path, "DSLSTUDY_REQUIRE_BROWSER=1, but there is no Chromium on this machine"
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study at profile smoke for all tests of a file; what they train in it stays theirs, and none is committed."""
    from dslstudy.study import open_study

    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSLSTUDY_RESULTS", str(root / "committed"))
        yield open_study("smoke", store=root / "store", progress=False)

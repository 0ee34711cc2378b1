import re
from pathlib import Path, PurePosixPath

import pytest

from dslstudy.data.click_formats import COLUMNS
from dslstudy.data.click_spec import click_spec
from dslstudy.data.click_world import ClickWorld
from dslstudy.data.formats import PARSERS
from dslstudy.data.registry import (
    FileSpec,
    Source,
    dataset_names,
    dataset_spec,
    default_dataset,
    registry,
)
from dslstudy.errors import InputError


def test_the_names_everybody_relies_on():
    assert dataset_names() == (
        "movielens-100k",
        "amazon2014-health",
        "amazon2014-electronic",
        "amazon2014-cd",
        "gowalla",
        "amazon2014-electronic-popularity",
        "amazon2014-cd-popularity",
        "gowalla-popularity",
        "synthetic-ranking",
    )
    assert default_dataset() == "movielens-100k"


def test_the_click_logs():
    assert dataset_names("clicks") == ("movielens-100k", "movielens-1m", "tmall", "synthetic-clicks")
    assert set(dataset_names(None)) == {*dataset_names(), *dataset_names("clicks")}
    assert dataset_spec("movielens-100k").tasks == ("ranking", "clicks")
    assert dataset_spec("tmall").tasks == ("clicks",)


@pytest.mark.parametrize("name", dataset_names("clicks"))
def test_a_click_log_is_complete(name):
    spec = dataset_spec(name)
    for text in (spec.title, spec.licence, spec.terms, spec.citation):
        assert text
    assert min(spec.users, spec.interactions) > 0
    assert bool(spec.forms) == bool(spec.clicks) != bool(spec.generator)
    check_forms(spec, {*PARSERS, *COLUMNS})
    if spec.clicks:
        declared = click_spec(spec.clicks, name)
        assert len({axis.unit for axis in declared.axes}) > 1
    else:
        assert ClickWorld(**spec.generator).users == spec.users


@pytest.mark.parametrize("name", dataset_names())
def test_an_entry_is_complete(name):
    spec = dataset_spec(name)
    assert spec.name == name
    assert spec.task == "ranking"
    for text in (spec.title, spec.licence, spec.terms, spec.citation):
        assert text
    assert min(spec.users, spec.items, spec.interactions) > 0
    assert bool(spec.forms) != bool(spec.generator)
    if spec.split == "published":
        assert spec.train + spec.test == spec.interactions
        assert spec.published == ("popularity-shift" if name.endswith("-popularity") else "iid")
    else:
        assert (spec.split, spec.train, spec.test, spec.published) == ("iid", None, None, "")
    check_forms(spec, PARSERS)


def check_forms(spec, formats):
    for form in spec.forms:
        assert form.format in formats
        assert form.sources[0].kind == "mirror"
        assert {source.kind for source in form.sources} <= {"mirror", "wheel", "url"}
        for source in form.sources:
            assert (source.kind == "url") == source.url.startswith("https://")
            assert (source.kind == "wheel") == ("==" in source.requirement) == bool(source.folder)
        for file in form.files:
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert not PurePosixPath(file.path).is_absolute()
            assert ".." not in PurePosixPath(file.path).parts


def test_every_file_has_a_place_and_a_hash_of_its_own():
    files = [file for spec in registry(None).values() for form in spec.forms for file in form.files]
    assert len({file.path for file in files}) == len({file.sha256 for file in files}) == len(files)


def test_public_addresses():
    health = dataset_spec("amazon2014-health").forms[0]
    assert health.sources[1].url_of(health.files[0]) == (
        "https://raw.githubusercontent.com/Tiny-Snow/IR-Benchmark-Dataset/18bbbe892301c6013579ae70f3cab9d666878e23/"
        "data_iid/amazon2014-health/proc.zip"
    )
    assert Source("url", url="https://x/fixed.zip").url_of(FileSpec("a/b.zip", "")) == "https://x/fixed.zip"


def test_an_unknown_name_gets_near_ones():
    with pytest.raises(InputError, match=r"did you mean movielens-100k or movielens-1m\?"):
        dataset_spec("movielens100k")
    with pytest.raises(InputError, match=r"did you mean gowalla or gowalla-popularity\?|did you mean gowalla\?"):
        dataset_spec("gowala")
    with pytest.raises(InputError, match="known names are movielens-100k, "):
        dataset_spec("qqq")


def test_nothing_can_be_changed_by_its_reader():
    with pytest.raises(TypeError):
        registry()["other"] = None
    with pytest.raises(TypeError):
        dataset_spec("synthetic-ranking").generator["seed"] = 1
    with pytest.raises(TypeError):
        dataset_spec("tmall").clicks["user"] = "other"


def test_citation_keys_are_in_the_books_bibliography():
    bibliography = Path(__file__).resolve().parents[2] / "book" / "references.bib"
    keys = set(re.findall(r"@\w+\{([^,\s]+)", bibliography.read_text(encoding="utf-8")))
    assert {spec.cite for spec in registry(None).values() if spec.cite} <= keys

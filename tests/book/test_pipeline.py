"""``dslstudy book`` on tiny books: what holds together is rendered, what does not is refused by name."""

import re
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from nbformat.v4 import new_markdown_cell

from dslstudy.book import mathjax
from dslstudy.book.pipeline import alone
from dslstudy.cli import cli
from dslstudy.errors import InputError

pytestmark = pytest.mark.book

THEORY = """See {prf:ref}`thm-dual`, {eq}`eq-dual`, {numref}`fig-line`, {doc}`b` and {cite}`psl2024`.

```{prf:theorem} Duality
:label: thm-dual
For $\\tau > 0$,

$$
\\tau \\log \\E_P e^{d/\\tau} = \\max_Q \\E_Q d - \\tau \\KL(Q \\Vert P).
$$ (eq-dual)
```

The value is {glue:text}`value:.2f`.

```{glue:figure} figure
:name: fig-line
A line.
```
"""
DRAW = """import sys
import matplotlib.pyplot as plt
from myst_nb import glue
figure, axes = plt.subplots()
axes.plot([1, 2])
glue("figure", figure, display=False)
plt.close(figure)
glue("value", 0.125, display=False)
print("a progress", "bar", file=sys.stderr)
"""


def run(book, *options):
    return CliRunner().invoke(cli, ["book", "--source", str(book.root), "--profile", "smoke", *options])


@pytest.fixture(scope="module")
def rendered(make_book):
    """A tiny book with everything that chapters use, built once."""
    book = make_book()
    book.notebook("a", DRAW, new_markdown_cell(THEORY), "profile")
    book.notebook("b", "1 + 1")
    (book.root / "book" / "intro.md").write_text(
        "# A tiny book\n\n```{dataset-table}\n```\n\n```{command-help} dslstudy.cli:cli\n```\n\n"
        "```{bibliography}\n:all:\n```\n"
    )
    result = run(book)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(book.layout.html / "index.html")
    return book


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html))


def test_numbers_references_and_parameters_are_in_the_pages(rendered):
    page = (rendered.layout.html / "notebooks" / "a.html").read_text()
    text = text_of(page)
    assert "See Theorem 1, (1), Fig. 1, Chapter b and [Yang et al., 2024]." in text
    assert "Theorem 1 (Duality)" in text
    assert "The value is 0.12." in text
    assert "Fig. 1 A line." in text
    assert text.count("'smoke'") == 1  # the output of the last cell
    assert text.count("profile = &quot;smoke&quot;") + text.count('profile = "smoke"') == 1
    assert "a progress bar" not in text


def test_reference_pages_are_written_from_the_code(rendered):
    text = text_of((rendered.layout.html / "intro.html").read_text())
    assert "movielens-100k" in text
    assert "Usage: dslstudy book [OPTIONS]" in text
    assert "Sahyouni" in text


class Loads(HTMLParser):
    """Collects what a page makes a browser load."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "embed", "audio", "video"):
            self.found.append(attributes.get("src") or "")
        if tag == "link" and attributes.get("rel") not in ("next", "prev", "index", "search", "canonical"):
            self.found.append(attributes.get("href") or "")


def test_no_page_loads_anything_from_elsewhere(rendered):
    html = rendered.layout.html
    # index.html merely redirects; the theme leaves two templates among its files
    pages = [page for page in html.rglob("*.html") if page != html / "index.html" and "_static" not in page.parts]
    assert len(pages) > 5
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text())
        assert loads.found
        for address in loads.found:
            assert not re.match(r"(https?:)?//", address), f"{page.name} loads {address}"
            if address and not address.startswith(("data:", "#")):
                assert (page.parent / address.partition("?")[0]).is_file(), f"{page.name}: there is no {address}"
    for sheet in html.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text()), sheet


def test_mathjax_comes_with_its_fonts_and_licence(rendered):
    folder = rendered.layout.html / "_static" / mathjax.FOLDER
    assert (folder / mathjax.SCRIPT).is_file()
    assert (folder / "LICENSE").is_file()
    assert len(list((folder / mathjax.FONTS).glob("*.woff"))) > 20
    page = (rendered.layout.html / "notebooks" / "a.html").read_text()
    assert f"_static/{mathjax.FOLDER}/{mathjax.SCRIPT}" in page


def test_a_single_chapter_is_rendered_into_the_whole_or_into_a_draft(rendered):
    """``--only`` with all others up to date gives the book; with others missing, a draft."""
    result = run(rendered, "--only", "b", "--force")
    assert result.exit_code == 0, result.output
    assert "[1/1] b: executing (asked for)" in result.stderr
    assert result.stdout.strip() == str(rendered.layout.html / "index.html")
    (rendered.layout.executed("smoke") / "a.json").unlink()
    (rendered.layout.executed("smoke") / "a.ipynb").unlink()
    result = run(rendered, "--only", "b")
    assert result.exit_code == 0, result.output
    assert "[1/1] b: reused" in result.stderr
    assert "a draft, because these are not executed or out of date: a" in result.stderr
    assert result.stdout.strip() == str(rendered.layout.draft / "index.html")


def test_everything_that_is_broken_is_named(book):
    book.notebook(
        "a",
        new_markdown_cell("# Part\n\nSee {ref}`no-such-place` and {prf:ref}`no-such-theorem`."),
        "x = 1",
        new_markdown_cell(
            "![](no-such-figure.png)\n\n{cite}`no-such-paper`, {glue:text}`no_such_number`, {eq}`no-such-equation`"
        ),
    )
    (book.root / "book" / "intro.md").write_text(
        "# A tiny book\n\nSee {doc}`no-such-page`.\n\n![](no-such-image.png)\n"
    )
    book.layout.html.mkdir(parents=True)
    (book.layout.html / "index.html").write_text("an older book")
    result = run(book)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    for place, what in {
        "notebooks/a.ipynb, cell 3, `# Part`": "no-such-place",
        "notebooks/a.ipynb, cell 3,": "no-such-theorem",
        "notebooks/a.ipynb, cell 5": "no-such-figure.png",
        "notebooks/a.ipynb, cell 5,": "no_such_number",
        "book/intro.md:3": "no-such-page",
        "book/intro.md": "no-such-image.png",
    }.items():
        assert any(line.startswith(place) and what in line for line in lines), (place, what, result.stderr)
    assert "no-such-paper" in result.stderr
    assert "no-such-equation" in result.stderr
    assert "Traceback" not in result.stderr
    assert (book.layout.html / "index.html").read_text() == "an older book"


def test_a_failing_cell_fails_the_command(book):
    book.notebook("a", "raise KeyError('gone')")
    result = run(book)
    assert result.exit_code == 1
    assert "a.ipynb failed in cell 3, `raise KeyError('gone')`" in result.stderr
    assert "KeyError: 'gone'" in result.stderr
    assert not book.layout.html.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "b"], "there is no notebook 'b' in the book: choose from a"),
        (["--set", "seed=3"], "a.ipynb has no parameter 'seed': it has profile"),
        (["--set", "seed"], "--set seed: write it as NAME=VALUE"),
        (["--set", "profile=[1"], "--set profile=[1: the value is not valid YAML"),
    ],
)
def test_bad_input_is_one_clear_error(book, options, message):
    book.notebook("a")
    result = run(book, *options)
    assert isinstance(result.exception, InputError)  # main() prints it and exits with code 2
    assert message in str(result.exception)


def test_one_build_at_a_time(book):
    with alone(book.layout):
        book.notebook("a")
        result = run(book)
    assert isinstance(result.exception, InputError)
    assert "another build is writing" in str(result.exception)

"""The rendered book in a real browser that can reach nothing but the book's own files."""

import html
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from markdown_it import MarkdownIt
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

from dslstudy.book import mathjax
from dslstudy.book.chapters import read_notebook
from dslstudy.cli import cli

pytestmark = [pytest.mark.book, pytest.mark.browser]

PAGE = """# Duality

See {prf:ref}`thm-dual` and {eq}`eq-dual`: $\\tau > 0$. A command from an extension: $\\boldsymbol{d}$.

```{prf:theorem} Duality
:label: thm-dual

$$
\\tau \\log \\E_P e^{d/\\tau} = \\max_Q \\E_Q d - \\tau \\KL(Q \\Vert P)
$$ (eq-dual)
```
"""


def dom(browser, page, profile):
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", "--virtual-time-budget=20000"),
        *("--dump-dom", page.as_uri()),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_equations_numbers_and_references_render(book, browser, tmp_path):
    (book.root / "book" / "intro.md").write_text(PAGE)
    result = CliRunner().invoke(cli, ["book", "--source", str(book.root), "--profile", "smoke"])
    assert result.exit_code == 0, result.output
    text = dom(browser, book.layout.html / "intro.html", tmp_path / "browser")
    assert text.count("<mjx-container") == 3
    assert text.count("<mjx-math") == 3
    assert "<mjx-merror" not in text, "an equation that MathJax could not read"
    assert 'href="#thm-dual">Theorem 1</a>' in text
    assert 'href="#equation-eq-dual">(1)' in text
    assert "file not found" not in text


ROOT = Path(__file__).parents[2]
PARSER = MarkdownIt().use(dollarmath_plugin, double_inline=True).use(amsmath_plugin).enable("table")


def equations(markdown):
    """The formulas of a piece of MyST, those inside of directives too, as MathJax gets them."""
    for token in PARSER.parse(markdown):
        if token.type == "fence" and token.info.startswith("{"):
            yield from equations(token.content)
        for part in [token, *(token.children or [])]:
            if part.type == "math_inline":
                yield f"\\({part.content}\\)"
            elif part.type.startswith(("math_", "amsmath")):
                # Sphinx puts formulas of several lines into an environment
                lines = "\\\\" in part.content and "\\begin{" not in part.content
                yield f"\\[\\begin{{split}}{part.content}\\end{{split}}\\]" if lines else f"\\[{part.content}\\]"


def pages():
    """Every page as it is written: its name and its Markdown."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        yield path.name, "\n\n".join(cell.source for cell in read_notebook(path).cells if cell.cell_type == "markdown")
    for path in sorted((ROOT / "book").rglob("*.md")):
        yield path.name, path.read_text()


def test_formulas_are_found_wherever_they_stand():
    found = list(equations("$a$ and\n\n$$\nb \\\\ c\n$$ (eq-b)\n\n| x |\n| - |\n| $d$ |\n\n" + PAGE))
    assert found[0] == "\\(a\\)"
    assert [re.sub(r"\s", "", text) for text in found[1:3]] == ["\\[\\begin{split}b\\\\c\\end{split}\\]", "\\(d\\)"]
    assert len(found) == 6


def test_mathjax_reads_every_equation_of_the_book(browser, tmp_path):
    """A strict build does not look into formulas: a wrong command would show only in red on the page."""
    settings = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]["mathjax3_config"]
    settings["tex"]["packages"] = {"[-]": ["noundefined"]}  # an unknown command is an error, not red text
    script = mathjax.source() / "es5" / mathjax.SCRIPT
    lines = [f"<p>{name}: {html.escape(text)}</p>" for name, markdown in pages() for text in equations(markdown)]
    lines.append(r"<p>canary: \(\no_such_command\)</p>")
    head = [f"<script>MathJax = {json.dumps(settings)}</script>", f'<script src="{script.as_uri()}"></script>']
    page = tmp_path / "equations.html"
    page.write_text("\n".join(["<!DOCTYPE html>", '<meta charset="utf-8">', *head, *lines]))
    text = dom(browser, page, tmp_path / "browser")
    assert text.count("<mjx-container") == len(lines) > 1
    failed = re.findall(r'<p>([^:]*): <mjx-container(?:(?!</p>).)*?data-mjx-error="([^"]*)"', text)
    assert failed == [("canary", r"Undefined control sequence \no")]

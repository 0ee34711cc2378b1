"""The rendered book in a real browser that can reach nothing but the book's own files."""

import subprocess

import pytest
from click.testing import CliRunner

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

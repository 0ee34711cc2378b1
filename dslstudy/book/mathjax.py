"""MathJax inside the book: equations render without the network.

The files come with the distribution ``django-static-mathjax`` (MathJax 3.2.2, Apache-2.0), installed from the package
index like everything else; nothing of Django is needed or used.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

from dslstudy.errors import InputError

#: Below the html's ``_static``; ``_config.yml`` names the script as ``mathjax_path``.
FOLDER = "mathjax"
SCRIPT = "tex-mml-chtml.js"
FONTS = "output/chtml/fonts/woff-v2"
#: Loaded when a formula uses one of their commands, for example boldsymbol
EXTENSIONS = "input/tex/extensions"


def source() -> Path:
    """Where the installed MathJax lies.

    Raises:
        InputError: if it is not installed.
    """
    found = find_spec("mathjax")
    folder = Path(found.origin).parent / "static" / "mathjax" if found and found.origin else None
    if folder is None or not (folder / "es5" / SCRIPT).is_file():
        raise InputError("MathJax is not installed: pip install 'dslstudy[book]'")
    return folder


def ship(html: Path) -> None:
    """Copy the script, what it asks for while it runs, and the licence into a built book."""
    target = html / "_static" / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(source() / "es5" / SCRIPT, target)
    for folder in (FONTS, EXTENSIONS):
        shutil.copytree(source() / "es5" / folder, target / folder, dirs_exist_ok=True)
    shutil.copy(source() / "LICENSE", target)

"""Where the book's sources lie and where its products go."""

from dataclasses import dataclass
from pathlib import Path

from dslstudy.errors import InputError


class BookError(RuntimeError):
    """The book could not be made: a cell failed, or a page does not hold together. The command exits with code 1."""


@dataclass(frozen=True)
class Layout:
    """Paths of one source tree (``root``) and one output folder (``output``); nothing is written outside the latter."""

    root: Path
    output: Path

    @classmethod
    def of(cls, root: Path, output: Path | None = None) -> "Layout":
        """Check that ``root`` holds a book; ``output`` defaults to ``_build`` in it.

        Raises:
            InputError: if there is no ``book/_toc.yml`` or no ``_config.yml``.
        """
        root = root.resolve()
        layout = cls(root, (output or root / "_build").resolve())
        for needed in (layout.toc, layout.config):
            if not needed.is_file():
                raise InputError(
                    f"{needed} is missing: run this in a clone of the repository, or name one with --source"
                )
        return layout

    @property
    def toc(self) -> Path:
        """The table of contents."""
        return self.root / "book" / "_toc.yml"

    @property
    def config(self) -> Path:
        """Jupyter Book's settings."""
        return self.root / "_config.yml"

    @property
    def notebooks(self) -> Path:
        """The chapters as they are written: without outputs."""
        return self.root / "notebooks"

    @property
    def stage(self) -> Path:
        """What Sphinx reads."""
        return self.output / "stage"

    @property
    def html(self) -> Path:
        """The finished book."""
        return self.output / "html"

    @property
    def draft(self) -> Path:
        """The book around a single chapter (``--only``)."""
        return self.output / "draft"

    def executed(self, profile: str) -> Path:
        """The executed copies of one profile."""
        return self.output / "executed" / profile

    def show(self, path: Path) -> str:
        """``path`` as a reader of messages wants it: relative to the working directory where that is shorter."""
        here = Path.cwd()
        return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

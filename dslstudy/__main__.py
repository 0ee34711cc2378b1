"""``python -m dslstudy``: the command line, where its script is not on the path."""

from dslstudy.cli import main

main()

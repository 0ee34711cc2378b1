"""From notebooks to the rendered book.

    chapters     what the table of contents lists, and which parameters a notebook takes
    fingerprint  what an executed notebook depends on: unchanged inputs are not executed again
    execute      runs notebooks with papermill, each in a process of its own (``worker``)
    kernels      reaches a notebook's kernel where no other can get in its way
    numbers      no number without a record
    records      links every page to the records behind it
    stage        lays prose, executed notebooks and settings side by side
    site         the strict Jupyter Book build, with MathJax shipped in it
    directives   a Sphinx extension: pages written from docstrings, the registry and the command line
    pipeline     all of it, in order: what ``dslstudy book`` calls
    smoke        copies of the notebooks at profile ``smoke``, for the tests

The libraries it needs come with ``pip install 'dslstudy[book]'``.
"""

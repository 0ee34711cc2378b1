"""dslstudy: the library under the book on the Dual-scale Softmax Loss (DSL) and C2AL.

Importing the package is cheap; the parts that need torch are imported where they are used:

    from dslstudy.data import load_split
    from dslstudy.losses import softmax_loss
"""

from importlib.metadata import version

__version__ = version("dslstudy")

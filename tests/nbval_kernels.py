"""A plugin of pytest (``-p``): nbval's kernels are reached as the book's are.

nbval has no setting for it, and would use TCP ports that a kernel beside it may have been promised.
"""

from contextlib import ExitStack

import nbval.kernel
from jupyter_client.manager import KernelManager

from dslstudy.book.kernels import private_sockets

FOLDERS = ExitStack()


def kernel_manager(**options):
    """What nbval makes for each notebook; the sockets' folder stays until pytest ends."""
    return KernelManager(config=FOLDERS.enter_context(private_sockets()), **options)


def pytest_configure():
    """Put it in the place of nbval's own."""
    nbval.kernel.KernelManager = kernel_manager


def pytest_unconfigure():
    """Take the folders away."""
    FOLDERS.close()

"""A plugin of pytest (``-p``): nbval's kernels are reached, and started once more, as the book's are.

nbval has no setting for either. It would use TCP ports that a kernel beside it may have been promised, and fail every
cell of a notebook whose kernel dies before the first.
"""

import sys
from contextlib import ExitStack

import nbval.kernel
from jupyter_client.manager import KernelManager

from dslstudy.book.kernels import STARTS, private_sockets

FOLDERS = ExitStack()
start_new_kernel = nbval.kernel.start_new_kernel


def kernel_manager(**options):
    """What nbval makes for each notebook; the sockets' folder stays until pytest ends."""
    return KernelManager(config=FOLDERS.enter_context(private_sockets()), **options)


def start_kernel(**options):
    """nbval's start of a kernel, with another one if the first dies or does not answer."""
    for _ in range(STARTS - 1):
        try:
            return start_new_kernel(**options)
        except RuntimeError:
            print("the kernel died before it ran a cell; starting another", file=sys.stderr)
    return start_new_kernel(**options)


def pytest_configure():
    """Put them in the place of nbval's own."""
    nbval.kernel.KernelManager = kernel_manager
    nbval.kernel.start_new_kernel = start_kernel


def pytest_unconfigure():
    """Take the folders away."""
    FOLDERS.close()

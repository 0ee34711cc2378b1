"""How a notebook's kernel is reached: over sockets in a private folder.

Jupyter's default is TCP: the parent picks free ports, lets go of them, and a second later the kernel binds them.
Kernels that start side by side take them from each other now and then, and the one that comes too late dies. Files in
a folder that nobody else knows cannot be taken.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traitlets.config import Config

#: What a socket's address may hold on every system (Linux has 107 characters, macOS 103).
LONGEST_ADDRESS = 100
#: A kernel that dies before it runs a cell has done nothing that a second one could hide or do twice.
STARTS = 2


@contextmanager
def private_sockets() -> Iterator[Config]:
    """Settings of a Jupyter kernel manager for one kernel at a time; its folder is there as long as the context.

    Where sockets cannot be files (Windows, a temporary folder with a very long name), the settings are Jupyter's own.
    """
    with tempfile.TemporaryDirectory(prefix="dslstudy-") as folder:
        connection = Path(folder) / "kernel.json"
        # Jupyter derives the sockets' names from this file's: kernel-ipc-1 and so on
        address = connection.with_name("kernel-ipc-00")
        if sys.platform == "win32" or len(str(address)) > LONGEST_ADDRESS:
            yield Config()
        else:
            yield Config(KernelManager={"transport": "ipc", "connection_file": str(connection)})

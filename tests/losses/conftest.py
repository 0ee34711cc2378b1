"""Lets the tests of the losses import their oracles from the file beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

"""Lets the tests of the methods import their small worlds from the file beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

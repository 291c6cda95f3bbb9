"""The tests of the site import its extensions by name, as Sphinx does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from __future__ import annotations

import sys
from pathlib import Path

# The child processes of the tiny line import its stages from here: they get our sys.path.
sys.path.insert(0, str(Path(__file__).parent))

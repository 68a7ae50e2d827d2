"""Where the repository stands."""

from pathlib import Path

ROOT = Path(__file__).parent.parent

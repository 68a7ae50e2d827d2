"""Which modules of stages/ a stage imports, directly or through another one."""

import ast
from pathlib import Path

from paths import ROOT


def imported_by(path: Path) -> set[Path]:
    """The modules of stages/ that the module at `path` imports itself."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            candidate = ROOT / (name.replace(".", "/") + ".py")
            if name.split(".")[0] == "stages" and candidate.is_file():
                found.add(candidate)
    return found


def closure(stage: str) -> set[str]:
    """Paths, relative to the root, of stages/<stage>.py and all it imports from stages/."""
    pending, seen = [ROOT / "stages" / f"{stage}.py"], set()
    while pending:
        path = pending.pop()
        if path not in seen:
            seen.add(path)
            pending.extend(imported_by(path))
    return {path.relative_to(ROOT).as_posix() for path in seen}

"""Every module of the room can be the first one imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import trueline_model


def test_each_module_imports_alone() -> None:
    """No module works only because another was imported before it."""
    folder = Path(trueline_model.__file__).parent
    names = [
        ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(folder.rglob("*.py"))
    ]
    # One process: the room is forgotten before each, so that each comes first; what it stands on stays.
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    for old in [m for m in sys.modules if m.split('.')[0] == 'trueline_model']:\n"
        "        del sys.modules[old]\n"
        "    importlib.import_module(name)\n"
    )
    assert len(names) > 10
    done = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""`trueline-edge model install | show | rollback`: the command line of the models a device keeps.

Promises: `install` prints what a model costs on this machine, or why it is refused, and then leaves the last good one
in place. A running agent takes the new one within seconds, between two batches of rows.

Exit codes: 0 done; 1 refused, and nothing changed; 2 nothing done.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trueline_wire.errors import ConfigError, NeverRetry
from trueline_wire.keys import KeyRing, parse_public_key

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from trueline_edge.inference.store import ModelStore, Served
    from trueline_model.package import Manifest

__all__ = ["add_model_commands"]

_TEXT = """
A package is one file, NAME-VERSION.tlm, made by `trueline-cloud train` and signed with the cloud's key. It is tried in
a process of its own, under limits, before it is kept. FOLDER holds the versions of one model, and the stage `detect`
names it.

example:
  $ trueline-edge model install models/pump pump-3.tlm --public-key "$(trueline-cloud key ...)"
  $ trueline-edge model show models/pump --public-key ...
  $ trueline-edge model rollback models/pump --public-key ...
Exit code 1: refused, with the reason; the model that served before serves on. Needs: pip install "trueline[edge,infer]"
"""
_KEY = "of the one who must have signed it: base64, as `trueline-cloud key` prints it"


def add_model_commands(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    """Add `model` to the command line.

    Args:
        command: makes the parser of a command from its name, one line and an epilogue.
    """
    actions = command("model", "keep the models that the stage `detect` runs", _TEXT).add_subparsers(
        metavar="ACTION", required=True
    )
    install = actions.add_parser("install", help="verify a package, try it, and make it the one that serves")
    install.add_argument("folder", type=Path, metavar="FOLDER", help="of the model's versions; made where it is not")
    install.add_argument("package", type=Path, metavar="PACKAGE.tlm", help="the package")
    install.set_defaults(run=_run(_install))
    show = actions.add_parser("show", help="say what a package, or a folder's active one, is and costs")
    show.add_argument("folder", type=Path, metavar="FOLDER|PACKAGE.tlm", help="a folder of versions, or a package")
    show.set_defaults(run=_run(_show))
    rollback = actions.add_parser("rollback", help="go back to the version before")
    rollback.add_argument("folder", type=Path, metavar="FOLDER", help="of the model's versions")
    rollback.set_defaults(run=_run(_rollback))
    for action in (install, show, rollback):
        action.add_argument("--public-key", required=True, metavar="KEY", help=_KEY)
        action.add_argument("--json", action="store_true", help="print one object")


def _run(work: Callable[[argparse.Namespace], Served]) -> Callable[[argparse.Namespace], int]:
    """The command of some work that ends with a model that serves, or with a refusal."""

    def run(options: argparse.Namespace) -> int:
        try:
            served = work(options)
        except NeverRetry as error:
            said: dict[str, Any] = {"ok": False, "reason": str(error)}
            _print(said if options.json else f"refused: {error}")
            return 1
        _print(_facts(served) if options.json else _text(served))
        return 0

    return run


def _install(options: argparse.Namespace) -> Served:
    try:
        data = options.package.read_bytes()
    except OSError as error:
        raise ConfigError(f"{options.package}: cannot be read: {error.strerror}") from error
    return _store(options).install(data)


def _show(options: argparse.Namespace) -> Served:
    from trueline_edge.inference.serving import open_model  # noqa: PLC0415 - needs the extra

    return open_model(options.folder, parse_public_key(options.public_key))


def _rollback(options: argparse.Namespace) -> Served:
    return _store(options).rollback()


def _store(options: argparse.Namespace) -> ModelStore:
    from trueline_edge.inference.store import ModelStore  # noqa: PLC0415 - needs the extra

    ring = KeyRing()
    ring.trust("cloud", parse_public_key(options.public_key))
    return ModelStore(options.folder, ring)


def _facts(served: Served) -> dict[str, Any]:
    manifest = msgspec.to_builtins(served.package.manifest)
    del manifest["parts"]
    cost = msgspec.to_builtins(served.cost)
    return {"ok": True, "file": served.package.manifest.file_name, "cost": cost, "manifest": manifest}


def _text(served: Served) -> str:
    manifest = served.package.manifest
    trained = manifest.trained
    inputs = ", ".join(f"{one.name} [{one.unit}]" for one in manifest.inputs)
    times = f"{trained.begin:%Y-%m-%d %H:%M} to {trained.end:%Y-%m-%d %H:%M}"
    lines = [
        f"{manifest.file_name}: {manifest.kind}, {served.cost}",
        f"  reads    {inputs}, each {manifest.interval_s:g} s",
        f"  trained  {trained.rows:,} rows, {times}: {trained.source}",
        f"  predicts {_predicted(manifest)}" if manifest.kind == "prediction" else f"  alarm    {_alarm(manifest)}",
    ]
    lines += [f"  {name}  {value:.4g}" for name, value in manifest.metrics.items()]
    return "\n".join([*lines, *(f"  not serving: {reason}" for reason in served.refused)])


def _predicted(manifest: Manifest) -> str:
    from trueline_model.prediction import Prediction  # noqa: PLC0415 - paid for where one is shown

    recipe = msgspec.convert(manifest.settings, Prediction)
    return f"{recipe.target} [{recipe.unit}], from {recipe.rows} steps"


def _alarm(manifest: Manifest) -> str:
    if not manifest.alarm:
        return "none: a score alone" if not manifest.calibrated_s else "none: scores and p-values alone"
    events, per_s = manifest.alarm.get("events", 1.0), manifest.alarm.get("per_s", 604_800.0)
    return f"{events:g} false ones in {per_s:,.0f} s; calibrated on {manifest.calibrated_s:,.0f} s"


def _print(said: dict[str, Any] | str) -> None:
    sys.stdout.write((said if isinstance(said, str) else msgspec.json.encode(said).decode()) + "\n")

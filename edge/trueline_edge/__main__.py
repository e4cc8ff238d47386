"""The command line of the device: `trueline-edge check | schema | run | replay | tune | model | doctor | spool | key`.

Promises: every command says what is wrong and what to do about it, and its exit code means something. Refuses to work
where a library is missing, and names the `pip install` that mends it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from trueline_edge.config import AgentConfig, load_config
from trueline_edge.desk import add_desk_commands
from trueline_edge.models import add_model_commands
from trueline_wire.errors import ConfigError, SpoolUnsafe
from trueline_wire.keys import SigningKey
from trueline_wire.settings import SettingsError, json_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

OK: Final = 0
FOUND: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

_EXIT_CODES: Final = """
exit codes:
  0  done, and all is well
  1  done, and something is wrong
  2  nothing done: a wrong argument, a mistake in the configuration, a missing library
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except ConfigError as error:
        print(f"trueline-edge: {error}", file=sys.stderr)
        return USAGE
    except SpoolUnsafe as error:
        print(f"trueline-edge: {error}\nNothing more is taken: look at the disk, then start again.", file=sys.stderr)
        return FOUND
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("trueline_"):
            raise
        extra = "edge,tune" if (error.name or "").partition(".")[0] in {"scipy", "matplotlib"} else "edge"
        print(f'trueline-edge: {error.name} is not installed: pip install "trueline[{extra}]"', file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("trueline-edge: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: the look costs a running agent two megabytes."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import importlib.metadata  # noqa: PLC0415 - see above

        print("trueline-edge", importlib.metadata.version("trueline"))
        parser.exit(OK)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trueline-edge",
        description="The agent on the device: reads sensors, judges every value, and delivers what it has read.",
        epilog="begin with: trueline-edge check examples/agent.toml\n" + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and end")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, help_: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=help_,
            description=help_[0].upper() + help_[1:] + ".",
            epilog=text + _EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    config_help = "the configuration (TOML); examples/agent.toml explains every key"

    check = command("check", "name every mistake of a configuration, with key, line and hint", _CHECK)
    check.add_argument("config", type=Path, metavar="CONFIG.toml", help=config_help)
    check.add_argument("--json", action="store_true", help="print one object: ok, file, mistakes")
    check.set_defaults(run=_check)

    schema = command("schema", "print the JSON Schema of the configuration, for editors", _SCHEMA)
    schema.set_defaults(run=_schema)

    run = command("run", "run the agent", _RUN)
    run.add_argument("config", type=Path, metavar="CONFIG.toml", help=config_help)
    run.add_argument("--until-drained", action="store_true", help="end when finite sources are read and acknowledged")
    run.add_argument("--json", action="store_true", help="print one object with all counts at the end")
    run.set_defaults(run=_run)

    replay = command("replay", "run the stages of a configuration over a recorded file", _REPLAY)
    replay.add_argument("config", type=Path, metavar="CONFIG.toml", help=config_help)
    replay.add_argument(
        "input",
        type=Path,
        nargs="?",
        metavar="INPUT.csv",
        help="the recorded file; where left out, what the stream's own source reads",
    )
    replay.add_argument("--out", type=Path, required=True, metavar="OUT", help="OUT.parquet or OUT.csv")
    replay.add_argument("--stream", metavar="NAME", help="whose channels and stages, where there are several streams")
    replay.add_argument("--json", action="store_true", help="print the summary as one object")
    replay.set_defaults(run=_replay)

    tune = command("tune", "fit the noises of fusion to a recorded file", _TUNE)
    tune.add_argument("config", type=Path, metavar="CONFIG.toml", help=config_help)
    tune.add_argument("input", type=Path, metavar="RECORDING.csv", help="the recorded file; its last part only judges")
    tune.add_argument("--out", type=Path, default=Path("noise.toml"), metavar="NOISE.toml", help="default: noise.toml")
    tune.add_argument("--stream", metavar="NAME", help="whose stages, where there are several streams")
    tune.add_argument("--json", action="store_true", help="print what was found as one object")
    tune.set_defaults(run=_tune)

    add_desk_commands(command)
    add_model_commands(command)

    doctor = command("doctor", "say what this machine lacks", _DOCTOR)
    doctor.add_argument("config", type=Path, nargs="?", metavar="CONFIG.toml", help="look at what it needs as well")
    doctor.add_argument("--json", action="store_true", help="print one object: ok, findings")
    doctor.set_defaults(run=_doctor)

    spool = command("spool", "show or export what waits for its acknowledgement", _SPOOL)
    actions = spool.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("show", help="what waits, by lane")
    show.add_argument("config", type=Path, metavar="CONFIG.toml", help=config_help)
    show.add_argument("--json", action="store_true", help="print one object")
    show.set_defaults(run=_spool_show)
    export = actions.add_parser("export", help="copy what waits into a file, without touching it")
    export.add_argument("config", type=Path, metavar="CONFIG.toml", help=config_help)
    export.add_argument("--out", type=Path, required=True, metavar="OUT", help="the file to write")
    export.set_defaults(run=_spool_export)

    key = command("key", "print the device's public key (made on first use), for `trueline-cloud enroll`", _KEY)
    key.add_argument("config", type=Path, metavar="CONFIG.toml", help=config_help)
    key.set_defaults(run=_key)
    return parser


_CHECK: Final = """
example:
  $ trueline-edge check agent.toml
  agent.toml: 1 mistake
    line 31: stream[0].stage[1].maximun: unknown key
        hint: did you mean 'maximum'?
"""


def _check(options: argparse.Namespace) -> int:
    try:
        load_config(options.config)
    except ConfigError as error:
        if not options.json:
            print(error, file=sys.stderr)
            return USAGE
        listed = error.mistakes if isinstance(error, SettingsError) else ()
        mistakes = msgspec.to_builtins(listed) or [{"line": 1, "key": "", "message": str(error), "hint": ""}]
        print(json.dumps({"ok": False, "file": str(options.config), "mistakes": mistakes}))
        return USAGE
    print(json.dumps({"ok": True, "file": str(options.config), "mistakes": []}) if options.json else "ok")
    return OK


_SCHEMA: Final = """
example:
  $ trueline-edge schema > agent.schema.json
  then begin agent.toml with the line: #:schema ./agent.schema.json
"""


def _schema(_options: argparse.Namespace) -> int:
    print(json.dumps(json_schema(AgentConfig), indent=2))
    return OK


_RUN: Final = """
example:
  $ trueline-edge key agent.toml          # enroll this on the cloud: trueline-cloud enroll DEVICE KEY
  $ trueline-edge run agent.toml          # until SIGTERM, which leaves everything in the spool
  $ trueline-edge run agent.toml --until-drained --json
The log goes to stderr, as JSON. With --json the last line on stdout counts rows, frames and bytes.
Exit code 70: the disk broke its word (a failed sync); let systemd start the agent again.
"""


def _run(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    from trueline_edge.agent import run_agent  # noqa: PLC0415 - needs the extra

    return run_agent(config, until_drained=options.until_drained, as_json=options.json)


_REPLAY: Final = """
The columns written, one line for each value:
  time_ns    UTC, nanoseconds since 1970
  stream, channel
  value, u   in the channel's unit; u is the standard uncertainty, empty where none is declared
  flag       QARTOD: 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing
  reason     bits: 1 gross range, 2 missing, 4 flat line, 8192 not a number in the file

example:
  $ trueline-edge replay agent.toml recorded/valve.csv --out judged.parquet
Exit code 1: some rows could not be read; each is reported with file and line.
"""


def _replay(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    config = load_config(options.config)
    from trueline_edge.replay import choose_stream, replay_file  # noqa: PLC0415 - the other commands do without

    summary = replay_file(config, choose_stream(config, options.stream), options.input, options.out)
    if options.json:
        print(msgspec.json.encode(summary).decode())
    else:
        print(f"{summary.out}: {summary.rows:,} rows, {summary.values:,} values of stream {summary.stream}")
        for channel, flags in summary.flags.items():
            because = ", ".join(f"{reason} {count:,}" for reason, count in summary.reasons[channel].items())
            counts = ", ".join(f"{flag.replace('_', ' ')} {count:,}" for flag, count in flags.items())
            print(f"  {channel}: {counts}" + (f"  ({because})" if because else ""))
        if summary.insignificant:
            print(f"  rows left out as insignificant: {summary.insignificant:,}")
        for reason, count in summary.lost.items():
            print(f"  rows lost: {reason} {count:,}")
    return FOUND if summary.lost else OK


_TUNE: Final = """
example:
  $ trueline-edge tune agent.toml march.csv --out noise.toml
  noise.toml: air_temperature: r 0.0102, q 3.9e-05; later part: NIS 1.02, +0.31 a reading
then, in the stage: noise = "given", file = "noise.toml"
Stages that calibrate themselves run too; what they have learnt is written to NAME.versions.toml.
"""


def _tune(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    from trueline_edge.tuning.command import tune  # noqa: PLC0415 - needs the extra

    tuned = tune(config, options.stream, options.input, options.out)
    if options.json:
        print(msgspec.json.encode(tuned).decode())
        return FOUND if tuned.lost else OK
    for output in tuned.outputs:
        numbers = {k: v if isinstance(v, list) else [v] for k, v in output.noise.items()}
        noise = ", ".join(f"{k} {' '.join(f'{each:.3g}' for each in v)}" for k, v in numbers.items())
        later = f"; later part: NIS {output.nis:.2f}, {output.gain:+.2f} a reading" if output.readings else ""
        print(f"{output.file}: {output.name}: {noise}{later}")
    for reason, count in tuned.lost.items():
        print(f"  rows lost: {reason} {count:,}")
    return FOUND if tuned.lost else OK


_DOCTOR: Final = """
example:
  $ trueline-edge doctor agent.toml
  ok       python             3.11.7
  missing  apsw               not installed; the spool needs it
           pip install "trueline[edge]"
Exit code 1: something that is needed is missing.
"""


def _doctor(options: argparse.Namespace) -> int:
    config = load_config(options.config) if options.config else None
    from trueline_edge.doctor import examine  # noqa: PLC0415 - the other commands do without

    findings = examine(config, Path.cwd())
    ok = all(finding.state != "missing" for finding in findings)
    if options.json:
        print(json.dumps({"ok": ok, "findings": msgspec.to_builtins(findings)}))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.state:<8} {finding.name:<{width}}  {finding.message}")
            if finding.mend:
                print(f"{'':<8} {'':<{width}}  {finding.mend}")
    return OK if ok else FOUND


_SPOOL: Final = """
example:
  $ trueline-edge spool show agent.toml
  $ trueline-edge spool export agent.toml --out waiting.bin
"""


def _spool_show(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    from trueline_edge.spool.commands import show  # noqa: PLC0415 - needs the extra

    return show(config.state, as_json=options.json)


def _spool_export(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    from trueline_edge.spool.commands import export  # noqa: PLC0415 - needs the extra

    return export(config.state, options.out)


_KEY: Final = """
example:
  $ trueline-cloud enroll pump-7 "$(trueline-edge key agent.toml)"
The secret key is in the state folder, device.key, and stays there.
"""


def _key(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    print(SigningKey.load_or_create(config.state / "device.key").public_text)
    return OK


if __name__ == "__main__":
    sys.exit(main())

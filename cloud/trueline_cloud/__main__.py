"""The command line of the cloud: `trueline-cloud serve | ledger | export | events | train | key | enroll`.

Promises: every command says what is wrong and what to do about it, and its exit code means something. Refuses to work
where a library is missing, and names the `pip install` that mends it.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trueline_cloud.learning.options import HELP, add_options
from trueline_wire.errors import ConfigError, SpoolUnsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main", "parse_time"]

OK: Final = 0
FOUND: Final = 1
USAGE: Final = 2

_EXIT_CODES: Final = """
exit codes:
  0  done, and all is well
  1  done, and something is wrong: rows are missing, a sum does not agree, the journal's disk failed
  2  nothing done: a wrong argument, a mistake in the configuration, a missing library
"""

_CONFIG_EXAMPLE: Final = """
configuration (TOML; every table but the first line may be left out):

  state = "state/cloud"        # folder: cloud.key, journal.db, devices/<device>.pub
  [mqtt]                       # a broker to take frames from
  host = "127.0.0.1"           # port, username, password_file, keepalive_s, shards = [0, 64]
  [mqtt.tls]                   # ca, certificate, key
  [coap]                       # a port to take frames at
  host = "127.0.0.1"           # port = 5683; 0 is any free port
  [http]                       # pages and API
  host = "127.0.0.1"           # port = 8080; anything but loopback asks for a token_file
  [journal]
  commit_interval_ms = 100     # an acknowledgement waits so long for company
  retention_days = 0           # 0 keeps frames for ever

Without CONFIG: state/cloud here, and all of the above on loopback.

When frames are taken and pages are served, one line says so on stdout:
  ready http=http://127.0.0.1:8080 coap=127.0.0.1:5683
SIGTERM commits what came, acknowledges it, and ends with 0.
"""

_TIME: Final = """A time is RFC 3339 (2026-03-01T12:00:00Z, 2026-03-01T13:00:00.5+01:00), a day (2026-03-01), or
an integer of ns since 1970."""

_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d))?", re.ASCII
)
_PROGRESS_S: Final = 1.0
_TRAIN: Final = {"ai_edge_litert", "keras", "matplotlib", "optuna", "tensorflow"}
_NS: Final = 1_000_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        code: int = options.run(options)
    except ConfigError as error:
        print(f"trueline-cloud: {error}", file=sys.stderr)
        return USAGE
    except SpoolUnsafe as error:
        print(f"trueline-cloud: {error}\nNothing more is taken: look at the disk, then start again.", file=sys.stderr)
        return FOUND
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("trueline"):
            raise
        extra = "train" if (error.name or "").partition(".")[0] in _TRAIN else "cloud"
        print(f'trueline-cloud: {error.name} is missing: pip install "trueline[{extra}]"', file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


def parse_time(text: str) -> int:
    """A time as people write it, in ns since 1970.

    Raises:
        ConfigError: it is none.
    """
    if re.fullmatch(r"-?\d{5,19}", text):
        return int(text)
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is not a time. {_TIME}")
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00:00'}{(zone or 'Z').upper().replace('Z', '+00:00')}")
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a time: {error}. {_TIME}") from error
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * _NS + int((fraction or "0").ljust(9, "0"))


def _parser() -> argparse.ArgumentParser:
    def add(name: str, run: Callable[[argparse.Namespace], int], text: str, more: str = "") -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=text,
            description=text[:1].upper() + text[1:] + ".",
            epilog=more + _EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=run)
        return command

    def add_state(command: argparse.ArgumentParser) -> None:
        place = command.add_mutually_exclusive_group()
        place.add_argument("--config", type=Path, metavar="CONFIG", help="the service's configuration")
        place.add_argument("--state", type=Path, metavar="DIR", help="its state folder (state/cloud)")

    parser = argparse.ArgumentParser(
        prog="trueline-cloud",
        description="Takes frames from devices, stores each once, and says what is missing.",
        epilog="`trueline-cloud COMMAND --help` tells more, with examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"trueline {metadata.version('trueline')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = add("serve", _serve, "take frames, commit, acknowledge; serve pages and API", _CONFIG_EXAMPLE)
    serve.add_argument("config", type=Path, nargs="?", metavar="CONFIG")

    ledger = add(
        "ledger",
        _ledger,
        "is anything missing? One line for each lane of each device, as of last heard",
        "verdicts: complete; pending (spoken of, not here yet); missing (will not come; says why);\n"
        "orphaned (tails of a card that was restored or cloned).\n",
    )
    ledger.add_argument("--device", metavar="D", help="only this device")
    ledger.add_argument("--json", action="store_true", help="one JSON object on stdout")
    ledger.add_argument("--verify", action="store_true", help="read all frames, check each signature, count again")
    add_state(ledger)

    export = add(
        "export",
        _export,
        "write a stream's readings to a file, values bit for bit",
        "columns: time_ns, then for each channel CHANNEL, CHANNEL.u, CHANNEL.flag, CHANNEL.reason\n\n"
        f"{_TIME}\n\n"
        "example:\n  trueline-cloud export --device pump-7 --stream valve --from 2026-03-01 --out valve.csv\n",
    )
    export.add_argument("--device", required=True, metavar="D")
    export.add_argument("--stream", required=True, metavar="S")
    export.add_argument("--from", dest="start", metavar="T", help="first time; the oldest if not given")
    export.add_argument("--to", dest="end", metavar="T", help="the first time left out; none if not given")
    export.add_argument("--out", required=True, type=Path, metavar="FILE", help=".csv or .parquet")
    export.add_argument("--json", action="store_true", help="a summary as one JSON object on stdout")
    add_state(export)

    events = add(
        "events",
        _events,
        "what detectors on devices raised: whose trouble it is, which channel, how sure; the newest first",
        f"{_TIME}\n\n"
        "examples:\n  trueline-cloud events --device pump-7 --from 2026-03-01\n"
        "  trueline-cloud events --out events.csv --limit 100000\n",
    )
    events.add_argument("--device", metavar="D", help="only this device")
    events.add_argument("--from", dest="start", metavar="T", help="first time; the oldest if not given")
    events.add_argument("--to", dest="end", metavar="T", help="the first time left out; none if not given")
    events.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (100)")
    events.add_argument("--json", action="store_true", help="one JSON object on stdout")
    events.add_argument("--out", type=Path, metavar="FILE.csv", help="write them to a file")
    add_state(events)

    train = add("train", _train, "make a model that runs on devices, from the store or from recordings", HELP)
    add_options(train)
    add_state(train)

    key = add("key", _key, "print the cloud's public key, which agents name in their [cloud] table; made on first use")
    key.add_argument("place", type=Path, nargs="?", metavar="CONFIG", help="the same as --config")
    add_state(key)

    enroll = add(
        "enroll",
        _enroll,
        "trust a device's public key; a running service notices within two seconds",
        'example:\n  trueline-cloud enroll pump-7 "$(trueline-edge key agent.toml)"\n',
    )
    enroll.add_argument("device", metavar="DEVICE")
    enroll.add_argument("public_key", metavar="PUBLIC_KEY", help="base64, as `trueline-edge key` prints it")
    add_state(enroll)
    return parser


def _serve(options: argparse.Namespace) -> int:
    from trueline_cloud.config import load_settings  # noqa: PLC0415 - each command loads what it needs
    from trueline_cloud.service import serve_forever  # noqa: PLC0415

    serve_forever(load_settings(options.config), lambda line: print(line, flush=True))
    return OK


def _ledger(options: argparse.Namespace) -> int:
    from trueline_cloud import ledger as room  # noqa: PLC0415
    from trueline_cloud.ingest.trust import DEVICES, Devices  # noqa: PLC0415
    from trueline_cloud.storage.reader import JournalReader  # noqa: PLC0415
    from trueline_cloud.storage.store import NeverHeardOfError  # noqa: PLC0415

    state = _state(options)
    with contextlib.closing(JournalReader(state)) as reader:
        try:
            lanes = reader.ledger(options.device)
        except NeverHeardOfError:
            raise ConfigError(f"device {options.device!r} has never been heard of") from None
        proof = None
        if options.verify:
            devices = Devices(state / DEVICES, lambda what: print(what, file=sys.stderr))
            told = _Progress("frames verified")
            proof = room.verify(reader, lanes, devices, options.device, told)
            told.end()
    print((room.as_json if options.json else room.as_table)(lanes, proof))
    return OK if room.is_whole(lanes) and not (proof and proof.findings) else FOUND


def _export(options: argparse.Namespace) -> int:
    import msgspec  # noqa: PLC0415

    from trueline_cloud.export import export  # noqa: PLC0415
    from trueline_cloud.storage.reader import JournalReader  # noqa: PLC0415
    from trueline_cloud.storage.store import NeverHeardOfError  # noqa: PLC0415

    start, end = _range(options)
    corrupt: list[str] = []
    with contextlib.closing(JournalReader(_state(options), corrupt.append)) as reader:
        try:
            streams = {schema.stream: schema for schema in reader.streams(options.device)}
        except NeverHeardOfError:
            known = ", ".join(device.device for device in reader.devices()) or "none yet"
            raise ConfigError(f"device {options.device!r} has never been heard of; known are: {known}") from None
        if options.stream not in streams:
            known = ", ".join(streams) or "none yet"
            raise ConfigError(f"{options.device} has no stream {options.stream!r}; it has: {known}")
        told = _Progress("rows written")
        batches = reader.readings(options.device, options.stream, start, end)
        summary = export(batches, streams[options.stream], options.out, told)
        told.end()
    for what in corrupt:
        print(what, file=sys.stderr)
    if options.json:
        print(msgspec.json.encode(summary).decode())
    else:
        print(f"{summary.rows:,} rows of {summary.device}/{summary.stream} in {summary.file}")
        if summary.duplicates:
            print(f"{summary.duplicates:,} of them are there twice")
    return FOUND if corrupt else OK


def _events(options: argparse.Namespace) -> int:
    from trueline_cloud import events as room  # noqa: PLC0415

    if options.limit < 1:
        raise ConfigError(f"--limit {options.limit}: 1 or more")
    start, end = _range(options)
    found, more = room.read_events(_state(options), options.device, start, end, options.limit)
    if options.out is not None:
        room.write_csv(found, options.out)
    print((room.as_json if options.json else room.as_table)(found, more=more))
    return OK


def _range(options: argparse.Namespace) -> tuple[int, int]:
    start = -(1 << 63) if options.start is None else parse_time(options.start)
    end = (1 << 63) - 1 if options.end is None else parse_time(options.end)
    return start, end


def _train(options: argparse.Namespace) -> int:
    if options.target or options.life:
        from trueline_cloud.learning.prediction.command import run  # noqa: PLC0415
    else:
        from trueline_cloud.learning.command import run  # noqa: PLC0415
    return run(options, _state(options), parse_time)


def _key(options: argparse.Namespace) -> int:
    from trueline_wire.keys import SigningKey  # noqa: PLC0415

    print(SigningKey.load_or_create(_state(options, options.place) / "cloud.key").public_text)
    return OK


def _enroll(options: argparse.Namespace) -> int:
    from trueline_cloud.ingest.trust import DEVICES, enroll  # noqa: PLC0415

    new = enroll(_state(options) / DEVICES, options.device, options.public_key)
    print(f"{options.device} is enrolled" if new else f"{options.device} was enrolled with this key already")
    return OK


def _state(options: argparse.Namespace, config: Path | None = None) -> Path:
    config = config or options.config
    if options.state is not None:
        return Path(options.state)
    if config is None:
        return Path("state/cloud")
    from trueline_cloud.config import load_settings  # noqa: PLC0415

    return load_settings(config).state


class _Progress:
    """A counting line on stderr, where that is a terminal and the work is long."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown_s = time.monotonic()
        self._shown = False

    def __call__(self, count: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._shown_s >= _PROGRESS_S:
            print(f"\r{count:,} {self._what}", end="", file=sys.stderr, flush=True)
            self._shown_s, self._shown = now, True

    def end(self) -> None:
        """Leave the line as it is."""
        if self._shown:
            print(file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

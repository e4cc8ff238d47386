"""A whole site in one folder: broker, cloud and agents as real processes, with keys enrolled and ports chosen.

    with Site(folder, broker="mosquitto") as site:
        site.start()
        pump = site.add_agent("pump-7", streams=[...])
        pump.start("--until-drained")
        site.broker.kill()
        site.broker.start()
        counts = pump.result(timeout_s=60)
        site.export("pump-7", "valve", folder / "valve.parquet")

Promises: whatever is asked of the programs is asked through their command lines, as a user would; everything is gone
when the `with` ends. Refuses to know what the programs do inside: it imports none of their code.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

from trueline_sim.children import Child, ChildError, free_port, port_answers, run_to_end
from trueline_sim.toml import to_toml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["Agent", "Broker", "BrokerKind", "Child", "ChildError", "Cloud", "Site", "free_port"]

BrokerKind = Literal["auto", "mosquitto", "amqtt"]
LinkKind = Literal["mqtt", "coap"]

_EDGE: Final = (sys.executable, "-m", "trueline_edge")
_EVENTS_MAX: Final = 100_000
_CLOUD: Final = (sys.executable, "-m", "trueline_cloud")


def find_mosquitto() -> str | None:
    """The path of mosquitto, which distributions like to put where users do not look; None if it is not installed."""
    return shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


class Broker(Child):
    """An MQTT broker on a loopback port, anonymous. Its memory is wiped at every start unless `persistence` is on.

    Args:
        folder: configuration, log, and with `persistence` what it remembers.
        kind: "auto" is mosquitto where it is installed, else amqtt.
        persistence: mosquitto only: keep sessions and queues on disk.
        settings: further lines for mosquitto's configuration.

    Raises:
        ChildError: mosquitto was asked for and is not installed.
    """

    def __init__(
        self, folder: Path, kind: BrokerKind = "auto", *, persistence: bool = False, settings: Sequence[str] = ()
    ) -> None:
        self.port: Final = free_port()
        mosquitto = find_mosquitto() if kind != "amqtt" else None
        if kind == "mosquitto" and mosquitto is None:
            raise ChildError("mosquitto is not installed: install it, or take the amqtt broker (demo only)")
        self.kind: Final = "mosquitto" if mosquitto else "amqtt"
        if mosquitto is None:
            argv = [sys.executable, "-m", "trueline_sim.amqtt_broker", "--port", str(self.port)]
        else:
            folder.mkdir(parents=True, exist_ok=True)
            config = folder / "mosquitto.conf"
            config.write_text("\n".join([*self._settings(folder, persistence=persistence), *settings]) + "\n")
            argv = [mosquitto, "-c", str(config)]
        super().__init__(self.kind, argv, folder)

    def _settings(self, folder: Path, *, persistence: bool) -> list[str]:
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "set_tcp_nodelay true"]
        if persistence:
            lines += ["persistence true", f"persistence_location {folder}/", "autosave_interval 1"]
        if os.geteuid() == 0:
            lines.append(f"user {getpass.getuser()}")  # else mosquitto becomes a user who may not write here
        return lines

    def start(self, *more: str) -> None:
        """Start it and wait until it answers."""
        super().start(*more)
        self.wait_ready(lambda: port_answers(self.port))


class Cloud(Child):
    """The cloud service, its state in the folder `state/cloud`.

    Args:
        folder: configuration, log and state.
        broker_port: None for no MQTT.
        http_port: where its page is; None for any free port.
        extra: further tables of the configuration, e.g. `{"journal": {"commit_interval_ms": 50}}`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        broker_port: int | None,
        http_port: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.state: Final = folder / "state" / "cloud"
        self.config: Final = folder / "cloud.toml"
        self.http_port: Final = http_port or free_port()
        self.coap_port: Final = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = {"state": str(self.state)}
        if broker_port is not None:
            document["mqtt"] = {"host": "127.0.0.1", "port": broker_port}
        document["coap"] = {"host": "127.0.0.1", "port": self.coap_port}
        document["http"] = {"host": "127.0.0.1", "port": self.http_port}
        self.config.write_text(to_toml(document | dict(extra or {})))
        super().__init__("cloud", [*_CLOUD, "serve", str(self.config)], folder)

    @property
    def url(self) -> str:
        """The address of its page."""
        return f"http://127.0.0.1:{self.http_port}/"

    def start(self, *more: str) -> None:
        """Start it and wait for its line `ready …`."""
        super().start(*more)
        self.wait_ready(lambda: "ready " in self.out.read_text(errors="replace"))

    def command(self, *arguments: str, codes: Sequence[int] = (0,), timeout_s: float = 300.0) -> str:
        """Run another of the cloud's commands beside the service, and give back its stdout."""
        return run_to_end([*_CLOUD, *arguments], folder=self.folder, codes=codes, timeout_s=timeout_s)


class Agent(Child):
    """One agent, its state in the folder `state/<device>`.

    Args:
        device: its id.
        folder: configuration, log and state.
        document: its configuration, whole.
    """

    def __init__(self, device: str, folder: Path, document: Mapping[str, Any]) -> None:
        self.device: Final = device
        self.config: Final = folder / f"{device}.toml"
        self.state: Final = folder / "state" / device
        self.document: Final = dict(document)
        self.rewrite({})
        super().__init__(device, [*_EDGE, "run", str(self.config), "--json"], folder)

    def rewrite(self, changes: Mapping[str, Any]) -> None:
        """Change tables of its configuration; they take effect at the next start."""
        self.document.update(changes)
        self.config.write_text(to_toml(self.document))

    def public_key(self) -> str:
        """Its public key, as its own command prints it."""
        return run_to_end([*_EDGE, "key", str(self.config)], folder=self.folder).strip().splitlines()[-1]

    def result(self, timeout_s: float) -> dict[str, Any]:
        """Wait for its end and give back what it says of itself.

        Raises:
            ChildError: it did not end, ended in failure, or its last line is not that object.
        """
        if code := self.wait(timeout_s):
            raise self.error(f"ended with exit code {code}")
        return self._last_json()

    def stop_and_tell(self, timeout_s: float = 30.0) -> dict[str, Any]:
        """SIGTERM, then as `result`."""
        self.stop(timeout_s)
        return self._last_json()

    def _last_json(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.last_line())
        except ValueError:
            raise self.error("did not end with a line of JSON") from None
        return found


class Site:
    """Broker, cloud and agents in one folder. Leaving the `with` kills what still runs, agents first.

    Args:
        folder: made if it is not there; everything is written below it.
        broker: which broker; None for none (CoAP alone).
        link: what agents use unless told otherwise.
        persistence: the broker keeps sessions and queues on disk.
        broker_settings: further lines for mosquitto's configuration.
        http_port: where the cloud's page is; None for any free port.
        cloud_extra: further tables of the cloud's configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        broker: BrokerKind | None = "auto",
        link: LinkKind = "mqtt",
        persistence: bool = False,
        broker_settings: Sequence[str] = (),
        http_port: int | None = None,
        cloud_extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder: Final = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.link: Final = link
        self._broker: Final = (
            None
            if broker is None
            else Broker(self.folder / "broker", broker, persistence=persistence, settings=broker_settings)
        )
        self.cloud: Final = Cloud(
            self.folder / "cloud",
            broker_port=self._broker.port if self._broker else None,
            http_port=http_port,
            extra=cloud_extra,
        )
        self.agents: Final[dict[str, Agent]] = {}
        self._cloud_key = ""

    @property
    def broker(self) -> Broker:
        """The broker.

        Raises:
            ChildError: the site has none.
        """
        if self._broker is None:
            raise ChildError("this site has no broker")
        return self._broker

    @property
    def has_broker(self) -> bool:
        """Whether there is one."""
        return self._broker is not None

    @property
    def cloud_key(self) -> str:
        """The cloud's public key, as its own command prints it."""
        if not self._cloud_key:
            self._cloud_key = self.cloud.command("key", str(self.cloud.config)).strip().splitlines()[-1]
        return self._cloud_key

    def start(self) -> None:
        """Start broker and cloud and wait until both are ready."""
        if self._broker is not None:
            self._broker.start()
        self.cloud.start()

    def links(self, *, mqtt_port: int | None = None, coap_port: int | None = None) -> list[dict[str, Any]]:
        """The `[[link]]` tables that reach this site; other ports put a proxy in between."""
        if self.link == "coap":
            return [{"protocol": "coap", "host": "127.0.0.1", "port": coap_port or self.cloud.coap_port}]
        return [{"protocol": "mqtt", "host": "127.0.0.1", "port": mqtt_port or self.broker.port}]

    def add_agent(
        self,
        device: str,
        streams: Sequence[Mapping[str, Any]],
        *,
        links: Sequence[Mapping[str, Any]] | None = None,
        frame: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Agent:
        """Configure an agent and enrol its key. It is not started.

        Args:
            device: its id.
            streams: its `[[stream]]` tables.
            links: its `[[link]]` tables; None for `self.links()`.
            frame: its `[frame]` table; None for small frames once a second, so that things are seen to happen.
            extra: further tables, e.g. `{"spool": {"size_max_bytes": 1_000_000}}`.
        """
        folder = self.folder / "agents"
        folder.mkdir(exist_ok=True)
        document: dict[str, Any] = {
            "device": device,
            "state": str(folder / "state" / device),
            "cloud": {"public_key": self.cloud_key},
            "link": list(self.links() if links is None else links),
            "frame": dict(frame or {"rows_max": 600, "interval_s": 1.0}),
            **dict(extra or {}),
            "stream": list(streams),
        }
        agent = Agent(device, folder, document)
        self.cloud.command("enroll", device, agent.public_key(), "--config", str(self.cloud.config))
        self.agents[device] = agent
        return agent

    def ledger(self, device: str | None = None) -> list[dict[str, Any]]:
        """What `trueline-cloud ledger --json` says (it may, or may not, find readings missing)."""
        which = ["--device", device] if device else []
        text = self.cloud.command("ledger", "--config", str(self.cloud.config), *which, "--json", codes=(0, 1))
        found: Any = json.loads(text)
        lanes: list[dict[str, Any]] = found["lanes"] if isinstance(found, dict) else found
        return lanes

    def events(self) -> list[dict[str, Any]]:
        """What `trueline-cloud events --json` says of all devices, the newest first."""
        where = ["--config", str(self.cloud.config), "--limit", str(_EVENTS_MAX)]
        found: list[dict[str, Any]] = json.loads(self.cloud.command("events", *where, "--json"))["events"]
        return found

    def export(self, device: str, stream: str, out: Path) -> Path:
        """What `trueline-cloud export` writes of one stream: CSV or Parquet, by the name of `out`."""
        where = ["--config", str(self.cloud.config), "--device", device, "--stream", stream]
        self.cloud.command("export", *where, "--out", str(out))
        return out

    def close(self) -> None:
        """Kill whatever still runs: agents, then cloud, then broker."""
        for child in [*self.agents.values(), self.cloud, *([self._broker] if self._broker else [])]:
            with contextlib.suppress(ChildError):
                child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

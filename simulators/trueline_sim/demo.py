"""The demo: broker, cloud with its page, and a small fleet of real agents, in one folder and one terminal.

Promises: agents, cloud and broker are the real programs, started as a user would start them, and so are the models that
watch the pumps; the verdict is counted (`verdict`, `demo_findings`), never assumed; Ctrl-C leaves nothing behind. Only
the sensors are simulated, and what goes wrong with them and the process.
"""

from __future__ import annotations

import heapq
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from trueline_sim.children import free_port, wait_until
from trueline_sim.demo_findings import count_findings, in_words
from trueline_sim.demo_fleet import (
    NORMAL_S,
    PUMP_HZ,
    PUMP_SPEED,
    ROOM_HZ,
    ROOM_SPEED,
    STREAMS,
    Devices,
    device_names,
    device_streams,
    record_s,
    without_rows,
)
from trueline_sim.demo_models import install_models, stored_streams, watched
from trueline_sim.processes import Agent, BrokerKind, Child, Site
from trueline_sim.verdict import Verdict, count_export, judge
from trueline_sim.watch import Snapshot, Watch
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import TextIO

__all__ = ["Demo", "DemoSettings", "Event"]

_START_AT_ONCE: Final = 2
_FRAME: Final = {"rows_max": 600, "interval_s": 2.0}
_OUTAGE_EVERY_S: Final = 40.0
_OUTAGE_FOR_S: Final = 8.0
_BEGIN_S: Final = 60.0
_DRAIN_S: Final = 90.0
_STOP_S: Final = 30.0
_TOLD_NS: Final = 120 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """What the demo shows.

    Attributes:
        devices: how many agents.
        seconds: how long they measure; None: until Ctrl-C.
        folder: where everything is kept; None: a temporary folder, removed at the end.
        broker: which broker.
        link: what the agents use.
        outages: now and then the agents are cut off for some seconds.
        chaos: an agent, the cloud and the broker are each killed with -9 on the way.
        seed: of the sensors.
        http_port: where the page is; None for any free port.
    """

    devices: int = 3
    seconds: float | None = None
    folder: Path | None = None
    broker: BrokerKind = "auto"
    link: Literal["mqtt", "coap"] = "mqtt"
    outages: bool = True
    chaos: bool = False
    seed: int = 1
    http_port: int | None = None


@dataclass(order=True, slots=True)
class Event:
    """Something that happens on the way, `at_s` after the start."""

    at_s: float
    what: str = field(compare=False)
    do: Callable[[], object] = field(compare=False)


class Demo:
    """One run.

    Args:
        settings: what it shows.
        screen: where its lines go.
    """

    def __init__(self, settings: DemoSettings, screen: TextIO = sys.stdout) -> None:
        self._settings: Final = settings
        self._screen: Final = screen
        self._events: Final[list[Event]] = []
        self._down: Final[set[Child]] = set()
        self._trouble = ""
        self._last = Snapshot()
        self._backlog: tuple[int, float] | None = None
        self._start_s = 0.0
        self._devices = Devices({}, {}, [], 0)
        self._told: Final[dict[tuple[Any, ...], str]] = {}

    def run(self) -> Verdict:
        """Everything, from the broker's start to the verdict.

        Raises:
            ChildError: a program did not start, or did not do as told; with the end of its log.
            ConfigError: the folder is in use.
        """
        if self._settings.folder and self._settings.folder.exists() and any(self._settings.folder.iterdir()):
            raise ConfigError(f"{self._settings.folder} is not empty: name a new folder, so that the counts begin at 0")
        with ExitStack() as stack:
            folder = self._settings.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trueline-")))
            site = stack.enter_context(
                Site(
                    folder,
                    broker=None if self._settings.link == "coap" else self._settings.broker,
                    link=self._settings.link,
                    http_port=self._settings.http_port,
                )
            )
            self._say("starting broker and cloud ..." if site.has_broker else "starting the cloud ...")
            with ThreadPoolExecutor(1) as beside:  # while broker and cloud start
                recorded = beside.submit(
                    device_streams,
                    device_names(self._settings.devices),
                    site.folder / "recordings",
                    seed=self._settings.seed,
                    seconds=record_s(self._settings.devices, self._settings.seconds),
                )
                models = beside.submit(lambda: install_models(site, recorded.result().normal))
                site.start()
                watch = self._add_agents(site, recorded)
                self._devices = recorded.result()
                if self._devices.normal:
                    self._say("training a model of normal running for each pump ...")
                for name, model in models.result().items():
                    pump, *others = self._devices.streams[name]
                    site.agents[name].rewrite({"stream": [watched(pump, model, site.cloud_key), *others]})
            self._introduce(site)
            for agent in site.agents.values():
                agent.start(*(["--until-drained"] if self._settings.seconds is not None else []))
            self._plan(site)
            try:
                wait_until(lambda: self._has_begun(site, watch), "the first readings", _BEGIN_S)
                self._start_s = time.monotonic()
                self._announce(site)
                self._look_on(site, watch)
            except KeyboardInterrupt:
                self._say("stopping: agents first, so that what is sampled is spooled ...")
            return self._finish(site)

    def _add_agents(self, site: Site, recorded: Future[Devices]) -> Watch:
        names = device_names(self._settings.devices)
        ports = {name: free_port() for name in names}
        key = site.cloud_key
        self._say(f"making {len(names)} devices and enrolling their keys (the cloud's is {key[:12]}...)")

        def add(name: str) -> Agent:
            metrics = {"host": "127.0.0.1", "port": ports[name]}
            return site.add_agent(name, recorded.result().streams[name], frame=_FRAME, extra={"metrics": metrics})

        with ThreadPoolExecutor(_START_AT_ONCE) as pool:
            agents = list(pool.map(add, names))
        site.agents.clear()
        site.agents.update(zip(names, agents, strict=True))  # in order of name, not of who was ready first
        return Watch(site.cloud.http_port, ports)

    def _introduce(self, site: Site) -> None:
        names = list(site.agents)
        if site.has_broker:
            only = (
                ""
                if site.broker.kind == "mosquitto"
                else " (pure Python, for this demo only; agents fall back to MQTT 3.1.1)"
            )
            self._say(f"  broker   {site.broker.kind} on 127.0.0.1:{site.broker.port}{only}")
        else:
            self._say(f"  link     CoAP to 127.0.0.1:{site.cloud.coap_port}, no broker")
        self._say(f"  page     {site.cloud.url}")
        self._say(
            f"  devices  {names[0]}{' to ' + names[-1] if len(names) > 1 else ''}: real agents, simulated sensors"
        )
        self._say(f"           pump: a water loop, 4 channels at {PUMP_HZ:g} Hz, time x {PUMP_SPEED:g}")
        self._say(f"           room: a greenhouse or a cold box, 4 channels at {ROOM_HZ:g} Hz, time x {ROOM_SPEED:g}")
        self._say("           sensors stick, spike, drift and fall silent; recordings/labels.csv says when")
        if self._devices.normal:
            hours, count = NORMAL_S / 3600.0, len(self._devices.normal)
            self._say(f"  models   {count}, one for each pump, trained on {hours:g} hours in which all was well")
        if self._settings.seconds is None:
            self._say(f"           recordings end after {record_s(len(names), None) / 60:.0f} minutes")
        if self._settings.folder:
            self._say(f"  folder   {site.folder}")
        if self._settings.seconds is None:
            self._say("  Ctrl-C stops everything")
        self._say("")

    # ------------------------------------------------------------ what happens on the way

    def _plan(self, site: Site) -> None:
        if self._settings.chaos:
            self._plan_kills(site)
        elif self._settings.outages and self._settings.seconds is None:
            gate, name = (site.broker, "broker") if site.has_broker else (site.cloud, "cloud")
            self._plan_outage(gate, name, _OUTAGE_EVERY_S / 2)

    def _announce(self, site: Site) -> None:
        """Say what is injected when it is: an agent's first rows are seen as its first frame."""
        names, ahead_s = list(site.agents), _FRAME["interval_s"]
        for one in self._devices.injected:
            what = f"{one.channel} sensor at fault" if one.channel else "process anomaly"
            kind, lasts_s = one.kind.replace("_", " "), one.end_s - one.start_s
            text = f"{names[one.device]}: injected: {what} ({kind}) for {lasts_s:g} s"
            self._at(max(one.start_s - ahead_s, 0.0), text, lambda: None)

    def _plan_kills(self, site: Site) -> None:
        """Each victim dies at a seeded moment in a part of its own of the time, and is back a second later."""
        victims: list[tuple[str, Child]] = [("an agent", next(iter(site.agents.values()))), ("the cloud", site.cloud)]
        if site.has_broker:
            victims.append(("the broker, whose memory is wiped", site.broker))
        rng, part_s = random.Random(self._settings.seed), (self._settings.seconds or 60.0) / len(victims)
        for index, (name, child) in enumerate(victims):
            at_s = part_s * (index + rng.uniform(0.3, 0.7))
            self._at(at_s, f"kill -9 of {name}", partial(self._take_down, child, child.kill))
            self._at(at_s + 1.0, f"{child.name} is started again", partial(self._bring_back, child))

    def _plan_outage(self, gate: Child, name: str, at_s: float) -> None:
        def begin() -> None:
            self._take_down(gate, gate.stop)
            self._trouble = f"the {name} is down"

        def end() -> None:
            self._bring_back(gate)
            self._trouble = ""
            self._backlog = (self._last.spooled, self._elapsed_s())
            self._plan_outage(gate, name, at_s + _OUTAGE_EVERY_S)

        self._at(at_s, f"outage: the {name} is stopped for {_OUTAGE_FOR_S:g} s, readings wait in the spools", begin)
        self._at(at_s + _OUTAGE_FOR_S, f"the {name} is back: the spools drain", end)

    def _tell_drained(self, now: Snapshot) -> None:
        if self._backlog is not None and now.stored >= self._backlog[0]:
            took_s = self._elapsed_s() - self._backlog[1]
            self._say(
                f"{self._elapsed_s():5.0f} s  drained in {took_s:.0f} s: all that was spooled meanwhile is stored"
            )
            self._backlog = None

    def _tell_events(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            name, text = (event["device"], event["stream"], event["begun_us"]), in_words(event)
            if self._told.get(name) != text:
                again = ", at second sight" if name in self._told else ""
                self._say(f"{self._elapsed_s():5.0f} s  {text}{again}")
                self._told[name] = text

    def _at(self, at_s: float, what: str, do: Callable[[], object]) -> None:
        heapq.heappush(self._events, Event(at_s, what, do))

    def _take_down(self, child: Child, how: Callable[[], object]) -> None:
        self._down.add(child)
        how()

    def _bring_back(self, child: Child) -> None:
        child.start(*(["--until-drained"] if isinstance(child, Agent) and self._settings.seconds is not None else []))
        self._down.discard(child)

    def _look_on(self, site: Site, watch: Watch) -> None:
        limit_s = None if self._settings.seconds is None else self._settings.seconds + _DRAIN_S
        tick_s = self._start_s
        while limit_s is None or self._elapsed_s() < limit_s:
            while self._events and self._events[0].at_s <= self._elapsed_s():
                event = heapq.heappop(self._events)
                self._say(f"{self._elapsed_s():5.0f} s  {event.what}")
                event.do()
            self._check_alive(site)
            self._last = watch.snapshot()
            self._tell_drained(self._last)
            self._tell_events(watch.events(time.time_ns() - _TOLD_NS))
            self._show(self._last, site)
            if limit_s is not None and not self._events and not any(a.alive for a in site.agents.values()):
                return
            tick_s = max(tick_s + 1.0, time.monotonic())
            time.sleep(max(tick_s - time.monotonic(), 0.0))

    def _has_begun(self, site: Site, watch: Watch) -> bool:
        self._check_alive(site)
        return watch.snapshot().sampled > 0 or not any(agent.alive for agent in site.agents.values())

    def _check_alive(self, site: Site) -> None:
        for child in [site.cloud, *site.agents.values()]:
            if child not in self._down and child.exit_code not in {None, 0}:
                raise child.error(f"ended by itself with exit code {child.exit_code}")

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._start_s

    # ------------------------------------------------------------ the end

    def _finish(self, site: Site) -> Verdict:
        results = self._last_words(site)
        lanes = site.ledger()
        pairs = stored_streams(lanes)
        self._say(f"exporting {len(pairs)} streams and counting ...")
        folder = site.folder / "export"
        folder.mkdir(exist_ok=True)
        with ThreadPoolExecutor(_START_AT_ONCE) as pool:
            paths = list(pool.map(lambda p: site.export(p[0], p[1], folder / f"{p[0]}.{p[1]}.parquet"), pairs))
        exports = [count_export(path) for path in paths]
        findings = count_findings(
            self._devices.injected,
            site.events(),
            devices=list(site.agents),
            start_ns=self._devices.start_ns,
            seen_ns={
                d: found.last_ns for (d, stream), found in zip(pairs, exports, strict=True) if stream == STREAMS[0]
            },
        )
        return replace(judge(results, lanes, exports), findings=findings)

    def _last_words(self, site: Site) -> list[dict[str, Any]]:
        """Stop the agents; what they say of themselves. What still waits in their spools is sent first."""
        for child in self._down:
            child.start()  # the end came in the middle of an outage
        agents = list(site.agents.values())
        told = [agent.stop_and_tell(_STOP_S) for agent in agents]
        waiting = [agent for agent, words in zip(agents, told, strict=True) if not words["drained"]]
        if waiting and self._settings.seconds is None:
            self._say("sending what still waits in the spools ...")
            for agent in waiting:
                agent.rewrite({"stream": [without_rows(agent.document["stream"])]})
                agent.start("--until-drained")
            drained = {agent.device: agent.result(_DRAIN_S) for agent in waiting}
            told = [drained.get(words["device"], words) for words in told]
        return told

    # ------------------------------------------------------------ the screen

    def _say(self, line: str) -> None:
        clear = "\r\x1b[K" if self._screen.isatty() else ""
        print(f"{clear}{line}", file=self._screen, flush=True)

    def _show(self, now: Snapshot, site: Site) -> None:
        per_value = "-" if now.bytes_per_value is None else f"{now.bytes_per_value:.2f}"
        note = f"  [{self._trouble}]" if self._trouble else ("" if now.cloud_answers else "  [the cloud is down]")
        line = (
            f"{self._elapsed_s():5.0f} s  {len(site.agents)} devices  sampled {now.sampled:,}  spooled {now.spooled:,}"
            f"  stored {now.stored:,}  pending {now.pending:,}  missing {now.missing:,}  {per_value} B/value{note}"
        )
        if self._screen.isatty():
            print(f"\r\x1b[K{line}", end="", file=self._screen, flush=True)
        else:
            print(line, file=self._screen, flush=True)

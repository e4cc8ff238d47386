import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trueline_sim.children import Child, ChildError, port_answers, run_to_end, wait_until
from trueline_sim.processes import Broker, BrokerKind, find_mosquitto

_SLEEP = "import time; print('up', flush=True); time.sleep(600)"


def _python(folder: Path, code: str) -> Child:
    return Child("child", [sys.executable, "-c", code], folder)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def test_start_kill_start_again(tmp_path: Path) -> None:
    """A child is killed with its whole group, and can be started again."""
    child = _python(tmp_path, _SLEEP)
    for _ in range(2):
        child.start()
        child.wait_ready(lambda: child.last_line() == "up")
        child.kill()
        assert child.exit_code == -signal.SIGKILL


def test_an_early_end_shows_the_log(tmp_path: Path) -> None:
    """The error about a child that ended before it was ready carries what it wrote."""
    child = _python(tmp_path, "raise SystemExit('no such sensor')")
    child.start()
    with pytest.raises(ChildError, match=r"exit code 1 before it was ready(.|\n)*no such sensor"):
        child.wait_ready(lambda: False)


def test_a_deaf_child_is_killed_and_named(tmp_path: Path) -> None:
    """A child that ignores SIGTERM is killed after the time given, and the error says so."""
    child = _python(tmp_path, "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + _SLEEP)
    child.start()
    child.wait_ready(lambda: child.last_line() == "up")
    with pytest.raises(ChildError, match="did not end within"):
        child.stop(timeout_s=0.2)
    assert not child.alive


def test_a_command_that_fails_shows_its_words(tmp_path: Path) -> None:
    """A command's exit code and stderr are in the error."""
    with pytest.raises(ChildError, match=r"exit code 3(.|\n)*broken"):
        run_to_end([sys.executable, "-c", "import sys; print('broken', file=sys.stderr); sys.exit(3)"], folder=tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_children_go_when_we_are_killed(tmp_path: Path) -> None:
    """A child does not outlive its starter, even one killed with -9."""
    code = (
        "import sys, time; from pathlib import Path; from trueline_sim.children import Child\n"
        f"c = Child('grandchild', [sys.executable, '-c', {_SLEEP!r}], Path({str(tmp_path)!r}))\n"
        "c.start(); c.wait_ready(lambda: c.last_line() == 'up'); print(c.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert _exists(pid)
        starter.kill()
    wait_until(lambda: not _exists(pid), "the grandchild to go", 10)


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_brokers_start_die_and_start_again(kind: BrokerKind, tmp_path: Path) -> None:
    """Both brokers answer on their port, are killed with -9, answer again on the same port, and stop in order."""
    if kind == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    broker = Broker(tmp_path, kind)
    broker.start()
    broker.kill()
    assert not port_answers(broker.port)
    broker.start()
    time.sleep(0.1)  # amqtt is still greeting the probe
    assert broker.stop() == 0

"""A broker in pure Python, for machines without mosquitto. For the demo only: no TLS, no passwords, loopback, no disk.

    python -m trueline_sim.amqtt_broker --port 1883

Promises: MQTT 3.1.1 on one loopback port until SIGTERM. Everything it holds is gone when it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal

from amqtt.broker import Broker

__all__ = ["main", "serve_forever"]


async def serve_forever(port: int) -> None:
    """Serve on 127.0.0.1:`port` until SIGTERM or SIGINT."""
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": 0}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await broker.start()
    try:
        await stopped.wait()
    finally:
        await broker.shutdown()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m trueline_sim.amqtt_broker", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1")
    port: int = parser.parse_args().port
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve_forever(port))


if __name__ == "__main__":
    main()

"""What can happen in a `World`: one function each, its choices taken from a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from delivery_fakes import CrashySpool, Fuse
from delivery_judge import demand
from delivery_world import CARDS_MAX, Agent, World

if TYPE_CHECKING:
    from collections.abc import Callable


class Action(NamedTuple):
    """Something that can happen, and how often. A core action is never left out of a run."""

    run: Callable[[World, Agent, int], None]
    weight: float
    is_core: bool = False


ACTIONS: dict[str, Action] = {}


def _action(weight: float, *, core: bool = False) -> Callable[[Callable[[World, Agent, int], None]], None]:
    def add(run: Callable[[World, Agent, int], None]) -> None:
        ACTIONS[run.__name__.strip("_")] = Action(run, weight, core)

    return add


@_action(20, core=True)
def _append(world: World, agent: Agent, pick: int) -> None:
    world.append(agent, pick)


@_action(30, core=True)
def _poll(world: World, agent: Agent, pick: int) -> None:
    world.poll(agent)


@_action(40, core=True)
def _deliver(world: World, agent: Agent, pick: int) -> None:
    for _ in range(1 + pick % 4):
        world.deliver_up(agent)


@_action(20, core=True)
def _commit(world: World, agent: Agent, pick: int) -> None:
    index = pick % 4 == 1
    world._ask_cloud(index, world.consumers[index].commit)


@_action(25, core=True)
def _hear(world: World, agent: Agent, pick: int) -> None:
    for _ in range(1 + pick % 3):
        world.deliver_down(agent)


@_action(8, core=True)
def _connect(world: World, agent: Agent, pick: int) -> None:
    world._connect(agent)


@_action(15, core=True)
def _wait(world: World, agent: Agent, pick: int) -> None:
    world.now += (0.02, 0.02, 0.3, 1.0, 3.0, 12.0, 70.0, 400.0)[pick % 8]


@_action(2)
def _disconnect(world: World, agent: Agent, pick: int) -> None:
    world._drop_connection(agent)


@_action(4)
def _drop_up(world: World, agent: Agent, pick: int) -> None:
    if agent.up:
        session, _ = agent.up[pick % len(agent.up)]
        del agent.up[pick % len(agent.up)]
        world._confirm(agent, session)


@_action(4)
def _duplicate_up(world: World, agent: Agent, pick: int) -> None:
    world.deliver_up(agent, pick, keep=True)


@_action(4)
def _reorder_up(world: World, agent: Agent, pick: int) -> None:
    world.deliver_up(agent, pick)


@_action(4)
def _drop_down(world: World, agent: Agent, pick: int) -> None:
    if agent.down:
        del agent.down[pick % len(agent.down)]


@_action(3)
def _shuffle_down(world: World, agent: Agent, pick: int) -> None:
    world.judge.causes.add((agent.device, "stale ack"))
    world.deliver_down(agent, pick // 2, keep=pick % 2 == 0)


@_action(4)
def _replay_up(world: World, agent: Agent, pick: int) -> None:
    if world.archive_up:
        world.arrive(*world.archive_up[pick % len(world.archive_up)])


@_action(3)
def _replay_down(world: World, agent: Agent, pick: int) -> None:
    if world.archive_down:
        device, message = world.archive_down[pick % len(world.archive_down)]
        if agent.device == device and agent.connected:
            world.judge.causes.add((device, "stale ack"))
            world._hear(agent, message)


@_action(2)
def _garble(world: World, agent: Agent, pick: int) -> None:
    if not world.archive_up or not world.archive_down:
        return
    device, message = world.archive_up[pick % len(world.archive_up)]
    at = pick * 7919 % len(message)
    broken = message[:at] + bytes([message[at] ^ (1 << pick % 8)]) + message[at + 1 :]
    for consumer in world.consumers:
        before = consumer.open_frames
        demand(consumer.received(device, broken) == [], "I11", "a garbled message is answered")
        demand(consumer.open_frames == before, "I11", "a garbled message is taken")
    device, message = world.archive_down[pick % len(world.archive_down)]
    at = pick * 7919 % len(message)
    broken = message[:at] + bytes([message[at] ^ (1 << pick % 8)]) + message[at + 1 :]
    before = [row[:6] for row in agent.spool.all_rows()]
    agent.sender.received(broken, world.now)
    demand([row[:6] for row in agent.spool.all_rows()] == before, "I11", "a garbled acknowledgement is believed")


@_action(1)
def _wipe_broker(world: World, agent: Agent, pick: int) -> None:
    for each in world.agents:
        if pick % 2:
            for session, _ in list(each.up):
                world._confirm(each, session)
        each.up.clear()
        each.down.clear()
        world._drop_connection(each)


@_action(3)
def _kill_agent(world: World, agent: Agent, pick: int) -> None:
    if pick % 3 == 0:
        world._restart(agent)
    else:
        agent.spool.fuse = Fuse("before" if pick % 3 == 1 else "after", sync_fails=pick % 4 == 0)


@_action(3)
def _kill_cloud(world: World, agent: Agent, pick: int) -> None:
    if pick % 4 == 0:
        world.consumers[pick // 4 % 2] = world._consumer(pick // 4 % 2)
    else:
        moments = ("before", "between", "after")
        world.store.fuse = Fuse(moments[pick % 4 - 1], sync_fails=pick // 4 % 4 == 0)


@_action(2)
def _rot(world: World, agent: Agent, pick: int) -> None:
    agent.spool.rot(pick)


@_action(1)
def _lose_row(world: World, agent: Agent, pick: int) -> None:
    agent.spool.lose_row(pick)


@_action(1)
def _throttle(world: World, agent: Agent, pick: int) -> None:
    for consumer in world.consumers:
        consumer.credit = (0, 1, 3, 64)[pick % 4]


@_action(2)
def _limit_spool(world: World, agent: Agent, pick: int) -> None:
    agent.spool.capacity = (4, 8, 16, 1 << 30)[pick % 4]


@_action(1)
def _fill_disk(world: World, agent: Agent, pick: int) -> None:
    agent.spool.is_full = pick % 3 != 0


@_action(1)
def _lose_schemas(world: World, agent: Agent, pick: int) -> None:
    if pick % 2:
        agent.spool.lose_schemas()
    if pick % 3 == 0:
        world.store.lose_schemas()


@_action(2)
def _copy_card(world: World, agent: Agent, pick: int) -> None:
    world.cards[agent.device].append(agent.spool.image)


@_action(1)
def _restore_card(world: World, agent: Agent, pick: int) -> None:
    images = world.cards[agent.device]
    image = images[pick % len(images)] if images and pick % 5 else CrashySpool(agent.device, world.judge).image
    world._drop_connection(agent)
    agent.spool.restore(image)
    world._restart(agent)


@_action(1)
def _clone_card(world: World, agent: Agent, pick: int) -> None:
    if len(world.agents) < CARDS_MAX:
        world.agents.append(world._agent(agent.device, agent.spool.clone()))


@_action(2)
def _copy_cloud(world: World, agent: Agent, pick: int) -> None:
    world.journals.append(world.store.image)


@_action(1)
def _restore_cloud(world: World, agent: Agent, pick: int) -> None:
    if world.journals:
        world.restore_cloud(pick)


@_action(3)
def _move_shard(world: World, agent: Agent, pick: int) -> None:
    world.owners[agent.device] = ({0}, {1}, {0, 1}, set())[pick % 4]


@_action(2)
def _misroute(world: World, agent: Agent, pick: int) -> None:
    for index, consumer in enumerate(world.consumers):
        if agent.up and index not in world.owners[agent.device]:
            before = consumer.open_frames
            demand(consumer.received(agent.device, agent.up[0][1]) == [], "I5", "a foreign shard is acknowledged")
            demand(consumer.open_frames == before, "I5", "a foreign shard is taken")


@_action(2)
def _fill_store(world: World, agent: Agent, pick: int) -> None:
    world.store.is_full = pick % 3 != 0


CALM: Final = [name for name, action in ACTIONS.items() if action.is_core]
"""What happens also on good days."""

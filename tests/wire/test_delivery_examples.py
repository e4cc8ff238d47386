"""One short case for each line of the two tables of delivery: what happens, and what is done."""

from __future__ import annotations

import pytest
from delivery_body import POISON, schemas_of
from delivery_desk import DEVICE, Desk
from delivery_fakes import CrashySpool, Fuse, Killed

from trueline_wire.control import AckCode
from trueline_wire.delivery import INSIGNIFICANT
from trueline_wire.envelope import Lane
from trueline_wire.errors import SpoolUnsafe
from trueline_wire.readings import Schema


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ---------------------------------------------------------------- sender


def test_append_opens_an_epoch_once_a_start(desk: Desk) -> None:
    """The first append after a start opens an epoch; rows, schema and checkpoint are one transaction."""
    desk.append(2)
    desk.append(3)
    desk.start()
    desk.append(1)
    first, second = desk.spool.epochs(Lane.DATA)
    assert (first.end, first.rows_end, second.end, second.rows_start, second.rows_end) == (3, 5, 2, 5, 6)
    assert desk.spool.checkpoint() == b"6"
    desk.spool.fuse = Fuse("before")
    with pytest.raises(Killed):
        desk.append(1)
    assert desk.spool.checkpoint() == b"6"


def test_only_the_oldest_epoch_is_sent(desk: Desk) -> None:
    """The next epoch is not sent before this one is drained."""
    desk.append(1)
    desk.start()
    desk.append(1)
    assert desk.sent() == ["OPEN 1", "DATA 2"]
    assert desk.sent() == []
    desk.acknowledge(2, epoch=0)
    assert desk.sent() == ["OPEN 1", "DATA 2"]
    assert [epoch.released for epoch in desk.spool.epochs(Lane.DATA)] == [True, False]


def test_the_window_opens_with_each_acknowledgement(desk: Desk) -> None:
    """Eight records are in flight at first, then one more for each that was acknowledged."""
    desk.append(*[1] * 40)
    assert len(desk.sent()) == 8
    desk.acknowledge(8)
    assert len(desk.sent()) == 16


def test_an_event_is_sent_before_the_backlog(desk: Desk) -> None:
    """A full window of data does not keep an event waiting."""
    desk.append(*[1] * 40)
    desk.sent()
    desk.append(1, lane=Lane.EVENT)
    transmits = desk.sender.poll(desk.now)
    assert [transmit.channel for transmit in transmits if transmit.channel != "control"] == ["event", "event"]


def test_a_corrupt_row_becomes_a_gap(desk: Desk) -> None:
    """Bit rot in the spool costs its rows, says so, and holds nothing else back."""
    desk.append(1, 2, 3)
    desk.spool.rot(2)
    assert desk.sent() == ["OPEN 1", "DATA 2", "GAP 3..3 corrupt", "DATA 4"]
    assert desk.sender.counts.rows_corrupt == 2


def test_a_full_spool_gives_up_the_oldest(desk: Desk) -> None:
    """What does not fit makes room by turning the oldest rows into one GAP that counts them."""
    desk.append(1, 2, 3)
    desk.spool.capacity = 4
    desk.append(4)
    assert desk.sent() == ["GAP 1..4 dropped", "DATA 5"]
    assert desk.sender.counts.rows_dropped == 6


def test_what_cannot_be_spooled_at_all_is_reported(desk: Desk) -> None:
    """Rows that found no room are counted as lost, and STATUS says so once an append has carried the count."""
    desk.append(1)
    desk.sent()
    desk.spool.is_full = True
    desk.append(7)
    assert desk.sender.counts.rows_lost == 7
    desk.now += 2
    assert desk.statuses() == []  # a crash would take the count back, and the rows might be sampled again
    desk.spool.is_full = False
    assert desk.sender.owes_append
    desk.sender.append([])
    assert desk.statuses() == []
    desk.now += 1
    assert [status.lost for status in desk.statuses()] == [{"spool_full": 7}]


def test_a_loss_is_reported_in_the_end_where_nothing_can_be_written(desk: Desk) -> None:
    """A disk that takes nothing for a minute may never again: the ledger hears of what was lost all the same."""
    desk.append(1)
    desk.sent()
    desk.spool.is_full = True
    desk.append(7)
    assert desk.statuses() == []
    desk.now += 60
    assert [status.lost for status in desk.statuses()] == [{"spool_full": 7}]


def test_a_loss_that_a_crash_took_back_was_not_told(desk: Desk) -> None:
    """Rows lost to a full disk and sampled again by the next start are stored, and not counted as lost beside it."""
    desk.append(1)
    desk.settle()
    desk.spool.is_full = True
    desk.append(7)
    desk.now += 2
    desk.settle()
    desk.spool.is_full = False
    desk.start()  # its checkpoint knows of no loss
    desk.append(7)
    desk.settle()
    assert desk.sender.drained
    assert desk.store.lane(DEVICE, Lane.DATA).lost == {}


def test_an_ack_of_another_epoch_is_ignored(desk: Desk) -> None:
    """Only the sending epoch can be acknowledged."""
    desk.append(1)
    desk.start()
    desk.append(1)
    desk.acknowledge(2, epoch=1)
    assert len(list(desk.spool.all_rows())) == 4


def test_an_ack_beyond_the_end_of_a_closed_epoch_takes_our_end(desk: Desk) -> None:
    """A restored card cannot be asked for rows it does not have; it goes on with what came after."""
    desk.append(1)
    desk.start()
    desk.acknowledge(7, epoch=0)
    assert desk.sender.drained


def test_an_ack_beyond_the_end_of_the_live_epoch_is_an_alarm(desk: Desk) -> None:
    """Nothing is deleted on the word of a cloud that knows more of our epoch than we do."""
    desk.append(1)
    desk.acknowledge(7)
    assert desk.sender.counts.alarms == {"twin": 1}
    assert len(list(desk.spool.all_rows())) == 2


def test_an_ack_deletes_what_it_names(desk: Desk) -> None:
    """Rows up to `last` leave the spool, and no other."""
    desk.append(1, 1, 1)
    desk.sent()
    desk.acknowledge(3)
    assert [row.first for row in desk.spool.all_rows()] == [4]
    assert desk.sender.counts.frames_acknowledged == 3


def test_a_gap_that_straddles_an_ack_is_trimmed(desk: Desk) -> None:
    """What is left of a GAP starts behind the number that was acknowledged."""
    desk.append(1, 1, 1)
    desk.spool.capacity = 4
    desk.append(1)
    desk.acknowledge(2)
    assert desk.sent() == ["GAP 3..4 dropped", "DATA 5"]


def test_an_ack_below_the_floor_is_answered_by_a_gap(desk: Desk) -> None:
    """A restored cloud is told which rows are gone."""
    desk.append(1, 1, 1)
    desk.acknowledge(3)
    desk.acknowledge(1)
    assert desk.sent() == ["GAP 2..3 forgotten", "DATA 4"]


def test_a_schema_is_sent_when_it_is_needed(desk: Desk) -> None:
    """SCHEMA goes out, and the frames that waited for it again behind it."""
    desk.append(1)
    desk.sent()
    desk.acknowledge(1, code=AckCode.NEED_SCHEMA, need=Schema.decode(schemas_of(DEVICE)[0]).hash)
    assert desk.sent() == ["SCHEMA", "DATA 2"]


def test_frames_whose_schema_is_lost_become_a_gap(desk: Desk) -> None:
    """Nobody will ever read them: the ledger says why."""
    desk.append(1, 1)
    desk.append(1, schema=1)
    desk.spool.lose_schemas()
    desk.acknowledge(1, code=AckCode.NEED_SCHEMA, need=Schema.decode(schemas_of(DEVICE)[0]).hash)
    assert desk.sent() == ["GAP 2..3 schema_lost", "DATA 4"]


def test_an_ack_without_progress_rewinds_once_a_round_trip(desk: Desk) -> None:
    """What is in flight is sent again when the cloud still stands at the floor, each time after twice the wait."""
    desk.append(1, 1, 1)
    desk.sent()
    desk.now += 1
    desk.acknowledge(2)
    assert desk.sent() == []
    desk.acknowledge(2)
    assert desk.sent() == ["DATA 3", "DATA 4"]
    desk.now += 1.5
    desk.acknowledge(2)
    assert desk.sent() == []
    desk.now += 1
    desk.acknowledge(2)
    assert desk.sent() == ["DATA 3", "DATA 4"]


def test_a_timeout_starts_over_with_one_record_and_more_patience(desk: Desk) -> None:
    """The timer starts when the link has handed the message over, and doubles each time it runs out."""
    desk.append(1, 1, 1)
    desk.sent()
    desk.sender.confirmed(desk.now)
    desk.now += 2.1
    assert desk.sent() == ["OPEN 1"]
    desk.sender.confirmed(desk.now)
    desk.now += 2.1
    assert desk.sent() == []
    desk.now += 2.5
    assert desk.sent() == ["OPEN 1"]
    assert desk.sender.counts.timeouts == 2


def test_a_reconnect_says_status_and_sends_from_the_floor(desk: Desk) -> None:
    """Nothing that was in flight is believed to have arrived."""
    desk.append(1, 1)
    desk.sent()
    desk.acknowledge(1)
    desk.sender.disconnected()
    assert desk.sent() == []
    desk.sender.connected(desk.now)
    first, *rest = desk.sender.poll(desk.now)
    assert first.channel == "control"
    assert [desk.say(transmit.message) for transmit in rest] == ["DATA 2", "DATA 3"]


def test_status_is_repeated_every_minute(desk: Desk) -> None:
    """An idle device is heard too."""
    desk.append(1)
    desk.settle()
    desk.now += 61
    (status,) = desk.statuses()
    assert [(epoch.end, epoch.rows_end) for epoch in status.epochs] == [(2, 1)]
    assert desk.statuses() == []


@pytest.mark.parametrize("code", [AckCode.BUSY, AckCode.REFUSED, AckCode.NOT_OWNER])
def test_a_held_sender_probes_with_one_record(desk: Desk, code: AckCode) -> None:
    """It deletes nothing, sends one record a back-off, and goes on at the first good word."""
    desk.append(1, 1, 1)
    desk.sent()
    desk.acknowledge(0, code=code)
    assert desk.sent() == []
    desk.now += 2.3
    assert desk.sent() == ["OPEN 1"]
    desk.now += 2.3
    assert desk.sent() == []
    assert len(list(desk.spool.all_rows())) == 4
    desk.acknowledge(1)
    assert desk.sent() == ["DATA 2", "DATA 3", "DATA 4"]
    assert desk.sender.counts.alarms == ({"refused": 1} if code is AckCode.REFUSED else {})


def test_another_journal_cannot_acknowledge(desk: Desk) -> None:
    """The device pins the journal that answered first; another cloud raises an alarm and deletes nothing."""
    desk.append(1)
    desk.acknowledge(1)
    desk.acknowledge(2, journal=b"another1")
    assert desk.sender.counts.alarms == {"journal": 1}
    assert len(list(desk.spool.all_rows())) == 1


# ---------------------------------------------------------------- receiver


def test_what_is_not_authentic_has_no_effect(desk: Desk) -> None:
    """No answer, no advance, a count."""
    desk.append(1)
    message = desk.poll()[0]
    assert desk.arrive(message[:-1] + bytes([message[-1] ^ 1])) == []
    assert desk.receiver.received("pump-8", message) == []
    assert (desk.receiver.counts.not_authentic, desk.receiver.open_frames) == (2, 0)


def test_another_shard_is_not_answered(desk: Desk) -> None:
    """Dropped, and never acknowledged."""
    desk.append(1)
    desk.serve(owns=lambda _: False)
    assert desk.arrive(*desk.poll()) == []
    assert desk.commit() == []


def test_frames_are_acknowledged_after_their_commit(desk: Desk) -> None:
    """No word before it, then one for the lane."""
    desk.append(2, 3)
    desk.settle()
    desk.append(4)
    assert desk.arrive(*desk.poll()) == []
    (ack,) = desk.commit()
    assert (ack.last, ack.code) == (4, AckCode.OK)
    assert desk.stored() == list(range(9))


def test_a_frame_without_its_schema_asks_for_it(desk: Desk) -> None:
    """The lane waits, and names what it waits for."""
    desk.append(1)
    (reply,) = desk.arrive(*desk.poll())
    assert (reply.ack.code, reply.ack.need) == (AckCode.NEED_SCHEMA, Schema.decode(schemas_of(DEVICE)[0]).hash)
    desk.settle()
    assert desk.stored() == []


def test_what_cannot_be_decoded_is_kept_aside(desk: Desk) -> None:
    """A poison frame takes its place in the lane and holds nothing back."""
    desk.append(1)
    desk.append(2, mark=POISON)
    desk.append(3)
    desk.sender.connected(desk.now)
    desk.sender.received(desk.arrive(*desk.poll())[0].message, desk.now)
    desk.settle()
    assert desk.stored() == [0, 3, 4, 5]
    assert desk.receiver.counts.quarantined == 1
    assert desk.epochs()[0].rows == 6


def test_a_frame_that_killed_the_process_is_kept_aside_undecoded(desk: Desk) -> None:
    """It is not looked into a third time."""
    desk.append(1)
    desk.settle()
    desk.append(2)
    assert desk.receiver.poison(DEVICE, desk.poll()[-1], "killed the process twice") == []
    desk.commit()
    assert (desk.receiver.counts.quarantined, desk.epochs()[0].last) == (1, 3)


def test_frames_before_their_turn_wait(desk: Desk) -> None:
    """Records that overtook another are taken once it has come, and need not be sent again."""
    desk.append(1)
    desk.settle()
    desk.append(1, 1, 1)
    second, third, fourth = desk.poll()
    assert [reply.ack.last for reply in desk.arrive(third, fourth)] == [2, 2]
    assert desk.arrive(second) == []
    (ack,) = desk.commit()
    assert ack.last == 5


def test_a_stray_record_is_not_answered_while_a_group_is_open(desk: Desk) -> None:
    """The commit will answer; afterwards a duplicate is told where the lane stands."""
    desk.append(1)
    desk.settle()
    desk.append(1)
    (message,) = desk.poll()
    assert desk.arrive(message, message) == []
    desk.commit()
    (reply,) = desk.arrive(message)
    assert reply.ack.last == 3


def test_an_answer_that_stays_the_same_is_signed_once(desk: Desk) -> None:
    """Records that come again and again get the answer there is; a lane that has moved gets another."""
    desk.append(1)
    desk.settle()
    desk.append(1)
    (message,) = desk.poll()
    desk.arrive(message)
    desk.commit()
    first, *others = desk.arrive(message, message, message)
    assert [reply is first for reply in others] == [True, True]
    desk.append(1)
    desk.settle()
    (moved,) = desk.arrive(message)
    assert (first.ack.last, moved.ack.last) == (3, 4)


def test_the_lane_is_read_again_after_another_consumer(desk: Desk) -> None:
    """A consumer that comes back answers with what the other one has committed since."""
    desk.append(1)
    desk.settle()
    before = desk.receiver
    desk.serve()
    desk.append(1, 1)
    messages = desk.poll()
    desk.arrive(*messages)
    desk.commit()
    desk.receiver = before
    (reply,) = desk.arrive(messages[-1])
    assert reply.ack.last == 4


def test_of_two_consumers_one_commits(desk: Desk) -> None:
    """The other drops its group, says nothing, and reads the lane again."""
    desk.append(1)
    desk.settle()
    desk.append(1)
    (message,) = desk.poll()
    one, two = desk.receiver, desk.serve()
    one.received(DEVICE, message)
    two.received(DEVICE, message)
    assert [reply.ack.last for reply in one.commit()] == [3]
    assert two.commit() == []
    assert two.counts.conflicts == 1
    assert [reply.ack.last for reply in two.received(DEVICE, message)] == [3]


def test_a_full_journal_answers_busy_and_loses_nothing(desk: Desk) -> None:
    """The group is dropped, the device holds, and all of it comes again."""
    desk.append(1)
    desk.settle()
    desk.append(2)
    desk.arrive(*desk.poll())
    desk.store.is_full = True
    (ack,) = desk.commit()
    assert (ack.code, ack.last) == (AckCode.BUSY, 2)
    desk.store.is_full = False
    desk.now += 2.5
    desk.settle()
    assert desk.stored() == [0, 1, 2]


def test_a_failed_sync_ends_the_process(desk: Desk) -> None:
    """Nothing is acknowledged on the word of a disk that broke it."""
    desk.append(1)
    desk.arrive(*desk.poll())
    desk.store.fuse = Fuse("after", sync_fails=True)
    with pytest.raises(SpoolUnsafe):
        desk.commit()


def test_an_idle_device_heals_a_restored_cloud(desk: Desk) -> None:
    """STATUS alone shows what the older copy of the journal does not have: it becomes a gap."""
    desk.append(1)
    desk.settle()
    older = desk.store.image
    desk.append(2, 3)
    desk.settle()
    desk.start()
    desk.append(1)
    desk.settle()
    desk.store.restore(older)
    desk.serve()
    desk.now += 61
    desk.settle()
    first, second = desk.epochs()
    assert (first.last, first.end, first.rows, second.last, second.rows) == (4, 4, 6, 2, 7)
    assert desk.stored() == [0]


def test_a_restored_card_is_an_alarm_and_its_lost_tail_an_orphan(desk: Desk) -> None:
    """The card knows less of an epoch than the cloud has heard of: nothing new is acknowledged away."""
    desk.append(1)
    older = desk.spool.image
    desk.append(2)
    desk.settle()
    desk.append(3)
    desk.statuses()
    desk.now += 61
    for status in desk.statuses():
        desk.arrive(status.seal(desk.keys.signer(DEVICE)))
    desk.commit()
    desk.spool.restore(older)
    desk.start()
    desk.append(4)
    desk.settle()
    first, second = desk.epochs()
    assert (first.last, first.end, first.head, first.orphaned) == (3, 2, 4, True)
    assert desk.store.lane(DEVICE, Lane.DATA).alarms
    assert (second.last, desk.stored()) == (2, [0, 1, 2, 6, 7, 8, 9])


def test_a_cloned_card_is_an_alarm(desk: Desk) -> None:
    """Two epochs with one parent cannot come from one card; both are stored."""
    desk.append(1)
    desk.settle()
    clone = desk.spool.clone()
    desk.start()
    desk.append(2)
    desk.settle()
    desk.spool = clone
    desk.start()
    desk.append(3)
    desk.settle()
    assert desk.store.lane(DEVICE, Lane.DATA).alarms == {"restored_or_cloned": 1}
    assert desk.stored() == list(range(6))


def test_a_blank_card_is_an_alarm(desk: Desk) -> None:
    """A second root cannot come from the card that was there before."""
    desk.append(1)
    desk.settle()
    desk.spool.restore(CrashySpool(DEVICE, desk.judge).image)
    desk.start()
    desk.append(1)
    desk.settle()
    assert desk.store.lane(DEVICE, Lane.DATA).alarms == {"restored_or_cloned": 1}


def test_a_restored_cloud_raises_no_alarm(desk: Desk) -> None:
    """It may hear of a later epoch before its parent; that is no fork."""
    older = desk.store.image
    desk.append(1)
    desk.start()
    desk.append(1)
    desk.settle()
    desk.append(1)
    desk.store.restore(older)
    desk.serve()
    desk.settle()
    desk.now += 61
    desk.settle()
    assert desk.store.lane(DEVICE, Lane.DATA).alarms == {}
    assert [(epoch.last, epoch.rows) for epoch in desk.epochs()] == [(3, 3), (2, 1)]


def test_losses_before_the_spool_reach_the_ledger(desk: Desk) -> None:
    """What the agent lost before it could promise anything is in STATUS, and then in the lane."""
    desk.append(1)
    desk.sender.append([], lost={"overrun": 5})
    desk.settle()
    assert desk.store.lane(DEVICE, Lane.DATA).lost == {"overrun": 5}


def test_a_sender_is_not_drained_before_the_ledger_has_heard_of_its_losses(desk: Desk) -> None:
    """All frames acknowledged is not enough: a loss is told at once, told again, and then acknowledged itself."""
    desk.append(1)
    desk.settle()
    assert desk.sender.drained
    desk.sender.append([], lost={"overrun": 5})
    assert not desk.sender.drained
    assert desk.poll() == []  # losses of one second travel together
    desk.now += 1
    assert [status.lost for status in desk.statuses()] == [{"overrun": 5}]  # and on its way it is lost
    desk.acknowledge(2)
    assert not desk.sender.drained
    desk.now += 6
    desk.settle()
    assert desk.sender.drained
    assert desk.store.lane(DEVICE, Lane.DATA).lost == {"overrun": 5}


def test_a_restarted_sender_tells_its_losses_again(desk: Desk) -> None:
    """What was lost just before a stop is told by the next start, even where no frame is left to send."""
    desk.append(1)
    desk.settle()
    desk.start(lost={"spool_full": 9})
    assert not desk.sender.drained
    desk.settle()
    assert desk.sender.drained
    assert desk.store.lane(DEVICE, Lane.DATA).lost == {"spool_full": 9}


def test_rows_left_out_on_purpose_are_told_without_hurry(desk: Desk) -> None:
    """Insignificant rows cost no STATUS of their own and hold nobody up; the next one tells them."""
    desk.append(1)
    desk.settle()
    desk.sender.append([], lost={INSIGNIFICANT: 100})
    assert desk.sender.drained
    desk.now += 6
    assert desk.statuses() == []
    desk.now += 60
    assert {status.lost.get(INSIGNIFICANT) for status in desk.statuses() if status.lane is Lane.DATA} == {100}
    desk.settle()
    desk.sender.append([], lost={INSIGNIFICANT: 5})
    desk.sender.tell_losses()
    assert not desk.sender.drained
    desk.settle()
    desk.now += 1
    desk.settle()
    assert desk.sender.drained
    assert desk.store.lane(DEVICE, Lane.DATA).lost == {INSIGNIFICANT: 105}


def test_many_starts_without_a_link_all_arrive(desk: Desk) -> None:
    """Seventy epochs, more than an OPEN names, are stored in order and raise no alarm."""
    for _ in range(70):
        desk.start()
        desk.append(1)
    desk.settle()
    assert desk.stored() == list(range(70))
    assert desk.store.lane(DEVICE, Lane.DATA).alarms == {}

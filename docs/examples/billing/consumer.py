#!/usr/bin/env python3
"""Adds up what each tenant was charged: `consumer.py NATS_URL DATABASE`, with its credentials in NATS_USER and NATS_PASSWORD. Needs
nats-py. It can be killed at any time and started again: what it has counted and how far it has come are written together."""
import asyncio
import json
import os
import sqlite3
import sys
from asyncio import TimeoutError as NothingNew  # nats-py's own is a subclass of it

import nats
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError

CHARGES = {"budget.settled.v1": "charged_usd", "budget.expired.v1": "charged_usd", "budget.adjusted.v1": "delta_usd"}
BATCH, SECONDS = 200, 2
TABLES = """
    CREATE TABLE IF NOT EXISTS charged (tenant_id TEXT PRIMARY KEY, nano_usd INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS progress (position INTEGER NOT NULL, recorded_at TEXT NOT NULL);
    INSERT INTO progress SELECT 0, '' WHERE NOT EXISTS (SELECT * FROM progress);
"""
ADD = """
    INSERT INTO charged VALUES (?, ?)
    ON CONFLICT (tenant_id) DO UPDATE SET nano_usd = nano_usd + excluded.nano_usd
"""


def nano_usd(dollars):
    """A string such as "-0.000123000", as an integer: floats would lose money."""
    whole, fraction = dollars.removeprefix("-").split(".")
    nanos = int(whole) * 1_000_000_000 + int(fraction)
    return -nanos if dollars.startswith("-") else nanos


def count(database, messages):
    """Counts the messages that are next, in one transaction. Returns the position that it has come to, and when that was recorded."""
    with database:
        # Before it reads the position: another process may count as well.
        database.execute("BEGIN IMMEDIATE")
        position, recorded_at = database.execute("SELECT position, recorded_at FROM progress").fetchone()
        # Messages that are delivered again may come in any order.
        for message in sorted(messages, key=lambda message: message.metadata.sequence.stream):
            sequence = message.metadata.sequence.stream
            if sequence != position + 1:
                continue  # it came before, or comes too early
            event = json.loads(message.data)
            position, recorded_at = sequence, event["recorded_at"]
            if charge := CHARGES.get(event["type"]):
                database.execute(ADD, (event.get("tenant_id", "-"), nano_usd(event["data"][charge])))
        database.execute("UPDATE progress SET position = ?, recorded_at = ?", (position, recorded_at))
    return position, recorded_at


async def message_at(jetstream, position):
    """A message of the stream; None if it has none there."""
    try:
        return await jetstream.get_msg("LEDGERWAY", position)
    except NotFoundError:
        return None


async def must_go_on(jetstream, position, recorded_at):
    """Ends the program if the stream does not go on where it has come to."""
    last = (await jetstream.stream_info("LEDGERWAY")).state.last_seq
    if position > last:
        sys.exit(f"the stream ends at message {last}, before {position}, which was counted: it is filled again, or the log was restored")
    # It may have been removed since it was counted.
    if position > 0 and (counted := await message_at(jetstream, position)) and json.loads(counted.data)["recorded_at"] != recorded_at:
        sys.exit(f"message {position} is not the one that was counted, but another: the log was restored, so count again from the first")
    if position < last and await message_at(jetstream, position + 1) is None:
        sys.exit(f"the stream has lost message {position + 1}, which is the next to be counted: read what is missing from /v1/events")


async def main(url, path):
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(TABLES)
    user, password = os.environ.get("NATS_USER"), os.environ.get("NATS_PASSWORD")
    connection = await nats.connect(url, user=user, password=password, max_reconnect_attempts=-1)
    jetstream = connection.jetstream()
    await must_go_on(jetstream, *count(database, []))
    # Everything, and not only what is charged: positions have no gap, so that a missing one would be noticed.
    config = ConsumerConfig(ack_wait=SECONDS, max_ack_pending=BATCH)
    subscription = await jetstream.pull_subscribe("ledgerway.events.>", durable="billing-python", stream="LEDGERWAY", config=config)
    # Read before the position is: another process may count as well.
    acknowledged = (await subscription.consumer_info()).ack_floor.stream_seq
    if acknowledged > count(database, [])[0]:
        next_given = acknowledged + 1
        sys.exit(f"NATS gives out nothing before message {next_given} any more, and it is not counted: delete the consumer billing-python")
    while True:
        try:
            messages = await subscription.fetch(BATCH, timeout=SECONDS)
        except NothingNew:
            messages = []
        position, recorded_at = count(database, messages)
        for message in messages:
            if message.metadata.sequence.stream > position:
                # One before it was given to a process that was killed, and comes again.
                await message.nak(delay=SECONDS)
            else:
                # Only now, when it is written; and NATS confirms that it knows.
                await message.ack_sync(timeout=SECONDS)
        if not messages or any(message.metadata.sequence.stream > position for message in messages):
            await must_go_on(jetstream, position, recorded_at)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

#!/usr/bin/env python3
"""Adds up what each tenant was charged: `consumer.py NATS_URL DATABASE`, with its credentials in NATS_USER and NATS_PASSWORD. Needs
nats-py. It can be killed at any time and started again: what it has counted and how far it has come are written together."""
import asyncio
import json
import os
import sqlite3
import sys
from asyncio import TimeoutError as NoAnswer  # nats-py's own is a subclass of it

import nats
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError

CHARGES = {"budget.settled.v1": "charged_usd", "budget.expired.v1": "charged_usd", "budget.adjusted.v1": "delta_usd"}
BATCH, SECONDS = 200, 2
# The durable consumer, in which NATS keeps what is acknowledged. Each database needs one of its own.
CONSUMER = "billing-python"
OTHER_LOG = "message {} is not the one that was counted: the log was restored, so count again (see docs/billing.md)"
NO_AMOUNT = "message {} has no amount: NATS did not take all of its event (see docs/billing.md)"
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
    """Counts the messages that are next, in one transaction. Returns its position, and when that was recorded."""
    with database:
        # Before it reads the position: another process may count as well.
        database.execute("BEGIN IMMEDIATE")
        position, recorded_at = database.execute("SELECT position, recorded_at FROM progress").fetchone()
        # Messages that are delivered again may come in any order.
        for message in sorted(messages, key=lambda message: message.metadata.sequence.stream):
            sequence, event = message.metadata.sequence.stream, json.loads(message.data)
            if sequence == position and event["recorded_at"] != recorded_at:
                sys.exit(OTHER_LOG.format(position))
            if sequence != position + 1:
                continue  # it came before, or comes too early
            position, recorded_at = sequence, event["recorded_at"]
            if charge := CHARGES.get(event["type"]):
                if "data" not in event:
                    sys.exit(NO_AMOUNT.format(sequence))
                database.execute(ADD, (event.get("tenant_id", "-"), nano_usd(event["data"][charge])))
        database.execute("UPDATE progress SET position = ?, recorded_at = ?", (position, recorded_at))
    return position, recorded_at


async def event_at(jetstream, position):
    """An event of the stream; None if it has none there."""
    try:
        return json.loads((await jetstream.get_msg("LEDGERWAY", position)).data)
    except NotFoundError:
        return None


async def check_continuity(jetstream, subscription, database):
    """Ends the program unless the stream, and what NATS delivers of it, continues from its position."""
    # Read before our position, because another process may count meanwhile; and the stream's end after it.
    acknowledged = (await subscription.consumer_info()).ack_floor.stream_seq
    position, recorded_at = count(database, [])
    last = (await jetstream.stream_info("LEDGERWAY")).state.last_seq
    if position > last:
        sys.exit(f"the stream ends at message {last}, before {position}, which was counted: it is filled again, or the log was restored")
    # It may have been removed since it was counted.
    if position > 0 and (event := await event_at(jetstream, position)) and event["recorded_at"] != recorded_at:
        sys.exit(OTHER_LOG.format(position))
    if position < last and await event_at(jetstream, position + 1) is None:
        sys.exit(f"the stream has lost message {position + 1}, which is the next to be counted: read what is missing from /v1/events")
    if acknowledged > position:
        sys.exit(f"NATS delivers nothing before message {acknowledged + 1} any more, and not all of that is counted here: another "
                 f"database uses the consumer {CONSUMER}, or this one is empty or an older copy (see docs/billing.md)")


def line_of(error):
    return f"NATS: {str(error) or 'no answer in time'}"


async def say(error):
    print(line_of(error), file=sys.stderr)


async def main(url, path):
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(TABLES)
    user, password = os.environ.get("NATS_USER"), os.environ.get("NATS_PASSWORD")
    # If the connection breaks, the program ends and is started again.
    connection = await nats.connect(url, user=user, password=password, error_cb=say, allow_reconnect=False)
    jetstream = connection.jetstream()
    # Everything, and not only what is charged: positions have no gap, so that a missing one would be noticed.
    config = ConsumerConfig(ack_wait=SECONDS, max_ack_pending=BATCH)
    subscription = await jetstream.pull_subscribe("ledgerway.events.>", durable=CONSUMER, stream="LEDGERWAY", config=config)
    await check_continuity(jetstream, subscription, database)
    while True:
        try:
            messages = await subscription.fetch(BATCH, timeout=SECONDS)
        except NoAnswer:
            messages = []
        position, _ = count(database, messages)
        for message in messages:
            if message.metadata.sequence.stream > position:
                # One before it was given to a process that was killed, and comes again.
                await message.nak(delay=SECONDS)
            else:
                # Only now, when it is written; and NATS confirms that it knows.
                await message.ack_sync(timeout=SECONDS)
        if not messages or any(message.metadata.sequence.stream > position for message in messages):
            await check_continuity(jetstream, subscription, database)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: consumer.py NATS_URL DATABASE")
    try:
        asyncio.run(main(*sys.argv[1:]))
    except (nats.errors.Error, OSError, NoAnswer) as error:
        sys.exit(line_of(error))

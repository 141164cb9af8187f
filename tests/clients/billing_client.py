"""Streams from which messages were removed, and the consumer of docs/billing.md: it has counted what was before them, and ends with
the position that is missing, at a message that is not the one that it has counted, or where NATS delivers nothing more of what it has
to count. `billing_client.py NATS_URL FOLDER CONSUMER`."""
import asyncio
import importlib.util
import json
import re
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nats
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

STREAM, SUBJECT = "LEDGERWAY", "ledgerway.events.ledger.budget.settled.v1.-"
CHARGED = {"type": "budget.settled.v1", "data": {"charged_usd": "0.000000001"}}
BEFORE, AFTER = "2026-11-20T08:15:30.123456Z", "2026-11-21T10:00:00.000001Z"
SOON_SECONDS = 20


def ask(path, sql):
    database = sqlite3.connect(path)
    try:
        return database.execute(sql).fetchone()
    except sqlite3.OperationalError:
        return None  # it has no tables yet
    finally:
        database.close()


async def until(is_so, what):
    """Waits for what the consumer does while it runs."""
    deadline = time.monotonic() + SOON_SECONDS
    while not await is_so():
        if time.monotonic() > deadline:
            sys.exit(f"not within {SOON_SECONDS} s: {what}")
        await asyncio.sleep(0.05)


async def until_counted(path, messages):
    async def has_counted():
        return ask(path, "SELECT position, nano_usd FROM progress, charged") == (messages, messages)
    await until(has_counted, f"{messages} messages are counted")


async def make_stream(jetstream, messages):
    """One that can lose messages, unlike that of the gateway."""
    await jetstream.add_stream(StreamConfig(name=STREAM, subjects=["ledgerway.events.>"]))
    await publish(jetstream, messages)


async def publish(jetstream, messages, recorded_at=BEFORE):
    for _ in range(messages):
        await jetstream.publish(SUBJECT, json.dumps(CHARGED | {"recorded_at": recorded_at}).encode())


async def last_words(consumer):
    """What it says, after it has ended by itself."""
    deadline = time.monotonic() + SOON_SECONDS
    while consumer.poll() is None and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    consumer.kill()
    said = consumer.communicate()[1]
    if consumer.returncode != 1:
        sys.exit(f"{consumer.returncode}: {said}")
    return said


async def of_its_end(consumer, path):
    """The position that it says is missing."""
    said = await last_words(consumer)
    lost = re.search(r"the stream has lost message (\d+)", said)
    if lost is None:
        sys.exit(said)
    missing = int(lost[1])
    counted = ask(path, "SELECT position, nano_usd FROM progress, charged")
    if counted != (missing - 1, missing - 1):
        sys.exit(f"{missing} is missing, and it has counted {counted}")
    return missing


async def hole(jetstream, start, path):
    await make_stream(jetstream, 20)
    await jetstream.delete_msg(STREAM, 7)
    if (missing := await of_its_end(start(), path)) != 7:
        sys.exit(f"it says {missing}, and 7 is missing")


async def removed_front(jetstream, start, path):
    await make_stream(jetstream, 10)
    consumer = start()
    await until_counted(path, 10)
    # It cannot write what it gets now, so it does not ask for more, and the rest is removed before.
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    await publish(jetstream, 290)
    await jetstream.purge_stream(STREAM, seq=251)
    lock.execute("ROLLBACK")
    lock.close()
    await of_its_end(consumer, path)


async def must_say(consumer, words, path):
    said = await last_words(consumer)
    if words not in said or ask(path, "SELECT position, nano_usd FROM progress, charged") != (10, 10):
        sys.exit(f"{words!r} is not what it says and does: {said}")


def must_be_of_nats(said):
    """What went wrong with NATS, in lines of their own, and no traceback."""
    lines = said.splitlines()
    if not lines or not all(line.removeprefix("NATS: ") not in (line, "") for line in lines):
        sys.exit(said)


async def restored(jetstream, start, path):
    """The stream is made again, of a log that was restored to an earlier position."""
    await make_stream(jetstream, 10)
    consumer = start()
    await until_counted(path, 10)
    # It runs on, and then it is started again.
    await jetstream.delete_stream(STREAM)
    await make_stream(jetstream, 6)
    said = await last_words(consumer)
    # Where the new stream ends, or that NATS has ended its consumer.
    if "ends at message 6, before 10" not in said:
        must_be_of_nats(said)
    await must_say(start(), "ends at message 6, before 10", path)
    await publish(jetstream, 4, AFTER)
    await must_say(start(), "message 10 is not the one", path)
    await publish(jetstream, 4, AFTER)
    await must_say(start(), "message 10 is not the one", path)


def close_with_an_error(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def not_nats(program, path):
    """What is at the address takes connections and closes them, in one way or the other, or says nothing."""
    for reply in (asyncio.StreamWriter.close, close_with_an_error, lambda writer: None):
        async def answer(_, writer):
            reply(writer)
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        must_be_of_nats(await last_words(start(program, f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", path)))
        server.close()


def message(sequence, recorded_at):
    metadata = SimpleNamespace(sequence=SimpleNamespace(stream=sequence))
    return SimpleNamespace(metadata=metadata, data=json.dumps(CHARGED | {"recorded_at": recorded_at}))


def comes_again(program, path):
    """A message that was counted may come again; one with its position and other content is of another log."""
    spec = importlib.util.spec_from_file_location("consumer", program)
    consumer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(consumer)
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(consumer.TABLES)
    consumer.count(database, [message(1, BEFORE), message(2, BEFORE)])
    consumer.count(database, [message(2, BEFORE), message(1, BEFORE)])
    try:
        consumer.count(database, [message(1, AFTER), message(2, AFTER), message(3, AFTER)])
        sys.exit("it counts on where message 2 has other content")
    except SystemExit as ended:
        if "message 2 is not the one" not in str(ended) or ask(path, "SELECT position, nano_usd FROM progress, charged") != (2, 2):
            sys.exit(f"{ended}: {ask(path, 'SELECT position, nano_usd FROM progress, charged')}")


async def forgotten(jetstream, start, path):
    """Its database is lost, and NATS knows what was acknowledged."""
    await make_stream(jetstream, 10)
    consumer = start()
    await until(lambda: has_acknowledged(jetstream, 10), "NATS knows that 10 messages are counted")
    consumer.kill()
    consumer.wait()
    Path(path).unlink()
    said = await last_words(start())
    if "nothing before message 11" not in said:
        sys.exit(said)
    await jetstream.delete_consumer(STREAM, "billing-python")
    consumer = start()
    await until_counted(path, 10)
    consumer.kill()
    consumer.wait()


async def has_acknowledged(jetstream, messages):
    try:
        return (await jetstream.consumer_info(STREAM, "billing-python")).ack_floor.stream_seq >= messages
    except NotFoundError:
        return False  # it is not there yet


def start(program, url, path):
    return subprocess.Popen([sys.executable, program, url, path], stderr=subprocess.PIPE, text=True)


async def main(url, folder, program):
    comes_again(program, str(Path(folder, "again.db")))
    await not_nats(program, str(Path(folder, "not_nats.db")))
    connection = await nats.connect(url)
    jetstream = connection.jetstream()
    for case in (hole, removed_front, restored, forgotten):
        path = str(Path(folder, f"{case.__name__}.db"))
        await case(jetstream, lambda: start(program, url, path), path)
        await jetstream.delete_stream(STREAM)
    await connection.close()


asyncio.run(main(*sys.argv[1:]))

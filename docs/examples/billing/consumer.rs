//! Adds up what each tenant was charged: `consumer NATS_URL DATABASE`, with its credentials in `NATS_USER` and `NATS_PASSWORD`. It
//! can be killed at any time and started again: what it has counted and how far it has come are written together.

use std::error::Error;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, AckKind, Message};
use futures_util::StreamExt;
use rusqlite::{Connection, TransactionBehavior, params};
use serde_json::Value;

type Failure = Box<dyn Error + Send + Sync>;

const BATCH: usize = 200;
const WAIT: Duration = Duration::from_secs(2);
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS charged (tenant_id TEXT PRIMARY KEY, nano_usd INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS progress (position INTEGER NOT NULL);
    INSERT INTO progress SELECT 0 WHERE NOT EXISTS (SELECT * FROM progress);";
const ADD: &str = "
    INSERT INTO charged VALUES (?1, ?2)
    ON CONFLICT (tenant_id) DO UPDATE SET nano_usd = nano_usd + excluded.nano_usd";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: consumer NATS_URL DATABASE".into());
    };
    let mut database = Connection::open(path)?;
    database.execute_batch(TABLES)?;
    // The library takes no credentials from the address.
    let client = match (std::env::var("NATS_USER"), std::env::var("NATS_PASSWORD")) {
        (Ok(user), Ok(password)) => ConnectOptions::with_user_and_password(user, password).connect(url).await?,
        _ => async_nats::connect(url).await?,
    };
    let stream = jetstream::new(client).get_stream("LEDGERWAY").await?;
    must_have(&stream, count(&mut database, &[])? + 1).await?;
    // Everything, and not only what is charged: positions have no gap, so that a missing one would be noticed.
    let config = pull::Config {
        durable_name: Some("billing-rust".to_owned()),
        ack_wait: WAIT,
        max_ack_pending: i64::try_from(BATCH)?,
        ..pull::Config::default()
    };
    let consumer = stream.get_or_create_consumer("billing-rust", config).await?;
    loop {
        let mut batch = consumer.fetch().max_messages(BATCH).expires(WAIT).messages().await?;
        let mut messages = Vec::new();
        while let Some(message) = batch.next().await {
            messages.push(message?);
        }
        // Messages that are delivered again may come in any order.
        messages.sort_by_key(|message| message.info().map_or(0, |info| info.stream_sequence));
        let position = count(&mut database, &messages)?;
        let mut has_early = false;
        for message in &messages {
            if message.info()?.stream_sequence > position {
                has_early = true;
                // One before it was given to a process that was killed, and comes again.
                message.ack_with(AckKind::Nak(Some(WAIT))).await?;
            } else {
                // Only now, when it is written; and NATS confirms that it knows.
                message.double_ack().await?;
            }
        }
        if has_early {
            must_have(&stream, position + 1).await?;
        }
    }
}

/// Fails if the stream has lost the next message.
async fn must_have(stream: &Stream, position: u64) -> Result<(), Failure> {
    if position > stream.get_info().await?.state.last_sequence {
        return Ok(()); // it is still to come
    }
    match stream.get_raw_message(position).await {
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Err(format!(
            "the stream has lost message {position}, which is the next to be counted: read what is missing from /v1/events"
        )
        .into()),
        found => Ok(found.map(|_| ())?),
    }
}

/// Counts the messages that are next, in one transaction. Returns the position that it has come to.
fn count(database: &mut Connection, messages: &[Message]) -> Result<u64, Failure> {
    // It begins before the position is read: another process may count as well.
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut position: u64 = transaction.query_row("SELECT position FROM progress", [], |row| row.get(0))?;
    for message in messages {
        let sequence = message.info()?.stream_sequence;
        if sequence != position + 1 {
            continue; // it came before, or comes too early
        }
        position = sequence;
        let event: Value = serde_json::from_slice(&message.payload)?;
        let charged = match event["type"].as_str() {
            Some("budget.settled.v1" | "budget.expired.v1") => &event["data"]["charged_usd"],
            Some("budget.adjusted.v1") => &event["data"]["delta_usd"],
            _ => continue,
        };
        let tenant = event["tenant_id"].as_str().unwrap_or("-");
        transaction.execute(ADD, params![tenant, nano_usd(charged).ok_or("an amount that is none")?])?;
    }
    transaction.execute("UPDATE progress SET position = ?1", [position])?;
    transaction.commit()?;
    Ok(position)
}

/// A string such as "-0.000123000", as an integer: floats would lose money.
fn nano_usd(dollars: &Value) -> Option<i64> {
    let dollars = dollars.as_str()?;
    let (whole, fraction) = dollars.trim_start_matches('-').split_once('.')?;
    let nanos = whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction.parse().ok()?)?;
    Some(if dollars.starts_with('-') { -nanos } else { nanos })
}

//! Adds up what each tenant was charged: `consumer NATS_URL DATABASE`, with its credentials in `NATS_USER` and `NATS_PASSWORD`. It
//! can be killed at any time and started again: what it has counted and how far it has come are written together.

use std::error::Error;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, AckKind, Message};
use futures_util::StreamExt;
use rusqlite::{Connection, TransactionBehavior, params};
use serde::Deserialize;

type Failure = Box<dyn Error + Send + Sync>;

const BATCH: usize = 200;
const WAIT: Duration = Duration::from_secs(2);
/// The durable consumer, in which NATS keeps what is acknowledged. Each database needs one of its own.
const CONSUMER: &str = "billing-rust";
pub const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS charged (tenant_id TEXT PRIMARY KEY, nano_usd INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS progress (position INTEGER NOT NULL, recorded_at TEXT NOT NULL);
    INSERT INTO progress SELECT 0, '' WHERE NOT EXISTS (SELECT * FROM progress);";
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
    // Everything, and not only what is charged: positions have no gap, so that a missing one would be noticed.
    let config = pull::Config {
        durable_name: Some(CONSUMER.to_owned()),
        ack_wait: WAIT,
        max_ack_pending: i64::try_from(BATCH)?,
        ..pull::Config::default()
    };
    let consumer = stream.get_or_create_consumer(CONSUMER, config).await?;
    check_continuity(&stream, &consumer, &mut database).await?;
    loop {
        let mut batch = consumer.fetch().max_messages(BATCH).expires(WAIT).messages().await?;
        let mut messages = Vec::new();
        while let Some(message) = batch.next().await {
            messages.push(message?);
        }
        // Messages that are delivered again may come in any order.
        messages.sort_by_key(|message| message.info().map_or(0, |info| info.stream_sequence));
        let position = count(&mut database, &messages)?.position;
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
        if has_early || messages.is_empty() {
            check_continuity(&stream, &consumer, &mut database).await?;
        }
    }
}

/// The members of an event that are read. The others are left alone: the names in them are its clients' own.
#[derive(Deserialize)]
struct Event {
    r#type: String,
    recorded_at: String,
    tenant_id: Option<String>,
    /// Events that are too long for NATS come without it.
    #[serde(default)]
    data: Amounts,
}

#[derive(Default, Deserialize)]
struct Amounts {
    charged_usd: Option<String>,
    delta_usd: Option<String>,
}

/// The last counted event: its position, and when it was recorded.
pub struct Progress {
    position: u64,
    recorded_at: String,
}

/// Fails unless the stream, and what NATS delivers of it, continues from the program's position.
async fn check_continuity(
    stream: &Stream,
    consumer: &Consumer<pull::Config>,
    database: &mut Connection,
) -> Result<(), Failure> {
    // Read before our position, because another process may count meanwhile; and the stream's end after it.
    let acknowledged = consumer.get_info().await?.ack_floor.stream_sequence;
    let Progress { position, recorded_at } = count(database, &[])?;
    let last = stream.get_info().await?.state.last_sequence;
    if position > last {
        return Err(format!(
            "the stream ends at message {last}, before {position}, which was counted: it is filled again, or the log was restored"
        )
        .into());
    }
    // It may have been removed since it was counted.
    let counted = if position > 0 { event_at(stream, position).await? } else { None };
    if counted.is_some_and(|event| event.recorded_at != recorded_at) {
        return Err(of_another_log(position));
    }
    let next = position + 1;
    if next <= last && event_at(stream, next).await?.is_none() {
        return Err(format!(
            "the stream has lost message {next}, which is the next to be counted: read what is missing from /v1/events"
        )
        .into());
    }
    if acknowledged >= next {
        return Err(format!(
            "NATS delivers nothing before message {} any more, and not all of that is counted here: another database uses the \
             consumer {CONSUMER}, or this one is empty or an older copy (see docs/billing.md)",
            acknowledged + 1
        )
        .into());
    }
    Ok(())
}

fn of_another_log(position: u64) -> Failure {
    format!(
        "message {position} is not the one that was counted: the log was restored, so count again (see docs/billing.md)"
    )
    .into()
}

fn no_amount(position: u64) -> Failure {
    format!("message {position} has no amount: NATS did not take all of its event (see docs/billing.md)").into()
}

/// An event of the stream; `None` if it has none there.
async fn event_at(stream: &Stream, position: u64) -> Result<Option<Event>, Failure> {
    match stream.get_raw_message(position).await {
        Ok(message) => Ok(Some(serde_json::from_slice(&message.payload)?)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Counts the messages that are next, in one transaction. Returns its progress.
pub fn count(database: &mut Connection, messages: &[Message]) -> Result<Progress, Failure> {
    // It begins before the position is read: another process may count as well.
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut progress = transaction.query_row("SELECT position, recorded_at FROM progress", [], |row| {
        Ok(Progress { position: row.get(0)?, recorded_at: row.get(1)? })
    })?;
    for message in messages {
        let sequence = message.info()?.stream_sequence;
        let event: Event = serde_json::from_slice(&message.payload)?;
        if sequence == progress.position && event.recorded_at != progress.recorded_at {
            return Err(of_another_log(sequence));
        }
        if sequence != progress.position + 1 {
            continue; // it came before, or comes too early
        }
        progress = Progress { position: sequence, recorded_at: event.recorded_at };
        let charged = match event.r#type.as_str() {
            "budget.settled.v1" | "budget.expired.v1" => event.data.charged_usd,
            "budget.adjusted.v1" => event.data.delta_usd,
            _ => continue,
        };
        let tenant = event.tenant_id.as_deref().unwrap_or("-");
        let nano_usd = charged.as_deref().and_then(nano_usd).ok_or_else(|| no_amount(sequence))?;
        transaction.execute(ADD, params![tenant, nano_usd])?;
    }
    transaction.execute(
        "UPDATE progress SET position = ?1, recorded_at = ?2",
        params![progress.position, progress.recorded_at],
    )?;
    transaction.commit()?;
    Ok(progress)
}

/// A string such as "-0.000123000", as an integer: floats would lose money.
fn nano_usd(dollars: &str) -> Option<i64> {
    let (whole, fraction) = dollars.trim_start_matches('-').split_once('.')?;
    let nanos = whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction.parse().ok()?)?;
    Some(if dollars.starts_with('-') { -nanos } else { nanos })
}

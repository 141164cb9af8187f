//! The stream as it is on the server, and the settings that it needs.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::connection::Connection;
use crate::failure::RelayError;
use crate::subject::{STREAM, SUBJECTS};

/// The most servers that JetStream keeps a stream on.
pub const REPLICAS_MAX: u8 = 5;

/// How long the server remembers ids of messages. It takes memory for each, and the relay needs it only while another one sends
/// the same.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(10);
/// Settings by which messages of other streams come into one.
const SOURCES: [&str; 2] = ["mirror", "sources"];
/// Codes of JetStream's errors.
const NO_SUCH_STREAM: u64 = 10059;

/// The limits of the stream that an operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// The servers of the cluster that have a copy each, from 1 to [`REPLICAS_MAX`].
    pub replicas: u8,
    /// How large the stream may become; no limit if it is `None`. The relay sends nothing that would exceed it.
    pub bytes_max: Option<u64>,
}

/// The stream as it is.
#[derive(Debug, Deserialize)]
pub struct StreamInfo {
    config: Map<String, Value>,
    /// When it was created, as the server writes it: another stream of the same name has another time.
    pub created: String,
    pub state: StreamState,
}

#[derive(Debug, Deserialize)]
pub struct StreamState {
    /// The size of its messages, each with its subject, its headers and the server's own data.
    pub bytes: u64,
    /// 0 or 1 for a stream that has never had a message.
    pub first_seq: u64,
    pub last_seq: u64,
    /// Messages between these two that are not there.
    #[serde(default)]
    pub num_deleted: u64,
}

/// The answer of the server: the requested object, or an error.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Error { error: JetStreamError },
    Info(Box<StreamInfo>),
}

#[derive(Deserialize)]
struct JetStreamError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// The stream with the settings that the relay needs. It is created if there is none. Settings that the relay does not need stay as
/// they are.
pub async fn prepare(connection: &Connection, replicas: u8) -> Result<StreamInfo, RelayError> {
    let wanted = settings(replicas);
    let failed = |request, error: JetStreamError| RelayError::Request { request, reason: error.description };
    let found = match ask(connection, "INFO", &Map::new()).await? {
        Answer::Info(found) => *found,
        Answer::Error { error } if error.err_code == NO_SUCH_STREAM => {
            return match ask(connection, "CREATE", &wanted).await? {
                Answer::Info(created) => Ok(*created),
                Answer::Error { error } => Err(failed("creation", error)),
            };
        }
        Answer::Error { error } => return Err(failed("inspection", error)),
    };
    let different = different(&found.config, &wanted);
    if different.is_empty() {
        return Ok(found);
    }
    let mut config = found.config;
    config.retain(|name, _| !SOURCES.contains(&name.as_str()));
    config.extend(wanted);
    match ask(connection, "UPDATE", &config).await? {
        Answer::Info(updated) => {
            tracing::warn!(
                "the stream {STREAM} on NATS had other settings than the relay needs, which it has corrected: {}",
                different.join(", ")
            );
            Ok(*updated)
        }
        Answer::Error { error } => Err(RelayError::Unsuitable { settings: different, reason: error.description }),
    }
}

async fn ask(connection: &Connection, request: &str, body: &Map<String, Value>) -> Result<Answer, RelayError> {
    connection.ask(format!("STREAM.{request}.{STREAM}"), body).await
}

/// The settings by which a message's sequence is its event's position, and stays it: nothing but the relay's subjects gets into the
/// stream, and nothing leaves it unless somebody removes it.
fn settings(replicas: u8) -> Map<String, Value> {
    let settings = json!({
        "name": STREAM,
        "subjects": [SUBJECTS],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_age": 0,
        "max_msg_size": -1,
        // With a limit, servers of some versions delete the oldest messages: see `size`.
        "max_bytes": -1,
        "num_replicas": replicas,
        "duplicate_window": u64::try_from(DUPLICATE_WINDOW.as_nanos()).unwrap_or(u64::MAX),
        "no_ack": false,
        "sealed": false,
        "allow_rollup_hdrs": false,
        "deny_delete": true,
        "deny_purge": true,
    });
    match settings {
        Value::Object(settings) => settings,
        _ => Map::new(),
    }
}

/// The wanted settings that are different, and sources of messages other than the relay.
fn different(found: &Map<String, Value>, wanted: &Map<String, Value>) -> Vec<String> {
    let is_different = |(name, wanted): &(&String, &Value)| match found.get(*name) {
        Some(found) => found != *wanted,
        // The server leaves out what is false or 0.
        None => !matches!(wanted, Value::Bool(false)) && **wanted != json!(0),
    };
    let settings = wanted.iter().filter(is_different).map(|(name, _)| name.clone());
    let is_given = |value: &Value| !value.is_null() && *value != json!([]);
    let sources = SOURCES.into_iter().filter(|name| found.get(*name).is_some_and(is_given));
    settings.chain(sources.map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Map<String, Value> {
        settings(1)
    }

    #[test]
    fn a_setting_that_is_left_out_is_false_or_zero() {
        let mut found = config();
        for absent in ["no_ack", "sealed", "allow_rollup_hdrs", "max_age"] {
            found.remove(absent);
        }
        assert_eq!(different(&found, &config()), Vec::<String>::new());
        found.remove("deny_purge");
        found.insert("discard".to_owned(), json!("old"));
        found.insert("description".to_owned(), json!("of the operator"));
        assert_eq!(different(&found, &config()), ["deny_purge", "discard"]);
    }

    #[test]
    fn messages_may_come_from_no_other_stream() {
        let mut found = config();
        found.insert("sources".to_owned(), json!([]));
        found.insert("mirror".to_owned(), Value::Null);
        assert_eq!(different(&found, &config()), Vec::<String>::new());
        found.insert("sources".to_owned(), json!([{"name": "OTHER"}]));
        assert_eq!(different(&found, &config()), ["sources"]);
    }
}

//! A connection to NATS. It is never repaired: after a failure, the next attempt has a new one, and looks at the stream again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::jetstream::context::{PublishAckFuture, RequestErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, ConnectOptions, Event};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::address::NatsAddress;
use crate::failure::RelayError;
use crate::message::Message;
use crate::subject::STREAM;

/// Time limit for one server's address, and for all of them with the resolution of their names.
const CONNECT_MAX: Duration = Duration::from_secs(5);
const CONNECT_TO_ALL_MAX: Duration = Duration::from_secs(20);
/// Time limit for an answer, and for messages to leave.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How often an idle connection is checked; after two checks without an answer it is lost.
const PING_INTERVAL: Duration = Duration::from_secs(10);

pub struct Connection {
    client: Client,
    jetstream: Context,
    end: watch::Receiver<Option<End>>,
}

/// Why a connection cannot be used any more.
enum End {
    Lost,
    ServerError(String),
}

impl Connection {
    pub async fn open(address: &NatsAddress) -> Result<Self, RelayError> {
        let (ended, end) = watch::channel(None);
        let ended = Arc::new(ended);
        let options = ConnectOptions::new()
            .name("ledgerway relay")
            .connection_timeout(CONNECT_MAX)
            .request_timeout(Some(ANSWER_MAX))
            .ping_interval(PING_INTERVAL)
            // The library would otherwise try to reconnect for ever, even without anybody to use the connection.
            .max_reconnects(address.servers().len())
            .ignore_discovered_servers()
            .event_callback(move |event| {
                let ended = Arc::clone(&ended);
                async move {
                    let end = match event {
                        Event::Disconnected | Event::Closed | Event::LameDuckMode => End::Lost,
                        Event::ServerError(error) => End::ServerError(error.to_string()),
                        Event::Connected | Event::Draining | Event::SlowConsumer(_) | Event::ClientError(_) => return,
                    };
                    // The first says why, and what follows from it does not.
                    ended.send_modify(|known| {
                        known.get_or_insert(end);
                    });
                }
            });
        let failed = |reason: String| RelayError::Connect { address: address.to_string(), reason };
        let connecting = address.authenticate(options).connect(address.servers());
        let connected = timeout(CONNECT_TO_ALL_MAX, connecting).await;
        let client = connected
            .map_err(|_| failed("no server answered in time".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        let jetstream = ContextBuilder::new().timeout(ANSWER_MAX).build(client.clone());
        Ok(Self { client, jetstream, end })
    }

    /// Waits until the connection cannot be used any more.
    pub async fn failed(&self) -> RelayError {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(End::ServerError(reason))) => RelayError::ServerError { reason: reason.clone() },
            // An error means that the library has dropped its side.
            Ok(Some(End::Lost) | None) | Err(_) => RelayError::Disconnected,
        }
    }

    /// The longest message that the server accepts, with its headers.
    pub fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Asks JetStream's API.
    pub async fn ask<T: DeserializeOwned>(&self, subject: String, body: &Map<String, Value>) -> Result<T, RelayError> {
        self.jetstream.request(subject, body).await.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => RelayError::NoJetStream,
            RequestErrorKind::TimedOut => RelayError::NoAnswer,
            RequestErrorKind::InvalidSubject | RequestErrorKind::Other => {
                RelayError::Request { request: "request", reason: error.to_string() }
            }
        })
    }

    /// The body of a message of the stream; `None` if it is not there.
    pub async fn stored(&self, sequence: u64) -> Result<Option<Bytes>, RelayError> {
        let failed = |reason: String| RelayError::Request { request: "reading", reason };
        let stream = self.jetstream.get_stream_no_info(STREAM).await.map_err(|error| failed(error.to_string()))?;
        match stream.get_raw_message(sequence).await {
            Ok(message) => Ok(Some(message.payload)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Sends a message that is not acknowledged.
    pub async fn send(&self, message: Message) -> Result<(), RelayError> {
        let position = message.position;
        let sent = self.client.publish_with_headers(message.subject, message.headers, message.body).await;
        sent.map_err(|error| match error.kind() {
            PublishErrorKind::Send => RelayError::Disconnected,
            PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::InvalidSubject => {
                RelayError::Refused { position, reason: error.to_string() }
            }
        })
    }

    /// Sends a message, and returns its acknowledgement to wait for.
    pub async fn send_acknowledged(&self, message: Message) -> Result<PublishAckFuture, RelayError> {
        let position = message.position;
        let publish = PublishMessage::build().headers(message.headers).payload(message.body);
        let sent = self.jetstream.send_publish(message.subject, publish).await;
        sent.map_err(|error| RelayError::Refused { position, reason: error.to_string() })
    }
}

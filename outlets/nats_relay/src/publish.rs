//! Publishing: windows are sent one after the other, while the acknowledgements of those before are on their way.

use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use crate::connection::{ANSWER_MAX, Connection};
use crate::failure::RelayError;
use crate::subject::STREAM;
use crate::window::Window;

/// Enough to keep the server busy while an acknowledgement travels.
const WINDOWS_IN_FLIGHT: usize = 2;

/// A window that was stored.
pub struct Acknowledged {
    /// Its last position.
    pub position: u64,
    /// How many bytes the stream has grown by, by this window and those before it.
    pub sent_len: u64,
}

/// Publishes windows, and returns each when it is acknowledged, in order. The acknowledgement of a window's last message proves the
/// window, because each message is accepted only after the one before it.
pub fn published<'a>(
    connection: &'a Connection,
    windows: impl Stream<Item = Result<Window, RelayError>> + 'a,
) -> impl Stream<Item = Result<Acknowledged, RelayError>> + 'a {
    // One after the other: messages of two windows must not mix.
    let sent = windows.then(async |window| send(connection, window?).await);
    sent.map(async |sent| sent?.acknowledged().await).buffered(WINDOWS_IN_FLIGHT)
}

/// A window that was sent.
struct Sent {
    last: u64,
    sent_len: u64,
    acknowledgement: PublishAckFuture,
}

async fn send(connection: &Connection, window: Window) -> Result<Sent, RelayError> {
    let Window { before, last, sent_len } = window;
    let sending = async {
        for message in before {
            connection.send(message).await?;
        }
        let position = last.position;
        Ok(Sent { last: position, sent_len, acknowledgement: connection.send_acknowledged(last).await? })
    };
    timeout(ANSWER_MAX, sending).await.unwrap_or(Err(RelayError::NoAnswer))
}

impl Sent {
    async fn acknowledged(self) -> Result<Acknowledged, RelayError> {
        let Self { last: position, sent_len, acknowledgement } = self;
        let acknowledgement = acknowledgement.await.map_err(|error| match error.kind() {
            PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId => {
                RelayError::NotNext { position }
            }
            PublishErrorKind::TimedOut => RelayError::NoAnswer,
            PublishErrorKind::BrokenPipe => RelayError::Disconnected,
            PublishErrorKind::StreamNotFound => RelayError::Changed,
            PublishErrorKind::MaxAckPending | PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::Other => {
                RelayError::Refused { position, reason: error.to_string() }
            }
        })?;
        // A message that was there already is acknowledged with its old sequence.
        let (stream, sequence) = (acknowledgement.stream, acknowledgement.sequence);
        if stream == STREAM && sequence == position {
            Ok(Acknowledged { position, sent_len })
        } else {
            Err(RelayError::Misplaced { position, stream, sequence })
        }
    }
}

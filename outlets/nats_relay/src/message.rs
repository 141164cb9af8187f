//! The message of an event: its canonical form, with headers by which the server accepts it in its place alone. Of an event that is
//! longer than the server takes, the data is replaced by its digest.

use async_nats::HeaderMap;
use async_nats::header::{
    NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID,
};
use bytes::Bytes;
use events::canonical;
use events::event::Recorded;
use events::hex;
use ring::digest::{SHA256, digest};

use crate::failure::RelayError;
use crate::subject::{STREAM, subject};

/// The bytes that the server stores with a message of a file stream beside its subject, headers and body: a header of its own, the length
/// of the headers, and a checksum.
const RECORD_LEN: usize = 22 + 4 + 8;
/// An upper bound of what the headers take.
pub const HEADERS_LEN_MAX: usize = 512;
/// How much of the digest of an event is in the id of its message.
const DIGEST_LEN: usize = 8;

pub struct Message {
    pub position: u64,
    pub subject: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// `{position}-{digest of the whole event}`: the same for every relay of this log, whatever its server takes, and another one for any
    /// other event.
    pub id: String,
}

impl Message {
    /// The message that follows `previous`, or is the first on a connection.
    ///
    /// It must follow the event before it, and not just any message with that sequence: if somebody else published one there
    /// while several messages are on their way, the server would refuse the event of that sequence and accept those after it.
    ///
    /// An event of more than `event_len_max` bytes is sent without its data.
    pub fn after(previous: Option<&str>, recorded: &Recorded, event_len_max: usize) -> Result<Self, RelayError> {
        let mut body = canonical::envelope(recorded)?;
        let position = recorded.position;
        let id = format!("{position}-{}", hex::lower(&digest(&SHA256, body.as_bytes()).as_ref()[..DIGEST_LEN]));
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, id.as_str());
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, position.saturating_sub(1).to_string().as_str());
        match previous {
            Some(previous) => headers.insert(NATS_EXPECTED_LAST_MESSAGE_ID, previous),
            // The event before it was compared with the end of the stream.
            None => headers.insert(NATS_EXPECTED_STREAM, STREAM),
        }
        if body.len() > event_len_max {
            body = canonical::without_data(body.as_bytes())?;
        }
        Ok(Self { position, subject: subject(recorded), headers, body: body.into(), id })
    }

    /// How many bytes the stream grows by.
    pub fn stored_len(&self) -> u64 {
        let lines = self.headers.iter().flat_map(|(name, values)| {
            values
                .iter()
                .map(|value| AsRef::<str>::as_ref(name).len() + ": ".len() + value.as_str().len() + "\r\n".len())
        });
        let headers = "NATS/1.0\r\n".len() + lines.sum::<usize>() + "\r\n".len();
        (RECORD_LEN + self.subject.len() + headers + self.body.len()) as u64
    }
}

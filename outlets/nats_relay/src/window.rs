//! Windows: messages that are sent together, of which only the last is acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;

use blocking_work::OUTLETS;
use events::event::Recorded;
use events_log::{Follower, LogError};
use futures_util::Stream;
use futures_util::stream::try_unfold;

use crate::failure::RelayError;
use crate::message::{HEADERS_LEN_MAX, Message};
use crate::size::StreamSize;

const EVENTS_MAX: usize = 512;
/// A window ends with the message that reaches this.
const BYTES_MAX: usize = 1 << 20;
/// The error of NATS for a stream that is full.
const FULL: &str = "maximum bytes exceeded";

/// Messages whose positions follow each other.
pub struct Window {
    /// All but the last.
    pub before: Vec<Message>,
    pub last: Message,
    /// How many bytes the stream grows by, by this window and those before it.
    pub sent_len: u64,
}

/// The events that are left to be sent.
struct Source {
    follower: Follower,
    /// Followed, and not sent yet: at most a window, and the page or batch that filled it.
    pending: VecDeque<Arc<Recorded>>,
    event_len_max: usize,
    size: Arc<StreamSize>,
    /// How many bytes the stream grows by.
    sent_len: u64,
    /// The id of the last message.
    previous: Option<String>,
}

/// The windows of all events that the follower gets, as far as the stream has room for them. `max_payload` is the longest message
/// that the server accepts.
///
/// The first window has one message. If the server does not accept that, its answer says why; that of a longer window can only say
/// that its last message is not the next one.
pub fn windows(
    follower: Follower,
    max_payload: usize,
    size: Arc<StreamSize>,
) -> impl Stream<Item = Result<Window, RelayError>> {
    let event_len_max = max_payload.saturating_sub(HEADERS_LEN_MAX);
    let source = Source { follower, pending: VecDeque::new(), event_len_max, size, sent_len: 0, previous: None };
    try_unfold(source, |mut source| async {
        if !source.fill().await? {
            return Ok(None);
        }
        // Some milliseconds of work, which would keep others from this thread.
        let taken = OUTLETS.run(None, move || source.take_window().map(|window| Some((window, source))));
        taken.await.unwrap_or(Err(RelayError::Log(LogError::Closed)))
    })
}

impl Source {
    /// Waits for events. False once the log is closed.
    async fn fill(&mut self) -> Result<bool, RelayError> {
        while self.pending.is_empty() {
            let Some(followed) = self.follower.next().await? else { return Ok(false) };
            self.pending.extend(followed.events().iter().cloned());
        }
        while self.pending.len() < EVENTS_MAX
            && let Some(followed) = self.follower.try_next()
        {
            self.pending.extend(followed.events().iter().cloned());
        }
        Ok(true)
    }

    /// The next window. It ends before an event that cannot be sent, so that those before it are.
    fn take_window(&mut self) -> Result<Window, RelayError> {
        let events_max = if self.previous.is_none() { 1 } else { EVENTS_MAX };
        let (mut before, mut last) = (Vec::new(), self.take_message()?);
        let mut bytes = last.body.len();
        while before.len() + 1 < events_max && bytes < BYTES_MAX && !self.pending.is_empty() {
            let Ok(next) = self.take_message() else { break };
            bytes += next.body.len();
            before.push(std::mem::replace(&mut last, next));
        }
        Ok(Window { before, last, sent_len: self.sent_len })
    }

    /// The message of the next event, which stays pending if it is none.
    fn take_message(&mut self) -> Result<Message, RelayError> {
        let Some(next) = self.pending.front() else { return Err(RelayError::Log(LogError::Closed)) };
        let message = Message::after(self.previous.as_deref(), next, self.event_len_max)?;
        let (position, len) = (message.position, message.body.len());
        if len > self.event_len_max {
            return Err(RelayError::TooLong {
                position,
                needed: len + HEADERS_LEN_MAX,
                max_payload: self.event_len_max + HEADERS_LEN_MAX,
            });
        }
        let sent_len = self.sent_len + message.stored_len();
        if !self.size.has_room_for(sent_len) {
            return Err(RelayError::Refused { position, reason: FULL.to_owned() });
        }
        self.pending.pop_front();
        self.sent_len = sent_len;
        self.previous = Some(message.id.clone());
        Ok(message)
    }
}

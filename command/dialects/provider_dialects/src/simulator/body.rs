//! The body of a simulated response: one frame per chunk, with the requested pauses.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Sleep;

use super::behaviour::Behaviour;
use super::error_body;
use super::script::Script;

/// A body that is sent at the requested pace. An error means that the connection was dropped.
pub struct SimulatedBody {
    content: BodyContent,
    /// Frames sent so far.
    sent: u64,
    fail_after: Option<u64>,
    cut_after: Option<u64>,
    is_over: bool,
    pace: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

/// The content sent.
pub(super) enum BodyContent {
    /// Nothing, for ever.
    Silent,
    /// One frame.
    Whole(Bytes),
    Stream(Box<Script>),
}

impl SimulatedBody {
    /// A body without pauses that arrives whole.
    pub(super) const fn of(content: BodyContent) -> Self {
        let pace = Duration::ZERO;
        Self { content, sent: 0, fail_after: None, cut_after: None, is_over: false, pace, pause: None }
    }

    pub(super) fn scripted(script: Script, behaviour: &Behaviour) -> Self {
        if !script.streamed {
            return Self::whole(script.whole(), behaviour);
        }
        let Behaviour { fail_after, cut_after, pace, ttft, .. } = *behaviour;
        Self { fail_after, cut_after, pace, pause: pause(ttft), ..Self::of(BodyContent::Stream(Box::new(script))) }
    }

    /// A body in one frame; an error or half of it, if the behaviour says so.
    pub(super) fn whole(body: impl Into<Bytes>, behaviour: &Behaviour) -> Self {
        let Behaviour { fail_after, cut_after, ttft, .. } = *behaviour;
        let mut frame = fail_after.map_or_else(|| body.into(), |_| Bytes::from(error_body("a simulated failure")));
        if cut_after.is_some() {
            frame.truncate(frame.len() / 2);
        }
        Self { cut_after: cut_after.map(|_| 1), pause: pause(ttft), ..Self::of(BodyContent::Whole(frame)) }
    }

    /// The frame with this number; `None` after the last.
    fn frame(&self, number: u64) -> Option<Bytes> {
        let script = match &self.content {
            BodyContent::Silent => return None,
            BodyContent::Whole(frame) => return (number == 0).then(|| frame.clone()),
            BodyContent::Stream(script) => script,
        };
        let event = script.event(number)?;
        let data = if self.fail_after == Some(number) { error_body("a simulated failure") } else { event };
        Some(format!("data: {data}\n\n").into())
    }
}

fn pause(duration: Duration) -> Option<Pin<Box<Sleep>>> {
    (!duration.is_zero()).then(|| Box::pin(tokio::time::sleep(duration)))
}

fn dropped() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the simulator dropped the connection")
}

impl http_body::Body for SimulatedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        if matches!(self.content, BodyContent::Silent) {
            // Never woken: the caller must have a deadline.
            return Poll::Pending;
        }
        let has_failed = self.fail_after.is_some_and(|after| self.sent > after);
        let next = match self.frame(self.sent) {
            _ if self.is_over || has_failed => None,
            _ if self.cut_after == Some(self.sent) => Some(Err(dropped())),
            frame => frame.map(|frame| Ok(Frame::data(frame))),
        };
        if matches!(next, Some(Ok(_))) {
            self.sent += 1;
            self.pause = pause(self.pace);
        } else {
            self.is_over = true;
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        let is_whole = matches!(self.content, BodyContent::Whole(_));
        self.is_over || (is_whole && self.sent > 0 && self.cut_after.is_none())
    }
}

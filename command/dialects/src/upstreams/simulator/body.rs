//! The simulator's words on the wire: one frame a chunk, with the pauses that were asked for.

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

/// A body that speaks at its own pace. An error means that the connection is gone.
pub struct SimulatedBody {
    speech: Speech,
    pause: Option<Pin<Box<Sleep>>>,
}

enum Speech {
    Silent,
    /// One frame, then its end: complete, or a connection that is gone.
    Whole {
        frame: Option<Bytes>,
        cut: bool,
    },
    Stream(Box<Stream>),
    Over,
}

struct Stream {
    script: Script,
    pace: Duration,
    fail_after: Option<u64>,
    cut_after: Option<u64>,
    /// Chunks that were sent.
    sent: u64,
    choice: u64,
    step: u64,
    ending: Ending,
}

#[derive(Clone, Copy)]
enum Ending {
    NotYet,
    Usage,
    Done,
    Over,
}

/// What happens next in a stream.
enum Next {
    Frame(String),
    Gone,
    End,
}

impl SimulatedBody {
    pub(super) const fn silent() -> Self {
        Self { speech: Speech::Silent, pause: None }
    }

    pub(super) const fn whole(frame: Bytes) -> Self {
        Self { speech: Speech::Whole { frame: Some(frame), cut: false }, pause: None }
    }

    pub(super) fn speaking(script: Script, behaviour: &Behaviour) -> Self {
        let speech = if script.streamed() {
            Speech::Stream(Box::new(Stream {
                script,
                pace: behaviour.pace,
                fail_after: behaviour.fail_after,
                cut_after: behaviour.cut_after,
                sent: 0,
                choice: 0,
                step: 0,
                ending: Ending::NotYet,
            }))
        } else {
            let cut = behaviour.cut_after.is_some();
            let mut text = match behaviour.fail_after {
                Some(_) => error_body("the simulator was asked to fail"),
                None => script.whole(),
            }
            .into_bytes();
            if cut {
                text.truncate(text.len() / 2);
            }
            Speech::Whole { frame: Some(text.into()), cut }
        };
        Self { speech, pause: pause(behaviour.ttft) }
    }
}

fn pause(duration: Duration) -> Option<Pin<Box<Sleep>>> {
    (!duration.is_zero()).then(|| Box::pin(tokio::time::sleep(duration)))
}

fn gone() -> io::Error {
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
        let next = match &mut self.speech {
            // Nobody will ever wake it: whoever waits has to have a deadline.
            Speech::Silent => return Poll::Pending,
            Speech::Over => return Poll::Ready(None),
            Speech::Whole { frame, cut } => match (frame.take(), *cut) {
                (Some(frame), _) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
                (None, true) => Next::Gone,
                (None, false) => Next::End,
            },
            Speech::Stream(stream) => stream.next(),
        };
        match next {
            Next::Frame(text) => {
                if let Speech::Stream(stream) = &self.speech {
                    self.pause = pause(stream.pace);
                }
                Poll::Ready(Some(Ok(Frame::data(format!("data: {text}\n\n").into()))))
            }
            Next::Gone => {
                self.speech = Speech::Over;
                Poll::Ready(Some(Err(gone())))
            }
            Next::End => {
                self.speech = Speech::Over;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.speech, Speech::Over | Speech::Whole { frame: None, cut: false })
    }
}

impl Stream {
    fn next(&mut self) -> Next {
        if self.cut_after == Some(self.sent) {
            return Next::Gone;
        }
        if self.fail_after == Some(self.sent) && !matches!(self.ending, Ending::Over) {
            self.ending = Ending::Over;
            return Next::Frame(error_body("the simulator was asked to fail"));
        }
        let next = self.words();
        if matches!(next, Next::Frame(_)) {
            self.sent += 1;
        }
        next
    }

    fn words(&mut self) -> Next {
        loop {
            match self.ending {
                Ending::NotYet => match self.script.step(self.step) {
                    Some(step) => {
                        self.step += 1;
                        return Next::Frame(self.script.chunk(self.choice, &step));
                    }
                    None if self.choice + 1 < self.script.choices() => {
                        self.choice += 1;
                        self.step = 0;
                    }
                    None => self.ending = Ending::Usage,
                },
                Ending::Usage => {
                    self.ending = Ending::Done;
                    if let Some(chunk) = self.script.usage_chunk() {
                        return Next::Frame(chunk);
                    }
                }
                Ending::Done => {
                    self.ending = Ending::Over;
                    return Next::Frame("[DONE]".to_owned());
                }
                Ending::Over => return Next::End,
            }
        }
    }
}

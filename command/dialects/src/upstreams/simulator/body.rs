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
    state: BodyState,
    pause: Option<Pin<Box<Sleep>>>,
}

enum BodyState {
    Silent,
    /// One frame, and then a complete or a dropped response.
    Whole {
        frame: Option<Bytes>,
        cut: bool,
    },
    Stream(Box<ScriptedStream>),
    Over,
}

struct ScriptedStream {
    script: Script,
    pace: Duration,
    fail_after: Option<u64>,
    cut_after: Option<u64>,
    /// Chunks sent so far.
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

/// The next step of a stream.
enum Next {
    Frame(String),
    Dropped,
    End,
}

impl SimulatedBody {
    pub(super) const fn silent() -> Self {
        Self { state: BodyState::Silent, pause: None }
    }

    pub(super) const fn whole(frame: Bytes) -> Self {
        Self { state: BodyState::Whole { frame: Some(frame), cut: false }, pause: None }
    }

    pub(super) fn scripted(script: Script, behaviour: &Behaviour) -> Self {
        let state = if script.streamed() {
            BodyState::Stream(Box::new(ScriptedStream {
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
                Some(_) => error_body("a simulated failure"),
                None => script.whole(),
            }
            .into_bytes();
            if cut {
                text.truncate(text.len() / 2);
            }
            BodyState::Whole { frame: Some(text.into()), cut }
        };
        Self { state, pause: pause(behaviour.ttft) }
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
        let next = match &mut self.state {
            // Never woken: the caller must have a deadline.
            BodyState::Silent => return Poll::Pending,
            BodyState::Over => return Poll::Ready(None),
            BodyState::Whole { frame, cut } => match (frame.take(), *cut) {
                (Some(frame), _) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
                (None, true) => Next::Dropped,
                (None, false) => Next::End,
            },
            BodyState::Stream(stream) => stream.next(),
        };
        match next {
            Next::Frame(text) => {
                if let BodyState::Stream(stream) = &self.state {
                    self.pause = pause(stream.pace);
                }
                Poll::Ready(Some(Ok(Frame::data(format!("data: {text}\n\n").into()))))
            }
            Next::Dropped => {
                self.state = BodyState::Over;
                Poll::Ready(Some(Err(dropped())))
            }
            Next::End => {
                self.state = BodyState::Over;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, BodyState::Over | BodyState::Whole { frame: None, cut: false })
    }
}

impl ScriptedStream {
    fn next(&mut self) -> Next {
        if self.cut_after == Some(self.sent) {
            return Next::Dropped;
        }
        if self.fail_after == Some(self.sent) && !matches!(self.ending, Ending::Over) {
            self.ending = Ending::Over;
            return Next::Frame(error_body("a simulated failure"));
        }
        let next = self.scripted();
        if matches!(next, Next::Frame(_)) {
            self.sent += 1;
        }
        next
    }

    fn scripted(&mut self) -> Next {
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

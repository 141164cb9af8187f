//! The route of a request as its events say it: the order of targets that it was admitted with, the calls, and which target answered.
//! Nothing is decided again here: `explain` does that, with [`crate::routing::decide_again`].
//!
//! `order` is the order of targets, `in_words` the decision in words, and `refused` why a request was refused. The words for
//! reasons are in `failures`, and in `left_out` and `passed_over` of [`crate::routing`].

mod failures;
mod in_words;
mod order;
mod refused;

use crate::event::admin::Model;
use crate::event::inference::{AttemptFailed, Backend, InferenceAdmitted, InferenceEnded};
use crate::event::{Event, Inference, Recorded};
use crate::ids::RequestId;

pub use in_words::RouteDetail;
pub use order::recorded_order;
pub use refused::refusal_in_words;

/// The route of a request, as its events record it.
pub struct RecordedRoute<'a> {
    request: RequestId,
    admitted: &'a InferenceAdmitted,
    /// The version of the model that the admission names, with its targets in the order that strategies get them in; `None` if the log
    /// does not have it.
    model: Option<Model>,
    /// In the order in which they were made.
    failed: Vec<&'a AttemptFailed>,
    /// `None` while it is under way.
    end: Option<End<'a>>,
}

/// How a request ended.
enum End<'a> {
    Completed(&'a InferenceEnded),
    Failed(&'a InferenceEnded),
    Aborted(&'a InferenceEnded),
}

impl<'a> End<'a> {
    const fn fact(&self) -> &'a InferenceEnded {
        match self {
            Self::Completed(ended) | Self::Failed(ended) | Self::Aborted(ended) => ended,
        }
    }
}

impl<'a> RecordedRoute<'a> {
    /// The route of a request with these events, in their order, whose model was as this event says. `None` if it was not admitted.
    pub fn of(
        request: RequestId,
        life: impl IntoIterator<Item = &'a Recorded>,
        model: Option<&Recorded>,
    ) -> Option<Self> {
        let (mut admission, mut failed, mut end) = (None, Vec::new(), None);
        for recorded in life {
            let Event::Inference(fact) = &recorded.event else { continue };
            match fact {
                Inference::Admitted(admitted) => admission = Some(&**admitted),
                Inference::AttemptFailed(call) => failed.push(&**call),
                Inference::Completed(ended) => end = Some(End::Completed(ended)),
                Inference::Failed(ended) => end = Some(End::Failed(ended)),
                Inference::Aborted(ended) => end = Some(End::Aborted(ended)),
                Inference::Refused(_) => {}
            }
        }
        let model = model.and_then(|recorded| recorded.event.state::<Model>().cloned());
        let model = model.map(|mut model| {
            model.sort_targets();
            model
        });
        Some(Self { request, admitted: admission?, model, failed, end })
    }

    /// The call that the request ended with, beside those that failed before; `None` if there was none.
    fn last_call(&self) -> Option<&'a Backend> {
        let ended = self.end.as_ref()?.fact();
        // The end of a request of which all calls have failed repeats the last one.
        let calls = usize::try_from(ended.attempts?).ok()?;
        ended.backend.as_ref().filter(|_| calls > self.failed.len())
    }

    /// All calls, in their order.
    fn called(&self) -> impl Iterator<Item = &'a Backend> {
        self.failed.iter().map(|call| &call.backend).chain(self.last_call())
    }
}

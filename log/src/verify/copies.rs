//! The check of copies: each is of a request that was answered before it was admitted.

use events::event::{Event, Inference, Recorded};
use events::ids::RequestId;

/// `before`: the earlier events on the stream of the request that is said to be copied.
pub(super) fn must_be_of_answered_request(copied: RequestId, before: &[Recorded]) -> Result<(), String> {
    let is_admission = |recorded: &Recorded| matches!(recorded.event, Event::Inference(Inference::Admitted(_)));
    let is_answer = |recorded: &Recorded| matches!(recorded.event, Event::Inference(Inference::Completed(_)));
    if !before.iter().any(is_admission) {
        return Err(format!("it is a copy of {copied}, which was not admitted before"));
    }
    if !before.iter().any(is_answer) {
        return Err(format!("it is a copy of {copied}, which was not answered before"));
    }
    Ok(())
}

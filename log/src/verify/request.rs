//! The check of one request: its own events, and what its admission names. By the rules of the whole log, except for those of
//! budgets, which need the events of others.

use events::event::{Event, Hold, Inference, Recorded};

use super::Depth;
use super::order::must_be_on_its_stream;
use super::request_rules::RequestRules;

/// The first event of a request that does not follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenRequest {
    pub position: u64,
    pub reason: String,
}

/// Checks all events of a request. `resources` are the versions that its admission names, and every price of its backends. Both
/// are in the order of their positions.
pub fn check_request(resources: &[Recorded], life: &[Recorded]) -> Result<(), BrokenRequest> {
    let mut rules = RequestRules::default();
    let mut resources = resources.iter().peekable();
    for (at, recorded) in life.iter().enumerate() {
        let broken = |reason| BrokenRequest { position: recorded.position, reason };
        while let Some(resource) = resources.next_if(|resource| resource.position < recorded.position) {
            rules.check(resource, &[], Depth::Gateway).map_err(broken)?;
        }
        check(&mut rules, recorded, &life[..at]).map_err(broken)?;
    }
    let position = life.last().map_or(0, |last| last.position);
    rules.finish().map_err(|reason| BrokenRequest { position, reason })
}

fn check(rules: &mut RequestRules, recorded: &Recorded, before: &[Recorded]) -> Result<(), String> {
    must_be_on_its_stream(recorded)?;
    let earlier = before.iter().filter(|earlier| earlier.stream == recorded.stream).count() as u64;
    if recorded.sequence != earlier + 1 {
        return Err(format!("event {} of the stream {} is missing", earlier + 1, recorded.stream));
    }
    rules.must_continue(recorded)?;
    match &recorded.event {
        Event::Inference(Inference::Admitted(admitted)) => rules.references.must_fit(recorded, admitted)?,
        Event::Inference(Inference::Refused(refused)) => {
            rules.references.teams_of_refused_must_fit(recorded, refused)?;
        }
        Event::Hold(Hold::Reserved(reserved)) => drop(rules.hold(recorded, reserved)?),
        _ => {}
    }
    rules.check(recorded, before, Depth::Gateway)
}

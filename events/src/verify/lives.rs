//! The life of every request: admitted, held in the next event, failed attempts, one outcome, one end of the hold.

use std::collections::HashMap;

use crate::event::{Event, Recorded};
use crate::ids::RequestId;
use crate::money::NanoUsd;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Life {
    Admitted {
        at: u64,
    },
    Held,
    /// The outcome, and what it says that the request cost.
    Over {
        at: u64,
        cost: NanoUsd,
    },
}

/// Requests that have begun and not ended.
#[derive(Default)]
pub(super) struct Lives {
    requests: HashMap<RequestId, Life>,
}

/// Whether nothing can follow on the event's stream but a correction.
pub(super) const fn is_last(event: &Event) -> bool {
    matches!(
        event,
        Event::InferenceRefused(_)
            | Event::InferenceCompleted(_)
            | Event::InferenceFailed(_)
            | Event::InferenceAborted(_)
            | Event::BudgetSettled(_)
            | Event::BudgetReleased(_)
            | Event::BudgetExpired(_)
    )
}

impl Lives {
    pub(super) fn take(&mut self, recorded: &Recorded) -> Result<(), String> {
        match &recorded.event {
            Event::InferenceAdmitted(_) => self.admitted(recorded),
            Event::BudgetReserved(_) => self.held(recorded),
            Event::InferenceAttemptFailed(_) => match self.life(recorded)? {
                Life::Held => Ok(()),
                life => Err(format!("a failed attempt of a request that is {life:?}")),
            },
            Event::InferenceCompleted(ended) | Event::InferenceFailed(ended) | Event::InferenceAborted(ended) => {
                self.over(recorded, ended.cost_usd)
            }
            Event::BudgetSettled(end) => self.ended(recorded, end.charged_usd),
            Event::BudgetExpired(end) => self.ended(recorded, end.charged_usd),
            Event::BudgetReleased(_) => self.ended(recorded, NanoUsd::ZERO),
            Event::InferenceRefused(_) => match recorded.context.request_id {
                Some(request) if self.requests.contains_key(&request) => {
                    Err("refused after it was admitted".to_owned())
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Every request that was admitted has its hold; one without an outcome must still hold its money.
    pub(super) fn finish(&self) -> Result<(), String> {
        let unfinished = self.requests.iter().filter_map(|(request, life)| match life {
            Life::Admitted { at } => Some((*at, format!("{request} was admitted without a hold"))),
            Life::Over { at, .. } => Some((*at, format!("{request} is over and its hold is open"))),
            Life::Held => None,
        });
        match unfinished.min() {
            Some((at, reason)) => Err(format!("{reason} (position {at})")),
            None => Ok(()),
        }
    }

    fn admitted(&mut self, recorded: &Recorded) -> Result<(), String> {
        let request = request(recorded)?;
        if self.requests.insert(request, Life::Admitted { at: recorded.position }).is_some() {
            return Err(format!("{request} is admitted twice"));
        }
        Ok(())
    }

    fn held(&mut self, recorded: &Recorded) -> Result<(), String> {
        match self.life(recorded)? {
            Life::Admitted { at } if at + 1 == recorded.position => self.set(recorded, Life::Held),
            life => Err(format!("a hold that does not follow on its admission but on {life:?}")),
        }
    }

    fn over(&mut self, recorded: &Recorded, cost: NanoUsd) -> Result<(), String> {
        match self.life(recorded)? {
            Life::Held => self.set(recorded, Life::Over { at: recorded.position, cost }),
            life => Err(format!("an outcome of a request that is {life:?}")),
        }
    }

    fn ended(&mut self, recorded: &Recorded, charged: NanoUsd) -> Result<(), String> {
        match self.life(recorded)? {
            Life::Over { at, cost } if at + 1 == recorded.position => {
                if cost != charged {
                    return Err(format!("the outcome cost {cost} USD and {charged} USD were charged"));
                }
                self.requests.remove(&request(recorded)?);
                Ok(())
            }
            life => Err(format!("the end of a hold that does not follow on its outcome but on {life:?}")),
        }
    }

    fn life(&self, recorded: &Recorded) -> Result<Life, String> {
        let request = request(recorded)?;
        let life = self.requests.get(&request).cloned();
        life.ok_or_else(|| format!("{request} was never admitted, or is over"))
    }

    fn set(&mut self, recorded: &Recorded, life: Life) -> Result<(), String> {
        self.requests.insert(request(recorded)?, life);
        Ok(())
    }
}

fn request(recorded: &Recorded) -> Result<RequestId, String> {
    let request = recorded.context.request_id.ok_or("it names no request")?;
    if recorded.stream.id != request.to_string() {
        return Err(format!("{request} on the stream {}", recorded.stream));
    }
    Ok(request)
}

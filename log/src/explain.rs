//! One recorded request, decided again: its admission, its bound, its route and its costs, from the log alone. The difference to
//! what is recorded is the answer.
//!
//! Nothing is decided here by rules of its own. Budgets admit by the ledger's function on balances that are folded from the
//! events before the request, routes are decided by [`events::routing`], bounds and costs are those of [`events::money`], and the
//! events of the request follow each other by the rules of [`crate::verify`].
//!
//! What is read is bounded: the changes of administration up to the request, and of each budget the events since its window
//! began. Where that is too much, or the log does not have what a decision was made of, the answer says so instead of a guess.
//!
//! `evidence` reads what the log has about the request, and `spending` sums up what its budgets had. `admission` and
//! `refusal` ask the ledger; `bound`, `route` and `settlement` compute the rest. `route_inputs` gathers what the route was
//! decided by, with the `strategy` and the `terms`, and `route_decision` compares the decision; the other files check the rest
//! of the route.

mod admission;
mod alias;
mod bound;
mod decision_time;
mod evidence;
mod hedges;
mod in_force;
mod refusal;
mod route;
mod route_decision;
mod route_inputs;
mod settlement;
mod shadow;
mod spending;
mod strategy;
mod terms;
mod verdict;

use chrono::{DateTime, Utc};
use events::event::{Context, Event, Inference};
use events::ids::RequestId;

use crate::verify::{BrokenRequest, check_request};
use crate::{LogError, Reader};
pub use admission::{AdmissionCheck, BindingBudget, BindingLimit, Decision};
pub use bound::{BoundCheck, BoundTarget};
use evidence::Evidence;
pub use evidence::life_of;
pub use route::{RouteCall, RouteCheck, RouteTarget};
pub use settlement::{CallCost, SettlementCheck};
pub use verdict::{About, Difference, Verdict};

/// A request, decided again.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub request: RequestId,
    /// The position and the time of its admission or refusal.
    pub position: u64,
    pub recorded_at: DateTime<Utc>,
    pub context: Context,
    /// Whether its events follow each other. What a part below says of an event is not repeated here.
    pub life: Verdict,
    /// `None` if the log has neither an admission nor a refusal.
    pub admission: Option<AdmissionCheck>,
    /// This and the route: `None` for a request that was not admitted.
    pub bound: Option<BoundCheck>,
    pub route: Option<RouteCheck>,
    /// `None` for a request that has not ended.
    pub settlement: Option<SettlementCheck>,
}

impl Explanation {
    /// False if anything does not follow, `None` if something could not be decided again.
    pub fn follows(&self) -> Option<bool> {
        let verdicts: Vec<Option<bool>> = [&self.life].into_iter().chain(self.parts()).map(Verdict::follows).collect();
        if verdicts.contains(&Some(false)) {
            return Some(false);
        }
        verdicts.iter().all(Option::is_some).then_some(true)
    }

    fn has_difference_at(&self, position: u64) -> bool {
        self.parts().flat_map(|part| &part.differences).any(|difference| difference.position == position)
    }

    /// The verdicts on its parts, but not the one on the order of its events.
    fn parts(&self) -> impl Iterator<Item = &Verdict> {
        let parts = [
            self.admission.as_ref().map(|part| &part.verdict),
            self.bound.as_ref().map(|part| &part.verdict),
            self.route.as_ref().map(|part| &part.verdict),
            self.settlement.as_ref().map(|part| &part.verdict),
        ];
        parts.into_iter().flatten()
    }
}

/// How much is read for one request, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBounds {
    /// Positions that are examined for the budgets of one owner.
    pub positions: u64,
    /// Changes of prices, and of budgets and rate limits of the request's partner.
    pub changes: usize,
}

impl Default for ReadBounds {
    fn default() -> Self {
        Self { positions: 1_000_000, changes: 200_000 }
    }
}

/// Decides a request again. `None` if the log has no event of it.
pub fn explain(reader: &dyn Reader, request: RequestId, bounds: ReadBounds) -> Result<Option<Explanation>, LogError> {
    let Some(evidence) = Evidence::read(reader, request, bounds)? else { return Ok(None) };
    let Some(begin) = evidence.life.first() else { return Ok(None) };
    let mut explanation = Explanation {
        request,
        position: begin.position,
        recorded_at: begin.recorded_at,
        context: begin.context.clone(),
        life: Verdict::default(),
        admission: None,
        bound: None,
        route: None,
        settlement: None,
    };
    if let Some(of) = evidence.admission() {
        let held = evidence.held();
        let bound = bound::check(of, held);
        explanation.admission = Some(admission::check(reader, of, &bound)?);
        explanation.bound = Some(bound);
        explanation.route = Some(route::check(of));
        explanation.settlement = settlement::check(&evidence, held);
    } else if let Event::Inference(Inference::Refused(refused)) = &begin.event {
        explanation.admission = Some(refusal::check(reader, &evidence, begin, refused)?);
    }
    reader.check_interrupt()?;
    if !evidence.is_whole {
        explanation.life.undecided.push(evidence.too_many_changes());
    } else if let Err(BrokenRequest { position, reason }) = check_request(&evidence.resources(), &evidence.life)
        && !explanation.has_difference_at(position)
    {
        explanation.life.differences.push(Difference::rule(position, reason));
    }
    Ok(Some(explanation))
}

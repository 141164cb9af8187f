//! A rate limit: the requests and tokens that its scope may use in a minute, an hour and a day, and its concurrent requests.
//! The scope never changes.

use events::event::admin::{RateLimit, ResourceBound, WhenUnshared};
use events::ids::LimitId;
use events::limit::Measure;

use super::prelude::*;
use super::scope::{require_room, scope, scope_name};

pub(super) const REQUESTS_MAX: u64 = 1_000_000_000;
pub(super) const TOKENS_MAX: u64 = 1_000_000_000_000;

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    // At least 1: to stop a key, end it.
    let measures = Measure::ALL.iter().map(|measure| {
        let number_max = if measure.is_of_tokens() { TOKENS_MAX } else { REQUESTS_MAX };
        optional(measure.as_str(), whole(1, number_max)).meaning("A rate limit has at least one of the measures")
    });
    let when_unshared = defaulting("when_unshared", one_of(WhenUnshared::NAMED), json!("local")).meaning(
        "While a node cannot count in Redis: local admits its share of the limit, closed refuses every request",
    );
    let others = [when_unshared, labels(), scope_name()];
    let members = [required("scope", scope()).fixed()].into_iter().chain(measures).chain(others);
    let scope = json!({ "tenant_id": "ten_00000000000000000000000000000001" });
    let example = json!({ "scope": scope, "requests_per_minute": 60 });
    Declaration::of::<RateLimit>(members, example)
});

impl Rules for RateLimit {
    type State = Self;

    /// Without a measure it would limit nothing: end it instead.
    fn validated(self) -> Result<Self, RuleError> {
        if self.bounds.is_empty() { Err(without_measure()) } else { Ok(self) }
    }
}

fn without_measure() -> RuleError {
    let names = Measure::words().collect::<Vec<_>>().join(", ");
    RuleError::of_field("", format!("a rate limit must have at least one of: {names}"))
}

impl Administered for RateLimit {
    const PATH: &'static str = "/v1/admin/rate-limits";
    const DECLARATION: &'static LazyLock<Declaration> = &DECLARATION;

    fn chain(state: &RateLimit, tables: &Tables) -> Chain {
        tables.chain_of_scope(state.scope.owner).unwrap_or_default()
    }

    fn may_manage(cx: &AdminContext<'_>, state: &RateLimit) -> Result<(), CommandError> {
        cx.require_wider_reach(state.scope.owner)
    }

    async fn create(cx: &AdminContext<'_>, id: LimitId, given: FieldValues) -> PlanResult<Self> {
        let made: Self = Self::of_values(id, given)?;
        let chain = cx.scope(made.scope.owner, "scope")?;
        require_room(
            &made.scope,
            cx.tables.rate_limits_under_same_condition(&made.scope).count(),
            ResourceBound::RateLimits,
        )?;
        Ok(CommandPlan::creation(made, chain))
    }

    async fn change(cx: &AdminContext<'_>, state: &RateLimit, given: FieldValues) -> PlanResult<Self> {
        cx.require_live_team(state.scope.owner)?;
        Ok(CommandPlan::of(Command::Change(given), state, cx))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use events::event::admin::Scope;
    use events::limit::Bounds;
    use events::limit::Measure::RequestsPerMinute;

    use super::*;
    use crate::admin::lifecycle::Command::{Create, End};
    use crate::admin::lifecycle::spec::{self, changed, created, ended, id};
    use crate::admin::tests::change;

    fn given(facts: impl IntoIterator<Item = Resource>) -> spec::Given<RateLimit> {
        spec::given(facts)
    }

    fn limit(bounds: Bounds) -> RateLimit {
        RateLimit::new(id(1), Scope::Key(id(2)), bounds)
    }

    fn minute(requests_per_minute: u64) -> RateLimit {
        limit(Bounds::of(RequestsPerMinute, requests_per_minute))
    }

    #[test]
    fn a_rate_limit_is_made_changed_and_ended() {
        let nine = || change(&json!({ "requests_per_minute": 9 }));
        let ended = || ended::<RateLimit>(id(1));
        given([]).when(Create(minute(3))).then([created(minute(3))]);
        given([created(minute(3))]).when(nine()).then([changed(minute(9))]);
        given([created(minute(3))]).when(End).then([ended()]);
        given([created(minute(3)), ended()]).when(nine()).then_refused(RuleError::Ended);
    }

    #[test]
    fn a_change_sets_and_removes_what_it_names_and_keeps_the_rest() {
        let both = limit(Bounds { tokens_per_day: Some(7), ..minute(3).bounds });
        let made = || created(minute(3));
        given([made()]).when(change(&json!({ "tokens_per_day": 7 }))).then([changed(both.clone())]);
        given([created(both.clone())]).when(change(&json!({ "tokens_per_day": null }))).then([changed(minute(3))]);
        given([made()]).when(change(&json!({}))).then([changed(minute(3))]);
    }

    #[test]
    fn no_rate_limit_is_left_without_a_measure() {
        let none = change(&json!({ "requests_per_minute": null }));
        given([created(minute(3))]).when(none).then_refused(without_measure());
        given([]).when(Create(limit(Bounds::default()))).then_refused(without_measure());
    }
}

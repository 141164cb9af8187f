//! The price of one backend model. It is in force from `effective_from`, by default now, until a later price of the same model
//! is. A rate that is left out follows another for as long as it is left out, also when that one changes: cache classes cost
//! what input costs, reasoning what output costs, and a request nothing. Only the platform manages prices.

use std::sync::LazyLock;

use events::event::Chain;
use events::event::admin::Price;
use events::ids::{PriceId, ProviderId};
use events::money::{GivenRates, OptionalRate};
use events::time::rfc3339;
use openapi::schema;
use projections::tables::Tables;
use serde_json::{Map, Value, json};

use super::{NAME_LEN_MAX, made_by_gateway};
use crate::admin::admin_context::AdminContext;
use crate::admin::declaration::{Declaration, defaulting, only_in_reads, replied, required};
use crate::admin::error::CommandError;
use crate::admin::field_type::{amount, id, text, time};
use crate::admin::field_values::{self, FieldValues};
use crate::admin::lifecycle::{Command, Rules};
use crate::admin::routes::{Administered, CommandPlan, Planned};

const PLATFORM_ONLY: &str = "only the platform may manage prices";

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let rate = |name| required(name, amount()).shown_as(schema::money());
    let optional_rate = |name, default: &str| {
        defaulting(name, amount(), Value::Null).reset_by_null().shown_as(schema::money()).meaning(default)
    };
    let as_input = "The input price if absent; null in a change removes it";
    let as_output = "The output price if absent; null in a change removes it";
    let as_nothing = "0 if absent; null in a change removes it";
    let defaulted = schema::list(schema::one_of(OptionalRate::words()), None);
    let members = vec![
        required("provider_id", id::<ProviderId>()).fixed(),
        required("model", text(NAME_LEN_MAX)).fixed(),
        rate("input_usd_per_mtok"),
        rate("output_usd_per_mtok"),
        optional_rate("cache_read_usd_per_mtok", as_input),
        optional_rate("cache_write_usd_per_mtok", as_input),
        optional_rate("reasoning_usd_per_mtok", as_output),
        optional_rate("request_usd", as_nothing),
        replied("defaulted", defaulted)
            .meaning("The prices that are absent, and so follow the input price, the output price, or are 0"),
        defaulting("effective_from", time(), Value::Null)
            .meaning("The price is in force from this time until a later price of the same model is. Default: now"),
        made_by_gateway::origin(
            "catalogue if the gateway made it from its price list, discovered if it is the one of a model at a local server; null \
             if a command created it, which then takes precedence while it is live",
        ),
        only_in_reads("in_force", schema::boolean()).meaning("True if requests are charged at this price now"),
    ];
    let example = json!({
        "provider_id": "prv_0000000000000000000000000000000b", "model": "echo",
        "input_usd_per_mtok": "2.5", "output_usd_per_mtok": "10",
    });
    Declaration::of::<Price>(members, example)
});

impl Rules for Price {
    type State = Self;

    fn settable(&self) -> Map<String, Value> {
        let mut members = field_values::members(self);
        self.defaulted().iter().for_each(|rate| drop(members.remove(rate.as_str())));
        members
    }

    fn derive(members: &mut Map<String, Value>) -> Result<(), serde_json::Error> {
        let given: GivenRates = serde_json::from_value(members.clone().into())?;
        members.extend(field_values::members(&given.resolved()));
        members.insert("defaulted".to_owned(), json!(given.defaulted()));
        Ok(())
    }
}

impl Administered for Price {
    const PATH: &'static str = "/v1/admin/prices";
    const DECLARATION: &'static LazyLock<Declaration> = &DECLARATION;

    /// The owners of the provider; empty for a shared one.
    fn chain(state: &Price, tables: &Tables) -> Chain {
        let tenant = tables.provider(state.provider_id).and_then(|entry| entry.value.tenant_id);
        tenant.and_then(|tenant| tables.chain_of_tenant(tenant)).unwrap_or_default()
    }

    fn may_create(cx: &AdminContext<'_>) -> Result<(), CommandError> {
        cx.require_platform(PLATFORM_ONLY)
    }

    fn may_manage(cx: &AdminContext<'_>, state: &Price) -> Result<(), CommandError> {
        cx.require_platform(PLATFORM_ONLY)?;
        made_by_gateway::refuse_price(state, &cx.tables)
    }

    async fn create(cx: &AdminContext<'_>, id: PriceId, mut given: FieldValues) -> Planned<Self> {
        if !given.has("effective_from") {
            given.put("effective_from", rfc3339(cx.now));
        }
        let made: Self = Self::of_values(id, given)?;
        let tenant = cx.tables.provider(made.provider_id).and_then(|entry| entry.value.tenant_id);
        cx.provider(made.provider_id, tenant, "provider_id")?;
        let chain = Self::chain(&made, &cx.tables);
        Ok(CommandPlan::new(Command::Create(made), chain))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use events::money::{NanoUsd, NanoUsdPerMtok};
    use events::time::from_micros;

    use super::*;
    use crate::admin::lifecycle::Command::{Create, End};
    use crate::admin::lifecycle::RuleError;
    use crate::admin::lifecycle::spec::{self, changed, created, ended, id};
    use crate::admin::tests::change;

    fn given(facts: impl IntoIterator<Item = Resource>) -> spec::Given<Price> {
        spec::given(facts)
    }

    fn per_mtok(nanos: i64) -> NanoUsdPerMtok {
        NanoUsdPerMtok::new(NanoUsd::new(nanos)).unwrap()
    }

    fn at(given: GivenRates) -> Price {
        Price::new((id(1), id(2)), "echo", given, from_micros(1))
    }

    fn price(input: i64) -> Price {
        at(GivenRates::new(per_mtok(input), per_mtok(15)))
    }

    #[test]
    fn an_absent_rate_follows_the_one_that_it_is_derived_from() {
        let change_of = |field: &str, nanos| change(&json!({ field: per_mtok(nanos) }));
        given([created(price(3))]).when(change_of("input_usd_per_mtok", 4)).then([changed(price(4))]);
        let rates = GivenRates::new(per_mtok(3), per_mtok(20));
        given([created(price(3))]).when(change_of("output_usd_per_mtok", 20)).then([changed(at(rates))]);
        assert_eq!(at(rates).rates.reasoning_usd_per_mtok, per_mtok(20));
    }

    #[test]
    fn a_price_keeps_its_time_of_effect_unless_a_change_moves_it() {
        let at_two = Price { effective_from: from_micros(2), ..price(3) };
        let postponed = change(&json!({ "effective_from": "1970-01-01T00:00:00.000002Z" }));
        given([created(price(3))]).when(postponed).then([changed(at_two.clone())]);
        let dearer = change(&json!({ "input_usd_per_mtok": per_mtok(4) }));
        let later = Price { effective_from: from_micros(2), ..price(4) };
        given([created(at_two)]).when(dearer).then([changed(later)]);
    }

    #[test]
    fn a_given_rate_stays_until_it_is_removed() {
        let same = GivenRates { reasoning: Some(per_mtok(15)), ..GivenRates::new(per_mtok(3), per_mtok(15)) };
        given([created(at(same))])
            .when(change(&json!({ "output_usd_per_mtok": per_mtok(20) })))
            .then([changed(at(GivenRates { output: per_mtok(20), ..same }))]);
        let removed = change(&json!({ "output_usd_per_mtok": per_mtok(20), "reasoning_usd_per_mtok": null }));
        let without = GivenRates::new(per_mtok(3), per_mtok(20));
        given([created(at(same))]).when(removed).then([changed(at(without))]);
    }

    #[test]
    fn a_price_without_the_list_of_absent_rates_counts_those_that_equal_their_default() {
        let cached = GivenRates { cache_read: Some(per_mtok(1)), ..GivenRates::new(per_mtok(3), per_mtok(15)) };
        let earlier = Price { defaulted: None, ..at(cached) };
        let change = change(&json!({ "input_usd_per_mtok": per_mtok(4), "output_usd_per_mtok": per_mtok(20) }));
        let given_now = GivenRates { input: per_mtok(4), output: per_mtok(20), ..cached };
        given([created(earlier)]).when(change).then([changed(at(given_now))]);
    }

    #[test]
    fn a_price_is_made_and_ended_once() {
        given([]).when(Create(price(3))).then([created(price(3))]);
        given([created(price(3))]).when(Create(price(3))).then_refused(RuleError::Exists);
        let ended = || ended::<Price>(id(1));
        given([created(price(3))]).when(End).then([ended()]);
        given([created(price(3)), ended()]).when(change(&json!({}))).then_refused(RuleError::Ended);
    }
}

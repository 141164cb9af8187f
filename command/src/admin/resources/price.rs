//! A price of one backend model. It is in force from `effective_from` until a later one is; from now on where nothing else is
//! said. A class that was left out follows input or output for as long as it is left out, also when another price changes: cache
//! classes cost what input costs, reasoning what output costs, a request nothing. Prices are the platform's alone.

use std::convert::Infallible;
use std::sync::LazyLock;

use events::event::admin::Price;
use events::event::{Chain, ResourceState};
use events::ids::{PriceId, ProviderId};
use events::money::{GivenRates, OptionalRate};
use events::time::rfc3339;
use openapi::schema;
use projections::tables::Tables;
use serde_json::{Map, Value, json};

use super::NAME_LEN_MAX;
use crate::admin::admin_context::AdminContext;
use crate::admin::declaration::{Declaration, Members, defaulting, read, replied, required};
use crate::admin::error::CommandError;
use crate::admin::field_type::{amount, id, text, time};
use crate::admin::given::{self, FromGiven, Given};
use crate::admin::lifecycle::{Command, LifecycleError, Rules};
use crate::admin::routes::{Administered, Plan};

const PLATFORM_ONLY: &str = "prices are managed by the platform";

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let rate = |name| required(name, amount()).shown_as(schema::money());
    let optional_rate = |name, default: &str| {
        defaulting(name, amount(), Value::Null).reset_by_null().shown_as(schema::money()).meaning(default)
    };
    let as_input = "What input costs for as long as it is absent; null in a change makes it absent";
    let as_output = "What output costs for as long as it is absent; null in a change makes it absent";
    let as_nothing = "Nothing for as long as it is absent; null in a change makes it absent";
    let defaulted = schema::list(schema::one_of(OptionalRate::ALL.iter().map(|rate| rate.as_str())), None);
    let members = vec![
        required("provider_id", id::<ProviderId>(ProviderId::PREFIX)).fixed(),
        required("model", text(NAME_LEN_MAX)).fixed(),
        rate("input_usd_per_mtok"),
        rate("output_usd_per_mtok"),
        optional_rate("cache_read_usd_per_mtok", as_input),
        optional_rate("cache_write_usd_per_mtok", as_input),
        optional_rate("reasoning_usd_per_mtok", as_output),
        optional_rate("request_usd", as_nothing),
        replied("defaulted", defaulted)
            .meaning("The prices that are absent, so that they follow input, output or cost nothing"),
        defaulting("effective_from", time(), Value::Null)
            .meaning("In force from then on, until a later price of the same model is; now, where it is absent"),
        read("in_force", schema::boolean()).meaning("Whether requests are charged by it now"),
    ];
    let example = json!({
        "provider_id": "prv_0000000000000000000000000000000b", "model": "echo",
        "input_usd_per_mtok": "2.5", "output_usd_per_mtok": "10",
    });
    Declaration { kind: Price::KIND, prefix: PriceId::PREFIX, members: Members(members), example }
});

impl FromGiven for Price {
    fn given(&self) -> Map<String, Value> {
        let mut members = given::members(self);
        self.defaulted().iter().for_each(|rate| drop(members.remove(rate.as_str())));
        members
    }

    fn resolve(members: &mut Map<String, Value>) -> Result<(), serde_json::Error> {
        let given: GivenRates = serde_json::from_value(members.clone().into())?;
        members.extend(given::members(&given.resolved()));
        members.insert("defaulted".to_owned(), json!(given.defaulted()));
        Ok(())
    }
}

impl Rules for Price {
    type State = Self;
    type Special = Infallible;
    type Error = LifecycleError;
}

impl Administered for Price {
    const PATH: &'static str = "/v1/admin/prices";

    fn declaration() -> &'static Declaration {
        &DECLARATION
    }

    /// The tenant's whose own the provider is, or nobody's.
    fn chain(state: &Price, tables: &Tables) -> Chain {
        let tenant = tables.provider(state.provider_id).and_then(|entry| entry.value.tenant_id);
        tenant.and_then(|tenant| tables.chain_of_tenant(tenant)).unwrap_or_default()
    }

    fn refused(error: LifecycleError) -> CommandError {
        CommandError::of_lifecycle(Self::KIND, error)
    }

    fn may_create(cx: &AdminContext<'_>) -> Result<(), CommandError> {
        cx.platform(PLATFORM_ONLY)
    }

    fn manage(cx: &AdminContext<'_>, _: &Price) -> Result<(), CommandError> {
        cx.platform(PLATFORM_ONLY)
    }

    async fn create(cx: &AdminContext<'_>, id: PriceId, mut given: Given) -> Result<Plan<Self>, CommandError> {
        if !given.names("effective_from") {
            given.put("effective_from", rfc3339(cx.now));
        }
        let made: Self = given.make(id)?;
        let tenant = cx.tables.provider(made.provider_id).and_then(|entry| entry.value.tenant_id);
        cx.provider(made.provider_id, tenant, "provider_id")?;
        let chain = Self::chain(&made, &cx.tables);
        Ok(Plan::new(Command::Create(made), chain))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use events::money::{NanoUsd, NanoUsdPerMtok};
    use events::time::from_micros;

    use super::*;
    use crate::admin::lifecycle::Command::{Create, End};
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
    fn what_was_left_out_follows_what_it_is_derived_from() {
        let change_of = |field: &str, nanos| change(&json!({ field: per_mtok(nanos) }));
        given([created(price(3))]).when(change_of("input_usd_per_mtok", 4)).then([changed(price(4))]);
        let rates = GivenRates::new(per_mtok(3), per_mtok(20));
        given([created(price(3))]).when(change_of("output_usd_per_mtok", 20)).then([changed(at(rates))]);
        assert_eq!(at(rates).rates.reasoning_usd_per_mtok, per_mtok(20));
    }

    #[test]
    fn a_price_comes_into_force_when_it_is_said_to_and_else_when_it_did() {
        let at_two = Price { effective_from: from_micros(2), ..price(3) };
        let postponed = change(&json!({ "effective_from": "1970-01-01T00:00:00.000002Z" }));
        given([created(price(3))]).when(postponed).then([changed(at_two.clone())]);
        let dearer = change(&json!({ "input_usd_per_mtok": per_mtok(4) }));
        let later = Price { effective_from: from_micros(2), ..price(4) };
        given([created(at_two)]).when(dearer).then([changed(later)]);
    }

    #[test]
    fn what_was_given_stays_and_is_left_out_again_where_it_is_removed() {
        let same = GivenRates { reasoning: Some(per_mtok(15)), ..GivenRates::new(per_mtok(3), per_mtok(15)) };
        given([created(at(same))])
            .when(change(&json!({ "output_usd_per_mtok": per_mtok(20) })))
            .then([changed(at(GivenRates { output: per_mtok(20), ..same }))]);
        let removed = change(&json!({ "output_usd_per_mtok": per_mtok(20), "reasoning_usd_per_mtok": null }));
        let without = GivenRates::new(per_mtok(3), per_mtok(20));
        given([created(at(same))]).when(removed).then([changed(at(without))]);
    }

    #[test]
    fn of_a_price_that_does_not_say_what_was_left_out_what_equals_its_default_was() {
        let cached = GivenRates { cache_read: Some(per_mtok(1)), ..GivenRates::new(per_mtok(3), per_mtok(15)) };
        let earlier = Price { defaulted: None, ..at(cached) };
        let change = change(&json!({ "input_usd_per_mtok": per_mtok(4), "output_usd_per_mtok": per_mtok(20) }));
        let given_now = GivenRates { input: per_mtok(4), output: per_mtok(20), ..cached };
        given([created(earlier)]).when(change).then([changed(at(given_now))]);
    }

    #[test]
    fn a_price_is_made_and_ended_once() {
        given([]).when(Create(price(3))).then([created(price(3))]);
        given([created(price(3))]).when(Create(price(3))).then_refused(LifecycleError::Exists);
        let ended = || ended::<Price>(id(1));
        given([created(price(3))]).when(End).then([ended()]);
        given([created(price(3)), ended()]).when(change(&json!({}))).then_refused(LifecycleError::Ended);
    }
}

//! The price of one backend model. It is in force from `effective_from`, by default now, until a later price of the same model
//! is. A change of a price that has begun also re-values the requests since then (`command/src/revaluation.rs`). A rate that is
//! left out follows another for as long as it is left out, also when that one changes: cache classes cost what input costs,
//! reasoning what output costs, and a request nothing. Tiers have other prices for long prompts and for service tiers. Only the
//! platform manages prices of shared providers; whoever manages a tenant's own provider sets its prices.

use chrono::{DateTime, Utc};
use events::event::admin::Price;
use events::ids::{PriceId, ProviderId};
use events::money::{GivenRates, InvalidTiers, OptionalRate, PriceTier, Tariff, Tiers, TokenRate};
use events::time::rfc3339;
use events::usage::ServiceTier;
use events_log::Reader;

use super::made_by_gateway;
use super::prelude::*;
use crate::admin::AdminState;
use crate::admin::administered::ConsecutiveEvents;
use crate::admin::field_values;
use crate::admin::resource_bounds::PRICES_OF_BACKEND_MAX;
use crate::revaluation::concerned::KnownBefore;

const PROMPT_TOKENS_MAX: u64 = 100_000_000;
const REVALUES_FROM: &str = "revalues_from";
const EFFECTIVE_FROM: &str = "effective_from";

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let rate = |name| required(name, amount()).shown_as(schema::money());
    let optional_rate = |name, default: &str| {
        defaulting(name, amount(), Value::Null).reset_by_null().shown_as(schema::money()).meaning(default)
    };
    let as_input = "The input price if absent; null in a change removes it";
    let as_output = "The output price if absent; null in a change removes it";
    let as_nothing = "0 if absent; null in a change removes it";
    let defaulted = schema::list(schema::one_of(OptionalRate::words()), None);
    let rarely_given = |name, default: &str| {
        optional(name, amount()).shown_as(schema::money()).meaning(&format!("{default} if absent"))
    };
    let mut members = vec![
        required("provider_id", id::<ProviderId>()).fixed(),
        required("model", text(NAME_LEN_MAX)).fixed(),
        rate("input_usd_per_mtok"),
        rate("output_usd_per_mtok"),
        optional_rate("cache_read_usd_per_mtok", as_input),
        optional_rate("cache_write_usd_per_mtok", as_input),
        optional_rate("reasoning_usd_per_mtok", as_output),
        optional_rate("request_usd", as_nothing),
    ];
    let rates = TokenRate::ALL.iter().filter(|rate| rate.is_recorded_if_given());
    members.extend(rates.map(|rate| rarely_given(rate.as_str(), stand_in(*rate))));
    members.extend([
        rarely_given("input_image_usd", "For each image in a request, beside its tokens. 0"),
        rarely_given("search_usd", "For each search that the provider reports. 0"),
        defaulting("tiers", tiers(), json!([]))
            .reset_by_null()
            .shown_as(schema::list(tier().creation().open(), None))
            .meaning(
                "Prices of requests that meet the conditions of a tier: a prompt of more than above_input_tokens tokens, \
                 which prices the whole request, or a service_tier that the response reports, or both. What a tier does \
                 not name is of the tier with one condition fewer (of two such, the dearer price), or of the base price",
            ),
        replied("defaulted", defaulted)
            .meaning("The prices that are absent, and so follow the input price, the output price, or are 0"),
        defaulting(EFFECTIVE_FROM, time(), Value::Null)
            .meaning(
                "The price is in force from this time until a later price of the same model is. Default: now. A time in the past, \
                 and any change of a price that has begun, also re-values the requests that were admitted since: signed \
                 corrections follow in the background. To change a price from now on, create another one",
            ),
        made_by_gateway::origin(
            "catalogue if the gateway made it from its price list, discovered if it is the one of a model at a local server; null \
             if a command created it, which then takes precedence while it is live",
        ),
        labels(),
        in_some_replies(REVALUES_FROM, schema::time()).meaning(
            "The change re-values the requests since this time for which the price is or was in force: their corrections follow \
             in the background. Absent if it concerns later requests alone",
        ),
        in_some_replies("in_force", schema::boolean()).meaning("True if requests are charged at this price now"),
    ]);
    let example = json!({
        "provider_id": "prv_0000000000000000000000000000000b", "model": "echo",
        "input_usd_per_mtok": "2.5", "output_usd_per_mtok": "10", "cache_read_usd_per_mtok": "0.25",
        "tiers": [
            { "above_input_tokens": 200_000, "input_usd_per_mtok": "5", "output_usd_per_mtok": "15" },
            { "service_tier": "flex", "input_usd_per_mtok": "1.25", "output_usd_per_mtok": "5" },
        ],
    });
    Declaration::of::<Price>(members, example)
});

/// Describes the price of a rate that is left out.
fn stand_in(rate: TokenRate) -> &'static str {
    match rate.follows() {
        Some(TokenRate::Input) => "The input price",
        Some(TokenRate::Output) => "The output price",
        Some(TokenRate::CacheRead) => "The price of reading from a cache",
        Some(TokenRate::CacheWrite) => "The price of writing to a cache",
        Some(_) | None => "0",
    }
}

fn tier() -> Members {
    let conditions = [
        optional("above_input_tokens", whole(1, PROMPT_TOKENS_MAX))
            .meaning("The tier prices the whole request if its prompt has more tokens, cached or not"),
        optional("service_tier", one_of(ServiceTier::NAMED)).meaning("The tier prices requests that it served"),
    ];
    let rate = |rate: &TokenRate| optional(rate.as_str(), amount());
    Members(conditions.into_iter().chain(TokenRate::ALL.iter().map(rate)).collect::<Vec<Member>>())
}

fn tiers() -> FieldType {
    let tier = tier();
    let shape = schema::list(tier.creation().closed(), Some(Tiers::LEN_MAX));
    FieldType::new(shape, move |field| {
        let path = field.path().to_owned();
        let given = field.list(Tiers::LEN_MAX, |item| tier.read_object(item))?;
        let tiers: Result<Vec<PriceTier>, _> = serde_json::from_value(json!(given));
        let tiers = tiers.map_err(|error| FieldError::new(&path, error.to_string()))?;
        Tiers::new(tiers).map_err(|wrong| match wrong {
            InvalidTiers::TooMany => FieldError::new(&path, wrong.to_string()),
            InvalidTiers::NoCondition { at } | InvalidTiers::Repeated { at, .. } => {
                FieldError::new(format!("{path}[{at}]"), wrong.to_string())
            }
        })
    })
}

impl Rules for Price {
    type State = Self;

    fn settable(&self) -> Map<String, Value> {
        let mut members = field_values::members(self);
        self.tariff.defaulted().iter().for_each(|rate| drop(members.remove(rate.as_str())));
        members
    }

    fn derive(members: &mut Map<String, Value>) -> Result<(), serde_json::Error> {
        let given: GivenRates = serde_json::from_value(members.clone().into())?;
        members.extend(field_values::members(&Tariff::new(given)));
        Ok(())
    }
}

impl Administered for Price {
    const PATH: &'static str = "/v1/admin/prices";
    const DECLARATION: &'static LazyLock<Declaration> = &DECLARATION;

    /// Without a time, the price is in force from its creation on.
    fn complete(given: &mut FieldValues) -> Result<Map<String, Value>, RuleError> {
        let mut beside = Map::new();
        if !given.has(EFFECTIVE_FROM) {
            given.put(EFFECTIVE_FROM, rfc3339(DateTime::UNIX_EPOCH));
            beside.insert(EFFECTIVE_FROM.to_owned(), Value::Null);
        }
        Ok(beside)
    }

    /// The owners of the provider; empty for a shared one.
    fn chain(state: &Price, tables: &Tables) -> Chain {
        let tenant = tables.provider(state.provider_id).and_then(|entry| entry.value.tenant_id);
        tenant.and_then(|tenant| tables.chain_of_tenant(tenant)).unwrap_or_default()
    }

    fn may_manage(cx: &AdminContext<'_>, state: &Price) -> Result<(), CommandError> {
        made_by_gateway::refuse_price(state, &cx.tables)
    }

    async fn create(cx: &AdminContext<'_>, id: PriceId, mut given: FieldValues) -> PlanResult<Self> {
        if !given.has(EFFECTIVE_FROM) {
            given.put(EFFECTIVE_FROM, rfc3339(cx.now));
        }
        let made: Self = Self::of_values(id, given)?;
        let chain = cx.priced_provider(made.provider_id, "provider_id")?;
        cx.require_own_providers(chain.tenant)?;
        if cx.tables.prices_of_backend(made.provider_id, &made.model).count() >= PRICES_OF_BACKEND_MAX {
            let reason =
                format!("has {PRICES_OF_BACKEND_MAX} prices of this provider already: delete some of them first");
            return Err(FieldError::new("model", reason).into());
        }
        Ok(CommandPlan::creation(made, chain))
    }

    async fn change(cx: &AdminContext<'_>, state: &Price, given: FieldValues) -> PlanResult<Self> {
        let plan = CommandPlan::of(Command::Change(given), state, cx);
        cx.require_own_providers(plan.chain.tenant)?;
        Ok(plan)
    }

    async fn consequences(admin: &AdminState, of: ConsecutiveEvents) -> Result<Map<String, Value>, CommandError> {
        let since = revalues_from(admin, of).await?;
        Ok(since.map(|since| (REVALUES_FROM.to_owned(), rfc3339(since).into())).into_iter().collect())
    }
}

/// Since when a change of a price re-values requests.
async fn revalues_from(admin: &AdminState, of: ConsecutiveEvents) -> Result<Option<DateTime<Utc>>, CommandError> {
    let read =
        move |reader: &dyn Reader| Ok((reader.at(&[of.before, of.position])?, reader.revaluation_begins_after()?));
    let (events, begins_after) = admin.log.read(read).await?;
    let state = |position| events.get(&position)?.event.state::<Price>();
    let Some((recorded, price)) = events.get(&of.position).zip(state(of.position)) else { return Ok(None) };
    let before = state(of.before);
    let had_price = || {
        let tables = admin.tables.load();
        before.is_some() || tables.had_another_price(price, recorded.position, recorded.recorded_at)
    };
    Ok(KnownBefore { begins_after, before }.concerns_since(recorded, price, had_price))
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
        Price::new(id(1), id(2), "echo", given, from_micros(1))
    }

    fn price(input: i64) -> Price {
        at(GivenRates::new(per_mtok(input), per_mtok(15)))
    }

    #[test]
    fn an_absent_rate_follows_the_one_that_it_is_derived_from() {
        let change_of = |field: &str, nanos| change(&json!({ field: per_mtok(nanos) }));
        given([created(price(3))]).when(change_of("input_usd_per_mtok", 4)).then([changed(price(4))]);
        let rates = GivenRates::new(per_mtok(3), per_mtok(20));
        given([created(price(3))]).when(change_of("output_usd_per_mtok", 20)).then([changed(at(rates.clone()))]);
        assert_eq!(at(rates).tariff.base().of(TokenRate::Reasoning), per_mtok(20));
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
        let same = GivenRates::new(per_mtok(3), per_mtok(15)).with(TokenRate::Reasoning, per_mtok(15));
        given([created(at(same.clone()))])
            .when(change(&json!({ "output_usd_per_mtok": per_mtok(20) })))
            .then([changed(at(same.clone().with(TokenRate::Output, per_mtok(20))))]);
        let removed = change(&json!({ "output_usd_per_mtok": per_mtok(20), "reasoning_usd_per_mtok": null }));
        let without = GivenRates::new(per_mtok(3), per_mtok(20));
        given([created(at(same))]).when(removed).then([changed(at(without))]);
    }

    #[test]
    fn a_price_without_the_list_of_absent_rates_counts_those_that_equal_their_default() {
        let cached = GivenRates::new(per_mtok(3), per_mtok(15)).with(TokenRate::CacheRead, per_mtok(1));
        let now = at(cached.clone());
        let earlier = Price { tariff: now.tariff.clone().as_first_recorded(), ..now };
        let change = change(&json!({ "input_usd_per_mtok": per_mtok(4), "output_usd_per_mtok": per_mtok(20) }));
        let given_now = cached.with(TokenRate::Input, per_mtok(4)).with(TokenRate::Output, per_mtok(20));
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

//! A price of one backend model. It is in force from `effective_from` until a later one is. A class that was left out
//! follows input or output for as long as it is left out.

use std::convert::Infallible;

use chrono::{DateTime, Utc};
use events::event::admin::Price;
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok};

use crate::admin::fields::Patched;
use crate::admin::lifecycle::{LifecycleError, Rules};

/// `None` and [`Patched::Kept`] keep what is there: a rate that was given as well as one that was left out.
/// [`Patched::Removed`] leaves it out from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangePrice {
    pub input: Option<NanoUsdPerMtok>,
    pub output: Option<NanoUsdPerMtok>,
    pub cache_read: Patched<NanoUsdPerMtok>,
    pub cache_write: Patched<NanoUsdPerMtok>,
    pub reasoning: Patched<NanoUsdPerMtok>,
    pub request: Patched<NanoUsd>,
    pub effective_from: Option<DateTime<Utc>>,
}

impl ChangePrice {
    fn over(self, current: &Price) -> Price {
        let given = current.given();
        let changed = GivenRates {
            input: self.input.unwrap_or(given.input),
            output: self.output.unwrap_or(given.output),
            cache_read: self.cache_read.over(given.cache_read),
            cache_write: self.cache_write.over(given.cache_write),
            reasoning: self.reasoning.over(given.reasoning),
            request: self.request.over(given.request),
        };
        let effective_from = self.effective_from.unwrap_or(current.effective_from);
        Price { effective_from, ..current.clone() }.at(changed)
    }
}

impl Rules for Price {
    type State = Self;
    type Change = ChangePrice;
    type Special = Infallible;
    type Error = LifecycleError;

    fn changed(&self, change: ChangePrice) -> Result<Self, LifecycleError> {
        Ok(change.over(self))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use events::time::from_micros;

    use super::*;
    use crate::admin::lifecycle::Command::{Change, Create, End};
    use crate::admin::lifecycle::spec::{self, Given, changed, created, ended, id};

    fn given(facts: impl IntoIterator<Item = Resource>) -> Given<Price> {
        spec::given(facts)
    }

    fn per_mtok(nanos: i64) -> NanoUsdPerMtok {
        NanoUsdPerMtok::new(NanoUsd::new(nanos)).unwrap()
    }

    fn at(given: GivenRates) -> Price {
        Price {
            price_id: id(1),
            provider_id: id(2),
            model: "echo".into(),
            rates: given.resolved(),
            defaulted: Some(given.defaulted()),
            effective_from: from_micros(1),
        }
    }

    fn price(input: i64) -> Price {
        at(GivenRates::new(per_mtok(input), per_mtok(15)))
    }

    #[test]
    fn what_was_left_out_follows_what_it_is_derived_from() {
        let change = ChangePrice { input: Some(per_mtok(4)), ..ChangePrice::default() };
        given([created(price(3))]).when(Change(change)).then([changed(price(4))]);
        let dearer = ChangePrice { output: Some(per_mtok(20)), ..ChangePrice::default() };
        let rates = GivenRates::new(per_mtok(3), per_mtok(20));
        given([created(price(3))]).when(Change(dearer)).then([changed(at(rates))]);
        assert_eq!(at(rates).rates.reasoning_usd_per_mtok, per_mtok(20));
    }

    #[test]
    fn a_price_comes_into_force_when_it_is_said_to_and_else_when_it_did() {
        let at_two = Price { effective_from: from_micros(2), ..price(3) };
        let change = ChangePrice { effective_from: Some(from_micros(2)), ..ChangePrice::default() };
        given([created(price(3))]).when(Change(change)).then([changed(at_two.clone())]);
        let dearer = ChangePrice { input: Some(per_mtok(4)), ..ChangePrice::default() };
        let later = Price { effective_from: from_micros(2), ..price(4) };
        given([created(at_two)]).when(Change(dearer)).then([changed(later)]);
    }

    #[test]
    fn what_was_given_stays_and_is_left_out_again_where_it_is_removed() {
        let same = GivenRates { reasoning: Some(per_mtok(15)), ..GivenRates::new(per_mtok(3), per_mtok(15)) };
        let dearer = || ChangePrice { output: Some(per_mtok(20)), ..ChangePrice::default() };
        given([created(at(same))])
            .when(Change(dearer()))
            .then([changed(at(GivenRates { output: per_mtok(20), ..same }))]);
        let removed = ChangePrice { reasoning: Patched::Removed, ..dearer() };
        let without = GivenRates::new(per_mtok(3), per_mtok(20));
        given([created(at(same))]).when(Change(removed)).then([changed(at(without))]);
    }

    #[test]
    fn of_a_price_that_does_not_say_what_was_left_out_what_equals_its_default_was() {
        let cached = GivenRates { cache_read: Some(per_mtok(1)), ..GivenRates::new(per_mtok(3), per_mtok(15)) };
        let earlier = Price { defaulted: None, ..at(cached) };
        let change = ChangePrice { input: Some(per_mtok(4)), output: Some(per_mtok(20)), ..ChangePrice::default() };
        let given_now = GivenRates { input: per_mtok(4), output: per_mtok(20), ..cached };
        given([created(earlier)]).when(Change(change)).then([changed(at(given_now))]);
    }

    #[test]
    fn a_price_is_made_and_ended_once() {
        given([]).when(Create(price(3))).then([created(price(3))]);
        given([created(price(3))]).when(Create(price(3))).then_refused(LifecycleError::Exists);
        let ended = || ended::<Price>(id(1));
        given([created(price(3))]).when(End).then([ended()]);
        given([created(price(3)), ended()]).when(Change(ChangePrice::default())).then_refused(LifecycleError::Ended);
    }
}

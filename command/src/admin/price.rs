//! A price of one backend model. It is in force from `effective_from` until a later one is. A class that was left out
//! follows input or output for as long as it is left out.

use chrono::{DateTime, Utc};
use events::event::admin::{Ended, Price};
use events::ids::PriceId;
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok};

use crate::admin::fields::Patched;
use crate::admin::life::{Life, LifeError, admin_aggregate};

/// What can be done to a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PriceCommand {
    /// As it will stand in the log.
    CreatePrice(Price),
    ChangePrice(ChangePrice),
    EndPrice,
}

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

admin_aggregate! {
    Price, Price, "price", PriceCommand, LifeError,
    /// What can have happened to a price.
    PriceFact { PriceCreated(Price), PriceChanged(Price), PriceEnded(Ended<PriceId>) }
}

fn decide(life: &Life<Price>, command: PriceCommand) -> Result<Vec<PriceFact>, LifeError> {
    match command {
        PriceCommand::CreatePrice(made) => {
            life.absent()?;
            Ok(vec![PriceFact::PriceCreated(made)])
        }
        PriceCommand::ChangePrice(change) => Ok(vec![PriceFact::PriceChanged(change.over(life.live()?))]),
        PriceCommand::EndPrice => life.end(|state| PriceFact::PriceEnded(Ended { id: state.price_id })),
    }
}

fn evolve(life: &mut Life<Price>, fact: PriceFact) {
    match fact {
        PriceFact::PriceCreated(state) | PriceFact::PriceChanged(state) => *life = Life::Live(state),
        PriceFact::PriceEnded(_) => life.has_ended(),
    }
}

#[cfg(test)]
mod tests {
    use events::time::from_micros;

    use super::PriceCommand::{ChangePrice as Change, CreatePrice, EndPrice};
    use super::PriceFact::{PriceChanged, PriceCreated, PriceEnded};
    use super::*;
    use crate::admin::life::spec::id;

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
        given([PriceCreated(price(3))]).when(Change(change)).then([PriceChanged(price(4))]);
        let dearer = ChangePrice { output: Some(per_mtok(20)), ..ChangePrice::default() };
        let rates = GivenRates::new(per_mtok(3), per_mtok(20));
        given([PriceCreated(price(3))]).when(Change(dearer)).then([PriceChanged(at(rates))]);
        assert_eq!(at(rates).rates.reasoning_usd_per_mtok, per_mtok(20));
    }

    #[test]
    fn a_price_comes_into_force_when_it_is_said_to_and_else_when_it_did() {
        let at_two = Price { effective_from: from_micros(2), ..price(3) };
        let change = ChangePrice { effective_from: Some(from_micros(2)), ..ChangePrice::default() };
        given([PriceCreated(price(3))]).when(Change(change)).then([PriceChanged(at_two.clone())]);
        let dearer = ChangePrice { input: Some(per_mtok(4)), ..ChangePrice::default() };
        let changed = Price { effective_from: from_micros(2), ..price(4) };
        given([PriceCreated(at_two)]).when(Change(dearer)).then([PriceChanged(changed)]);
    }

    #[test]
    fn what_was_given_stays_and_is_left_out_again_where_it_is_removed() {
        let same = GivenRates { reasoning: Some(per_mtok(15)), ..GivenRates::new(per_mtok(3), per_mtok(15)) };
        let dearer = || ChangePrice { output: Some(per_mtok(20)), ..ChangePrice::default() };
        given([PriceCreated(at(same))])
            .when(Change(dearer()))
            .then([PriceChanged(at(GivenRates { output: per_mtok(20), ..same }))]);
        let removed = ChangePrice { reasoning: Patched::Removed, ..dearer() };
        let without = GivenRates::new(per_mtok(3), per_mtok(20));
        given([PriceCreated(at(same))]).when(Change(removed)).then([PriceChanged(at(without))]);
    }

    #[test]
    fn of_a_price_that_does_not_say_what_was_left_out_what_equals_its_default_was() {
        let cached = GivenRates { cache_read: Some(per_mtok(1)), ..GivenRates::new(per_mtok(3), per_mtok(15)) };
        let earlier = Price { defaulted: None, ..at(cached) };
        let change = ChangePrice { input: Some(per_mtok(4)), output: Some(per_mtok(20)), ..ChangePrice::default() };
        let changed = GivenRates { input: per_mtok(4), output: per_mtok(20), ..cached };
        given([PriceCreated(earlier)]).when(Change(change)).then([PriceChanged(at(changed))]);
    }

    #[test]
    fn a_price_is_made_and_ended_once() {
        given([]).when(CreatePrice(price(3))).then([PriceCreated(price(3))]);
        given([PriceCreated(price(3))]).when(CreatePrice(price(3))).then_refused(LifeError::Exists);
        let ended = || PriceEnded(Ended { id: id(1) });
        given([PriceCreated(price(3))]).when(EndPrice).then([ended()]);
        given([PriceCreated(price(3)), ended()]).when(Change(ChangePrice::default())).then_refused(LifeError::Ended);
    }
}

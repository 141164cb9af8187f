//! A price of one backend model, every class resolved. It is in force from `effective_from` until a later one is.

use chrono::{DateTime, Utc};
use events::event::admin::{Ended, Price};
use events::ids::PriceId;
use events::money::{NanoUsd, NanoUsdPerMtok, Rates};

use crate::admin::life::{Life, LifeError, admin_aggregate};

/// What can be done to a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PriceCommand {
    /// As it will stand in the log.
    CreatePrice(Price),
    ChangePrice(ChangePrice),
    EndPrice,
}

/// `None` keeps what is there; what was resolved from another class when the price was made stays as it was then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangePrice {
    pub input: Option<NanoUsdPerMtok>,
    pub output: Option<NanoUsdPerMtok>,
    pub cache_read: Option<NanoUsdPerMtok>,
    pub cache_write: Option<NanoUsdPerMtok>,
    pub reasoning: Option<NanoUsdPerMtok>,
    pub request: Option<NanoUsd>,
    pub effective_from: Option<DateTime<Utc>>,
}

impl ChangePrice {
    fn over(self, current: &Price) -> Price {
        let rates = current.rates;
        Price {
            price_id: current.price_id,
            provider_id: current.provider_id,
            model: current.model.clone(),
            rates: Rates {
                input_usd_per_mtok: self.input.unwrap_or(rates.input_usd_per_mtok),
                output_usd_per_mtok: self.output.unwrap_or(rates.output_usd_per_mtok),
                cache_read_usd_per_mtok: self.cache_read.unwrap_or(rates.cache_read_usd_per_mtok),
                cache_write_usd_per_mtok: self.cache_write.unwrap_or(rates.cache_write_usd_per_mtok),
                reasoning_usd_per_mtok: self.reasoning.unwrap_or(rates.reasoning_usd_per_mtok),
                request_usd: self.request.unwrap_or(rates.request_usd),
            },
            effective_from: self.effective_from.unwrap_or(current.effective_from),
        }
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

    fn price(input: i64) -> Price {
        Price {
            price_id: id(1),
            provider_id: id(2),
            model: "echo".into(),
            rates: Rates {
                input_usd_per_mtok: per_mtok(input),
                output_usd_per_mtok: per_mtok(15),
                cache_read_usd_per_mtok: per_mtok(3),
                cache_write_usd_per_mtok: per_mtok(3),
                reasoning_usd_per_mtok: per_mtok(15),
                request_usd: NanoUsd::ZERO,
            },
            effective_from: from_micros(1),
        }
    }

    #[test]
    fn a_change_of_one_class_leaves_the_others() {
        let change = ChangePrice { input: Some(per_mtok(4)), ..ChangePrice::default() };
        given([PriceCreated(price(3))]).when(Change(change)).then([PriceChanged(price(4))]);
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

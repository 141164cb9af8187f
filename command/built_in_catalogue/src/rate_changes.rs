//! In which amounts two prices of one model differ.

use std::collections::BTreeMap;

use events::money::NanoUsd;
use events::usage::ServiceTier;
use serde::Serialize;

use crate::model::Model;
use crate::price::Price;

/// One amount of a model's prices that another catalogue has otherwise. `None` is an amount that is not listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RateChange<'a> {
    #[serde(flatten)]
    pub place: RatePlace<'a>,
    pub old: Option<NanoUsd>,
    pub new: Option<NanoUsd>,
}

/// Where an amount is in the prices of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RatePlace<'a> {
    /// `None` outside the regions with prices of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a str>,
    /// The conditions of its tier; both are `None` in the base price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above_input_tokens: Option<u64>,
    /// The field.
    #[serde(rename = "field")]
    pub name: &'static str,
}

/// The amounts in which a model's prices differ, by their places.
pub fn rate_changes<'a>(before: &'a Model, after: &'a Model) -> Vec<RateChange<'a>> {
    let (old, new) = (amounts_of(before), amounts_of(after));
    let mut changes: BTreeMap<RatePlace<'a>, RateChange<'a>> = BTreeMap::new();
    for (place, amount) in &old {
        if new.get(place) != Some(amount) {
            changes.insert(*place, RateChange { place: *place, old: Some(*amount), new: new.get(place).copied() });
        }
    }
    for (place, amount) in new {
        let change = || RateChange { place, old: None, new: Some(amount) };
        if !old.contains_key(&place) {
            changes.entry(place).or_insert_with(change);
        }
    }
    changes.into_values().collect()
}

fn amounts_of(model: &Model) -> BTreeMap<RatePlace<'_>, NanoUsd> {
    let base = model.price.iter().map(|price| (None, price));
    let regional = model.regional_prices.iter().map(|(region, price)| (Some(region.as_str()), price));
    base.chain(regional).flat_map(|(region, price)| amounts_in(region, price)).collect()
}

fn amounts_in<'a>(region: Option<&'a str>, price: &Price) -> Vec<(RatePlace<'a>, NanoUsd)> {
    let place = move |name| RatePlace { region, service_tier: None, above_input_tokens: None, name };
    let per_mtok = price.per_mtok().map(|(name, rate)| (place(name), rate.of_a_million()));
    let mut amounts: Vec<_> = per_mtok.chain(price.per_unit().map(|(name, amount)| (place(name), amount))).collect();
    for tier in &price.tiers {
        let (above_input_tokens, service_tier) = tier.conditions();
        let place = |name| RatePlace { region, service_tier, above_input_tokens, name };
        amounts.extend(tier.per_mtok().map(|(name, rate)| (place(name), rate.of_a_million())));
    }
    amounts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(price: &str) -> Model {
        let text = format!(r#"{{"provider":"a","model":"m","mode":"chat",{price}}}"#);
        serde_json::from_str(&text).expect("a model")
    }

    #[test]
    fn every_amount_that_differs_is_named_with_its_place() {
        let before = model(
            r#""price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2","request_usd":"0.5",
                "tiers":[{"service_tier":"batch","input_usd_per_mtok":"0.5"}]},
              "regional_prices":{"eu":{"input_usd_per_mtok":"3","output_usd_per_mtok":"4"}}"#,
        );
        let after = model(
            r#""price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2.5","cache_read_usd_per_mtok":"0.1",
                "tiers":[{"service_tier":"batch","input_usd_per_mtok":"0.6"}]},
              "regional_prices":{"us":{"input_usd_per_mtok":"3","output_usd_per_mtok":"4"}}"#,
        );
        let place = |name| RatePlace { region: None, service_tier: None, above_input_tokens: None, name };
        let usd = |millis: i64| Some(NanoUsd::new(millis * 1_000_000));
        let of = |place, old, new| RateChange { place, old, new };
        let in_region = |region, name| RatePlace { region: Some(region), ..place(name) };
        let batch = RatePlace { service_tier: Some(ServiceTier::Batch), ..place("input_usd_per_mtok") };
        let wanted = [
            of(place("cache_read_usd_per_mtok"), None, usd(100)),
            of(place("output_usd_per_mtok"), usd(2_000), usd(2_500)),
            of(place("request_usd"), usd(500), None),
            of(batch, usd(500), usd(600)),
            of(in_region("eu", "input_usd_per_mtok"), usd(3_000), None),
            of(in_region("eu", "output_usd_per_mtok"), usd(4_000), None),
            of(in_region("us", "input_usd_per_mtok"), None, usd(3_000)),
            of(in_region("us", "output_usd_per_mtok"), None, usd(4_000)),
        ];
        assert_eq!(rate_changes(&before, &after), wanted);
        assert_eq!(rate_changes(&after, &after), []);
    }
}

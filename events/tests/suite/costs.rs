//! The cost of two hundred requests of all families of providers, to the nano-dollar. The table was computed apart from this
//! code, in fractions of whole numbers; `dialects` reads the same reports into the same classes.

use std::collections::BTreeMap;

use events::money::{CostLine, GivenRates, NanoUsd, PromptBound, Tariff};
use events::usage::{ServiceTier, TokenClasses};
use serde::Deserialize;
use serde_json::Value;

const TABLE: &str = include_str!("../../../tests/golden/costs.jsonl");

#[derive(Deserialize)]
struct Row {
    family: String,
    case: String,
    price: GivenRates,
    classes: BTreeMap<String, Value>,
    service_tier: Option<ServiceTier>,
    cost_usd: NanoUsd,
}

impl Row {
    /// The classes that the table leaves out are zero.
    fn used(&self) -> TokenClasses {
        let always = [
            "input_uncached_tokens", "input_cache_read_tokens", "input_cache_write_tokens", "output_text_tokens",
            "output_reasoning_tokens",
        ];
        let mut classes: BTreeMap<_, _> = always.into_iter().map(|name| (name.to_owned(), Value::from(0))).collect();
        classes.extend(self.classes.clone());
        let used: TokenClasses =
            serde_json::from_value(serde_json::to_value(&classes).expect("JSON")).expect("classes");
        let read = serde_json::to_value(&used).expect("JSON");
        assert_eq!(read, serde_json::to_value(&classes).expect("JSON"), "a name that no class has");
        used
    }
}

fn rows() -> Vec<Row> {
    TABLE.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Holds: inf.cost
#[test]
fn two_hundred_requests_cost_what_was_computed_by_hand() {
    let rows = rows();
    assert_eq!(rows.len(), 200);
    for row in &rows {
        let (tariff, used, about) = (Tariff::new(row.price.clone()), row.used(), (&row.family, &row.case));
        assert_eq!(tariff.cost(&used, row.service_tier), Some(row.cost_usd), "{about:?}");
        // Prices are recorded and read again between the admission of a request and its end.
        let recorded = serde_json::to_string(&tariff).expect("JSON");
        let read: Tariff = serde_json::from_str(&recorded).expect("prices");
        assert_eq!(read.cost(&used, row.service_tier), Some(row.cost_usd), "{about:?}");
    }
}

#[test]
fn no_request_of_the_table_costs_more_than_its_bound() {
    for row in rows() {
        let (tariff, used) = (Tariff::new(row.price.clone()), row.used());
        let prompt = PromptBound { tokens: used.input(), images: used.input_images, service_tier: row.service_tier };
        let bound = CostLine::of(&tariff, prompt, 1).and_then(|line| line.at(used.output())).expect("a bound");
        // Searches are on top of it.
        let cost = tariff.cost(&TokenClasses { searches: 0, ..used }, row.service_tier).expect("a cost");
        assert!(cost <= bound, "{} {}: {cost} is above {bound}", row.family, row.case);
    }
}

#[test]
fn every_family_has_at_least_three_rows() {
    let mut families = BTreeMap::<String, usize>::new();
    rows().into_iter().for_each(|row| *families.entry(row.family).or_default() += 1);
    assert!(families.len() >= 19 && families.values().all(|rows| *rows >= 3), "{families:?}");
}

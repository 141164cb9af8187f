//! The prices of a model as a table: a row for the base price, for every tier, and for every region.

use std::collections::BTreeMap;

use built_in_catalogue::{Model, Price, PriceTier};
use events::money::NanoUsd;

use super::super::table;

/// An amount without the zeros at its end.
pub fn dollars(amount: NanoUsd) -> String {
    let text = amount.to_string();
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The table, indented. A model without a price says so.
pub fn table_of(model: &Model) -> String {
    let mut rows: Vec<PriceRow> = Vec::new();
    if let Some(price) = &model.price {
        add(&mut rows, "", price);
    }
    for (region, price) in &model.regional_prices {
        add(&mut rows, region, price);
    }
    if rows.is_empty() {
        return "  price unknown".to_owned();
    }
    let names = columns(&rows);
    let head = names.iter().map(|name| short(name));
    let mut table = vec![std::iter::once("  price".to_owned()).chain(head).collect::<Vec<_>>()];
    for PriceRow { label, cells } in &rows {
        let cells = names.iter().map(|name| cells.get(name).cloned().unwrap_or_default());
        table.push(std::iter::once(format!("  {label}")).chain(cells).collect());
    }
    table::aligned(table)
}

/// A row of the table of prices.
struct PriceRow {
    label: String,
    /// Cells by the names of the prices.
    cells: BTreeMap<&'static str, String>,
}

fn add(rows: &mut Vec<PriceRow>, region: &str, price: &Price) {
    let per_mtok = price.per_mtok().map(|(name, rate)| (name, dollars(rate.of_a_million())));
    let per_unit = price.per_unit().map(|(name, amount)| (name, dollars(amount)));
    let label = if region.is_empty() { "base" } else { region };
    rows.push(PriceRow { label: label.to_owned(), cells: per_mtok.chain(per_unit).collect() });
    for tier in &price.tiers {
        let cells = tier.per_mtok().map(|(name, rate)| (name, dollars(rate.of_a_million())));
        rows.push(PriceRow { label: label_of(region, tier), cells: cells.collect() });
    }
}

/// `eu, batch, above 200000 tokens`.
fn label_of(region: &str, tier: &PriceTier) -> String {
    let region = Some(region).filter(|region| !region.is_empty()).map(str::to_owned);
    let service = tier.service_tier.map(|service| service.to_string());
    let above = tier.above_input_tokens.map(|tokens| format!("above {tokens} tokens"));
    region.into_iter().chain(service).chain(above).collect::<Vec<_>>().join(", ")
}

/// The names of all prices in the rows: input and output first, those of other units than tokens last.
fn columns(rows: &[PriceRow]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = rows.iter().flat_map(|row| row.cells.keys().copied()).collect();
    names.sort_by_key(|name| (rank(name), short(name)));
    names.dedup();
    names
}

fn rank(name: &str) -> u8 {
    match name {
        "input_usd_per_mtok" => 0,
        "output_usd_per_mtok" => 1,
        _ if name.ends_with("_per_mtok") => 2,
        _ => 3,
    }
}

/// `cache_read` for `cache_read_usd_per_mtok`; the price of a unit as it is, because it is not per million tokens.
fn short(name: &str) -> String {
    name.strip_suffix("_usd_per_mtok").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use built_in_catalogue::Catalogue;

    use super::*;

    #[test]
    fn an_amount_is_shown_without_the_zeros_at_its_end() {
        for (nanos, shown) in [(0, "0"), (2_500_000_000, "2.5"), (10_000_000_000, "10"), (1, "0.000000001")] {
            assert_eq!(dollars(NanoUsd::new(nanos)), shown);
        }
    }

    #[test]
    fn tiers_and_regions_are_rows_below_the_base_price() {
        let document = r#"{"schema":1,"version":"2026-11-20","sources":[],"aliases":{},
            "providers":[{"id":"a","name":"A","kind":"openai","documentation":"https://a.example","key_variables":[]}],
            "models":[{"provider":"a","model":"m","mode":"chat",
              "price":{"input_usd_per_mtok":"2.5","output_usd_per_mtok":"10","cache_read_usd_per_mtok":"0.25",
                       "request_usd":"0.005",
                       "tiers":[{"above_input_tokens":200000,"service_tier":"batch","input_usd_per_mtok":"2"}]},
              "regional_prices":{"eu":{"input_usd_per_mtok":"3","output_usd_per_mtok":"11"}}},
             {"provider":"a","model":"unpriced","mode":"chat"}]}"#;
        let catalogue = Catalogue::parse(document).expect("a catalogue");
        let shown = |model: &str| table_of(catalogue.model("a", model).expect("a model"));
        let wanted = "  price                       input  output  cache_read  request_usd\n\
                      \x20 base                        2.5    10      0.25        0.005\n\
                      \x20 batch, above 200000 tokens  2\n\
                      \x20 eu                          3      11";
        assert_eq!(shown("m"), wanted);
        assert_eq!(shown("unpriced"), "  price unknown");
    }
}

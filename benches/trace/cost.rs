//! The expected cost of a trace in nano-dollars, computed from its rows and the prices alone.

use harness::admin::Price;

use crate::rows::Row;

/// Decimals of a dollar.
const DIGITS: usize = 9;

/// The sum of the costs of all requests, each rounded up to a nano-dollar.
pub fn expected_nanos(rows: &[Row], price: Price) -> u128 {
    let [input, cache_read, output] = [price.input, price.cache_read, price.output].map(nanos);
    let of_row = |row: &Row| {
        let uncached = u128::from(row.input_tokens - row.cached_tokens);
        let millionths =
            uncached * input + u128::from(row.cached_tokens) * cache_read + u128::from(row.output_tokens) * output;
        millionths.div_ceil(1_000_000)
    };
    rows.iter().map(of_row).sum()
}

/// Parses an amount like `12.5`.
pub fn nanos(amount: &str) -> u128 {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let digits = format!("{whole}{fraction:0<DIGITS$}");
    digits.parse().expect("an amount of money")
}

/// The amount with all decimals.
pub fn dollars(nanos: u128) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

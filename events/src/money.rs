//! Money: whole nano-dollars in an `i64`, and every sum checked.
//!
//! An amount is exact or there is none: arithmetic returns `None` on overflow, and nothing wraps, saturates or rounds
//! silently. The only rounding is that of a cost, once, at the end of its sum, and upwards, so that use is never free. No
//! float occurs, neither in a calculation nor on the wire, where an amount is a string: a JSON number would become a
//! double in most clients.
//!
//! One nano-dollar is a billionth of a US dollar: one token of a model at $0.001 a million costs exactly that. The range,
//! about ±9.2 billion dollars, is enough for any budget; sums over many amounts are [`NanoUsdSum`]. A decimal type of variable
//! scale would let equal amounts differ in text, and so in an event's hash. There is one currency: conversion is up to
//! whoever sets the prices.

mod cost_line;
mod dearest;
mod given_rates;
mod highest_rates;
mod rates;
mod sum;
mod tariff;
mod tiers;
mod token_rate;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digits;
use crate::text_on_the_wire::deserialize_from_text;

pub use cost_line::{BoundTerms, CostLine};
pub use dearest::{CallsAtOnce, Dearest};
pub use given_rates::{GivenRates, OptionalRate};
pub use rates::{CostItem, ItemPrice, Rates};
pub use sum::NanoUsdSum;
pub use tariff::{PromptBound, Tariff};
pub use tiers::{InvalidTiers, PriceTier, Tiers};
pub use token_rate::{TokenRate, TokenRates};

const NANOS_PER_USD: i64 = 1_000_000_000;
const FRACTION_DIGITS: usize = 9;
/// The length of the longest amount, `-9223372036.854775808`.
const TEXT_LEN_MAX: usize = 21;

/// An amount in billionths of a US dollar; negative only as a correction. On the wire it is a string with exactly nine
/// fractional digits, `"0.000123000"`; on input up to nine are accepted, `"5"`, `"0.25"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(i64);

impl NanoUsd {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(i64::MAX);

    pub const fn new(nanos: i64) -> Self {
        Self(nanos)
    }

    pub const fn nanos(self) -> i64 {
        self.0
    }

    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Writes the amount to the end of the buffer.
    fn write_text(self, buffer: &mut [u8; TEXT_LEN_MAX]) -> &str {
        let (size, unit) = (self.0.unsigned_abs(), NANOS_PER_USD.unsigned_abs());
        let mut begin = TEXT_LEN_MAX - FRACTION_DIGITS;
        digits::fill(&mut buffer[begin..], size % unit);
        let mut push_front = |byte| {
            begin -= 1;
            buffer[begin] = byte;
        };
        push_front(b'.');
        let mut whole = size / unit;
        push_front(digits::last_of(whole));
        while whole >= 10 {
            whole /= 10;
            push_front(digits::last_of(whole));
        }
        if self.is_negative() {
            push_front(b'-');
        }
        std::str::from_utf8(&buffer[begin..]).expect("digits are ASCII")
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.write_text(&mut [0; TEXT_LEN_MAX]))
    }
}

impl Serialize for NanoUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.write_text(&mut [0; TEXT_LEN_MAX]))
    }
}

deserialize_from_text!(NanoUsd, "US dollars as a string such as \"5\" or \"0.25\", never a JSON number");

/// Why a text is not an amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoney {
    #[error("must be US dollars as a string such as \"5\" or \"0.25\"")]
    Form,
    #[error("has more than nine fractional digits")]
    TooFine,
    #[error("is larger than 9223372036 US dollars")]
    TooLarge,
}

impl FromStr for NanoUsd {
    type Err = InvalidMoney;

    /// Digits, optionally a point and one to nine digits, optionally a leading minus. No exponent, no plus, no space.
    fn from_str(text: &str) -> Result<Self, InvalidMoney> {
        i64::try_from(nanos_of(text)?).map(Self).map_err(|_| InvalidMoney::TooLarge)
    }
}

/// The nano-dollars of a text.
fn nanos_of(text: &str) -> Result<i128, InvalidMoney> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return Err(InvalidMoney::Form);
    }
    if fraction.len() > FRACTION_DIGITS {
        return Err(InvalidMoney::TooFine);
    }
    let whole: i128 = whole.parse().map_err(|_| InvalidMoney::TooLarge)?;
    let fraction: i128 = format!("{fraction:0<9}").parse().map_err(|_| InvalidMoney::Form)?;
    let nanos = whole.checked_mul(NANOS_PER_USD.into()).and_then(|nanos| nanos.checked_add(fraction));
    nanos.map(|nanos| sign * nanos).ok_or(InvalidMoney::TooLarge)
}

/// The price of one million tokens, in nano-dollars: $0.075 per Mtok is 75,000,000. Never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NanoUsdPerMtok(NanoUsd);

impl NanoUsdPerMtok {
    /// `None` for a negative price.
    pub fn new(per_mtok: NanoUsd) -> Option<Self> {
        (!per_mtok.is_negative()).then_some(Self(per_mtok))
    }

    /// The price of exactly one million tokens.
    pub const fn of_a_million(self) -> NanoUsd {
        self.0
    }

    fn millionths_of_a_nano(self, tokens: u64) -> i128 {
        i128::from(tokens) * i128::from(self.0.nanos())
    }
}

impl<'de> Deserialize<'de> for NanoUsdPerMtok {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(NanoUsd::deserialize(deserializer)?).ok_or_else(|| de::Error::custom("must not be negative"))
    }
}

/// Rounds up to whole nano-dollars.
fn rounded_up(millionths: i128) -> Option<NanoUsd> {
    let above = millionths.checked_add(999_999)?;
    // 64 bits are enough for all but absurd amounts, and their division by a constant is a multiplication; one of 128 bits is a call.
    let nanos = match i64::try_from(above) {
        Ok(above) => above.div_euclid(1_000_000),
        Err(_) => i64::try_from(above.div_euclid(1_000_000)).ok()?,
    };
    Some(NanoUsd(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds: http.money
    #[test]
    fn money_is_written_with_nine_digits_and_read_with_up_to_nine() {
        for (text, nanos) in [("5", 5_000_000_000), ("0.25", 250_000_000), ("0.000000001", 1), ("-1.5", -1_500_000_000)]
        {
            assert_eq!(text.parse(), Ok(NanoUsd::new(nanos)), "{text}");
        }
        for (nanos, text) in [
            (123_000, "0.000123000"),
            (-1_500_000_000, "-1.500000000"),
            (-1, "-0.000000001"),
            (0, "0.000000000"),
            (100_000_000_000, "100.000000000"),
            (i64::MAX, "9223372036.854775807"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(NanoUsd::new(nanos).to_string(), text);
            assert_eq!(serde_json::to_string(&NanoUsd::new(nanos)).expect("text"), format!("\"{text}\""));
        }
    }

    #[test]
    fn the_least_amount_is_read_as_it_is_written() {
        for least in [i64::MIN, i64::MIN + 1, i64::MAX] {
            assert_eq!(NanoUsd::new(least).to_string().parse(), Ok(NanoUsd::new(least)));
        }
        assert_eq!("-9223372036.854775809".parse::<NanoUsd>(), Err(InvalidMoney::TooLarge));
    }

    #[test]
    fn money_is_read_from_a_string_and_its_number_is_refused_with_an_example() {
        assert_eq!(serde_json::from_str::<NanoUsd>(r#""-0.25""#).ok(), Some(NanoUsd::new(-250_000_000)));
        let refused = serde_json::from_str::<NanoUsd>("0.25").expect_err("a number").to_string();
        assert!(refused.contains(r#"US dollars as a string such as "5" or "0.25""#), "{refused}");
    }

    #[test]
    fn a_price_may_be_nothing_and_not_less() {
        for (text, nanos) in [("2.5", Some(2_500_000_000)), ("0", Some(0)), ("-0.000000001", None)] {
            let price = serde_json::from_value::<NanoUsdPerMtok>(text.into()).ok();
            assert_eq!(price, nanos.and_then(|nanos| NanoUsdPerMtok::new(NanoUsd::new(nanos))), "{text}");
            assert_eq!(price.is_some(), nanos.is_some(), "{text}");
        }
    }

    #[test]
    fn a_difference_is_exact_or_none() {
        assert_eq!(NanoUsd::new(3).checked_sub(NanoUsd::new(5)), Some(NanoUsd::new(-2)));
        assert_eq!(NanoUsd::new(i64::MIN).checked_sub(NanoUsd::new(1)), None);
    }

    #[test]
    fn what_is_not_money_is_refused() {
        for text in ["", ".", "1.", ".5", "+1", "1e3", " 1", "1 ", "five", "0x1", "--1", "1,5", "١"] {
            assert_eq!(text.parse::<NanoUsd>(), Err(InvalidMoney::Form), "{text:?}");
        }
        assert_eq!("0.0000000001".parse::<NanoUsd>(), Err(InvalidMoney::TooFine));
        assert_eq!("9".repeat(30).parse::<NanoUsd>(), Err(InvalidMoney::TooLarge));
        assert!(serde_json::from_str::<NanoUsd>("5").is_err(), "a JSON number is not money");
    }
}

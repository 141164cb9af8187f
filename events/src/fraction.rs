//! A fraction of an amount, such as that of a limit at which an alert is due: exact, in billionths.

use std::fmt;
use std::str::FromStr;

use crate::money::{NanoUsd, NanoUsdSum};
use crate::text_on_the_wire::text_on_the_wire;

const WHOLE: u32 = 1_000_000_000;
const DIGITS: usize = 9;

/// A fraction above 0 and at most 1. On the wire it is a string without trailing zeros: `"0.5"`, `"1"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fraction(u32);

/// Why a text is not a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFraction {
    #[error("must be a fraction as a string such as \"0.5\"")]
    Form,
    #[error("has more than nine fractional digits")]
    TooFine,
    #[error("must be above 0 and not above 1")]
    OutOfRange,
}

impl Fraction {
    /// True if `settled` has reached this fraction of the limit; compared exactly.
    pub fn is_reached(self, settled: NanoUsdSum, limit: NanoUsd) -> bool {
        let wanted = i128::from(self.0) * i128::from(limit.nanos());
        // A sum that is too large to be multiplied is above every limit.
        settled.nanos().checked_mul(WHOLE.into()).is_none_or(|settled| settled >= wanted)
    }

    /// This fraction of a sum, rounded towards zero.
    pub fn of(self, sum: NanoUsdSum) -> NanoUsdSum {
        let (whole, part) = (i128::from(WHOLE), i128::from(self.0));
        // Divided first, so that no sum is too large to be multiplied.
        NanoUsdSum::new(sum.nanos() / whole * part + sum.nanos() % whole * part / whole)
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == WHOLE {
            return f.write_str("1");
        }
        let digits = format!("{:09}", self.0);
        write!(f, "0.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for Fraction {
    type Err = InvalidFraction;

    /// Digits, optionally a point and one to nine digits. No sign, no exponent, no space.
    fn from_str(text: &str) -> Result<Self, InvalidFraction> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) {
            return Err(InvalidFraction::Form);
        }
        if fraction.len() > DIGITS {
            return Err(InvalidFraction::TooFine);
        }
        let whole: u32 = whole.parse().map_err(|_| InvalidFraction::OutOfRange)?;
        let fraction: u32 = format!("{fraction:0<9}").parse().map_err(|_| InvalidFraction::Form)?;
        let billionths = whole.checked_mul(WHOLE).and_then(|whole| whole.checked_add(fraction));
        let in_range = billionths.filter(|billionths| (1..=WHOLE).contains(billionths));
        in_range.map(Self).ok_or(InvalidFraction::OutOfRange)
    }
}

text_on_the_wire!(Fraction, "a string");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_read_and_written_in_one_form() {
        for (text, written) in
            [("0.5", "0.5"), ("0.50", "0.5"), ("1", "1"), ("1.0", "1"), ("0.000000001", "0.000000001")]
        {
            assert_eq!(text.parse::<Fraction>().map(|fraction| fraction.to_string()), Ok(written.to_owned()));
        }
    }

    #[test]
    fn a_text_that_is_not_a_fraction_of_a_limit_is_refused() {
        use InvalidFraction::{Form, OutOfRange, TooFine};
        for (text, why) in [
            ("0", OutOfRange),
            ("0.0", OutOfRange),
            ("1.000000001", OutOfRange),
            ("2", OutOfRange),
            ("99999999999", OutOfRange),
            ("0.0000000001", TooFine),
            ("", Form),
            (".5", Form),
            ("0.", Form),
            ("-0.5", Form),
            ("+0.5", Form),
            ("5e-1", Form),
            (" 0.5", Form),
            ("half", Form),
        ] {
            assert_eq!(text.parse::<Fraction>(), Err(why), "{text}");
        }
    }

    #[test]
    fn a_fraction_is_reached_exactly_and_not_a_nano_dollar_before() {
        let third: Fraction = "0.333333333".parse().expect("a fraction");
        let limit = NanoUsd::new(1_000_000_000);
        assert!(third.is_reached(NanoUsd::new(333_333_333).into(), limit));
        assert!(!third.is_reached(NanoUsd::new(333_333_332).into(), limit));
        let whole: Fraction = "1".parse().expect("a fraction");
        assert!(whole.is_reached(NanoUsd::MAX.into(), NanoUsd::MAX));
        assert!(!whole.is_reached(NanoUsd::new(i64::MAX - 1).into(), NanoUsd::MAX));
    }

    #[test]
    fn a_fraction_of_a_sum_is_rounded_towards_zero_and_never_too_large() {
        let of = |fraction: &str, nanos| {
            fraction.parse::<Fraction>().expect("a fraction").of(NanoUsdSum::new(nanos)).nanos()
        };
        for (fraction, nanos, part) in [
            ("0.5", 10, 5),
            ("0.5", 11, 5),
            ("0.5", -11, -5),
            ("0.333333333", 3_000_000_001, 999_999_999),
            ("0.000000001", 999_999_999, 0),
            ("1", i128::MAX, i128::MAX),
            ("0.5", i128::MAX, i128::MAX / 2),
        ] {
            assert_eq!(of(fraction, nanos), part, "{fraction} of {nanos}");
        }
    }
}

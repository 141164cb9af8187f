use std::fmt;

use std::ops::{Add, Sub};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::{InvalidMoney, NANOS_PER_USD, NanoUsd, nanos_of};
use crate::text_on_the_wire::deserialize_from_text;

/// A sum of amounts, which may exceed the range of one amount. Written like an amount, `"0.000123000"`. It has 127 bits and
/// cannot overflow: that would take more amounts than a log has positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsdSum(i128);

impl NanoUsdSum {
    pub const ZERO: Self = Self(0);

    pub const fn new(nanos: i128) -> Self {
        Self(nanos)
    }

    pub const fn nanos(self) -> i128 {
        self.0
    }

    /// The sum as one amount, if it is in its range.
    pub fn to_amount(self) -> Option<NanoUsd> {
        i64::try_from(self.0).ok().map(NanoUsd::new)
    }
}

impl From<NanoUsd> for NanoUsdSum {
    fn from(amount: NanoUsd) -> Self {
        Self(amount.nanos().into())
    }
}

impl Add for NanoUsdSum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for NanoUsdSum {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl fmt::Display for NanoUsdSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, size) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let unit = u128::from(NANOS_PER_USD.unsigned_abs());
        write!(f, "{sign}{}.{:09}", size / unit, size % unit)
    }
}

impl FromStr for NanoUsdSum {
    type Err = InvalidMoney;

    /// The form of an amount.
    fn from_str(text: &str) -> Result<Self, InvalidMoney> {
        nanos_of(text).map(Self)
    }
}

deserialize_from_text!(NanoUsdSum, "US dollars as a string such as \"5\" or \"0.25\", never a JSON number");

impl Serialize for NanoUsdSum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_written_as_an_amount_however_large_it_is() {
        for amount in [NanoUsd::new(0), NanoUsd::new(-1), NanoUsd::MAX, NanoUsd::new(i64::MIN), NanoUsd::new(123_000)] {
            assert_eq!(NanoUsdSum::from(amount).to_string(), amount.to_string());
        }
        let seventeen = NanoUsdSum::new(17 * i128::from(i64::MAX));
        assert_eq!(seventeen.to_string(), "156797324626.531188719");
        assert_eq!(seventeen.nanos(), 156_797_324_626_531_188_719);
        for sum in [seventeen, NanoUsdSum::ZERO - seventeen, NanoUsdSum::ZERO] {
            assert_eq!(sum.to_string().parse(), Ok(sum));
        }
        let digits = "9".repeat(40);
        assert_eq!(digits.parse::<NanoUsdSum>(), Err(InvalidMoney::TooLarge));
    }
}

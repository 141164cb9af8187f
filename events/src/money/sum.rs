use std::fmt;

use serde::{Serialize, Serializer};

use super::{NANOS_PER_USD, NanoUsd};

/// A sum of amounts, which may exceed the range of one amount. Written like an amount, `"0.000123000"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NanoUsdSum(i128);

impl NanoUsdSum {
    pub const fn new(nanos: i128) -> Self {
        Self(nanos)
    }

    pub const fn nanos(self) -> i128 {
        self.0
    }
}

impl From<NanoUsd> for NanoUsdSum {
    fn from(amount: NanoUsd) -> Self {
        Self(amount.nanos().into())
    }
}

impl fmt::Display for NanoUsdSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, size) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let unit = u128::from(NANOS_PER_USD.unsigned_abs());
        write!(f, "{sign}{}.{:09}", size / unit, size % unit)
    }
}

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
    }
}

//! Circuit breakers: after how many failures a target is left alone, and for how long.

use cli::arguments::ServeArgs;
use cli::settings::setting::{BREAKER_FAILURES, BREAKER_SECONDS};
use cli::settings::{Flags, WrongConfig};
use command::inference::BreakerSettings;

use super::{seconds, whole};

const FAILURES_MAX: u32 = 1_000_000;
/// A day.
const SECONDS_MAX: u64 = 86_400;

pub fn read(args: &ServeArgs, flags: &Flags) -> Result<BreakerSettings, WrongConfig> {
    Ok(BreakerSettings {
        failures: flags.check(BREAKER_FAILURES, whole(&args.breaker_failures, "failures", 0..=FAILURES_MAX))?,
        open: flags.check(BREAKER_SECONDS, seconds(&args.breaker_seconds, 1..=SECONDS_MAX))?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::args;
    use super::*;

    #[test]
    fn failures_and_seconds_are_bounded_and_no_failures_mean_no_breakers() {
        let read_as = |failures: &str, seconds: &str| {
            let args =
                ServeArgs { breaker_failures: failures.to_owned(), breaker_seconds: seconds.to_owned(), ..args() };
            read(&args, &Flags::default()).map_err(|wrong| wrong.name)
        };
        let settings = |failures, seconds| BreakerSettings { failures, open: Duration::from_secs(seconds) };
        assert_eq!(read_as("0", "1"), Ok(settings(0, 1)));
        assert_eq!(read_as("1000000", "86400"), Ok(settings(1_000_000, 86_400)));
        for wrong in ["", "-1", "1000001", "many"] {
            assert_eq!(read_as(wrong, "60"), Err("LEDGERWAY_BREAKER_FAILURES".to_owned()), "{wrong}");
        }
        for wrong in ["", "0", "86401", "1.5"] {
            assert_eq!(read_as("5", wrong), Err("LEDGERWAY_BREAKER_SECONDS".to_owned()), "{wrong}");
        }
    }
}

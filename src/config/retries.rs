//! Retry budgets: how many further calls a provider gets after failures.

use cli::arguments::ServeArgs;
use cli::settings::setting::RETRY_PERCENT;
use cli::settings::{Flags, WrongConfig};
use command::inference::RetrySettings;

use super::whole;

pub fn read(args: &ServeArgs, flags: &Flags) -> Result<RetrySettings, WrongConfig> {
    let percent = flags.check(RETRY_PERCENT, whole(&args.retry_percent, "percent", 0..=100))?;
    Ok(RetrySettings { percent })
}

#[cfg(test)]
mod tests {
    use super::super::tests::args;
    use super::*;

    #[test]
    fn a_hundred_percent_are_the_most() {
        let read_as = |percent: &str| {
            let args = ServeArgs { retry_percent: percent.to_owned(), ..args() };
            read(&args, &Flags::default()).map_err(|wrong| wrong.name)
        };
        for (text, percent) in [("0", 0), ("20", 20), ("100", 100)] {
            assert_eq!(read_as(text), Ok(RetrySettings { percent }), "{text}");
        }
        for wrong in ["", "-1", "101", "2.5", "many"] {
            assert_eq!(read_as(wrong), Err("LEDGERWAY_RETRY_PERCENT".to_owned()), "{wrong}");
        }
    }
}

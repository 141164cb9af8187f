//! The access log: whether each request leaves an entry, and where.

use std::path::Path;

use access_log::{AccessLogSettings, ViewSettings};
use cli::arguments::ServeArgs;
use cli::settings::setting::{ACCESS_LOG, ACCESS_LOG_ENTRIES};
use cli::settings::{AccessLogOutput, Flags, WrongConfig};

use super::{whole, word};

/// Some 20 GB.
const ENTRIES_MAX: u64 = 100_000_000;

/// Reads the settings; `None` if there is no access log.
pub fn read(args: &ServeArgs, flags: &Flags, data: &Path) -> Result<Option<AccessLogSettings>, WrongConfig> {
    let output = flags.check(ACCESS_LOG, word(&args.access_log, AccessLogOutput::parse, AccessLogOutput::words()))?;
    let entries = whole(&args.access_log_entries, "entries", 1..=ENTRIES_MAX);
    let entries_max = flags.check(ACCESS_LOG_ENTRIES, entries)?;
    let view = output.has_view().then(|| ViewSettings { folder: data.to_owned(), entries_max });
    Ok((output != AccessLogOutput::Off).then_some(AccessLogSettings { lines: output.has_lines(), view }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::args;
    use super::*;

    fn read_as(word: &str, entries: &str) -> Result<Option<AccessLogSettings>, String> {
        let args = ServeArgs { access_log: word.to_owned(), access_log_entries: entries.to_owned(), ..args() };
        read(&args, &Flags::default(), Path::new("/d")).map_err(|wrong| wrong.name)
    }

    #[test]
    fn entries_go_where_the_setting_says() {
        let view = || Some(ViewSettings { folder: "/d".into(), entries_max: 7 });
        for (word, wanted) in [
            ("off", None),
            ("lines", Some(AccessLogSettings { lines: true, view: None })),
            ("view", Some(AccessLogSettings { lines: false, view: view() })),
            ("both", Some(AccessLogSettings { lines: true, view: view() })),
        ] {
            assert_eq!(read_as(word, "7"), Ok(wanted), "{word}");
        }
        for wrong in ["", "on", "true", "Lines", "view,lines"] {
            assert_eq!(read_as(wrong, "7"), Err("LEDGERWAY_ACCESS_LOG".to_owned()), "{wrong}");
        }
        for wrong in ["", "0", "100000001", "many"] {
            assert_eq!(read_as("view", wrong), Err("LEDGERWAY_ACCESS_LOG_ENTRIES".to_owned()), "{wrong}");
        }
    }
}

//! The object store of the archive, and when its segments are complete.

use archive::SegmentLimits;
use cli::settings::setting::{ARCHIVE_SEGMENT_EVENTS, ARCHIVE_SEGMENT_SECONDS, ARCHIVING};
use cli::settings::{WrongConfig, boolean, object_store};
use object_storage::ObjectStoreAddress;

use super::object_store::own_object_store;
use super::{Given, seconds, whole};

const SEGMENT_EVENTS_MAX: u64 = 1_000_000;
const SEGMENT_SECONDS_MAX: u64 = 86_400;

/// The archive of a gateway.
pub struct Archiving {
    pub address: ObjectStoreAddress,
    /// When segments are complete; `None` if this gateway only compares its log with the archive.
    pub limits: Option<SegmentLimits>,
}

/// Reads the settings; `None` without an archive.
pub(super) fn read(given: &Given<'_>) -> Result<Option<Archiving>, WrongConfig> {
    let Given { args, flags, .. } = given;
    let limits = SegmentLimits {
        events_max: flags
            .check(ARCHIVE_SEGMENT_EVENTS, whole(&args.archive_segment_events, "events", 1..=SEGMENT_EVENTS_MAX))?,
        age_max: flags
            .check(ARCHIVE_SEGMENT_SECONDS, seconds(&args.archive_segment_seconds, 1..=SEGMENT_SECONDS_MAX))?,
    };
    let address = object_store(given.variable)?;
    let switch = args.archiving.as_deref().filter(|switch| !switch.is_empty());
    let is_on = flags.check(ARCHIVING, switch.map_or(Ok(address.is_some()), boolean))?;
    let address = match address {
        Some(address) => address,
        None if !is_on => return Ok(None),
        None => own_object_store(ARCHIVING, given)?,
    };
    Ok(Some(Archiving { address, limits: is_on.then_some(limits) }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use cli::arguments::{Cli, Command};
    use cli::settings::Flags;
    use cli::settings::setting::OBJECT_STORE_URL;

    fn read_with(line: &[&str], url: Option<&str>, database: bool) -> Result<Option<Archiving>, WrongConfig> {
        let line = ["ledgerway", "serve"].iter().chain(line);
        let Command::Serve(args) = Cli::try_parse_from(line).expect("a command line").command else { panic!("serve") };
        let database = database.then(|| "postgres://h/d".parse().expect("an address"));
        let variable = |name: &str| url.filter(|_| name == OBJECT_STORE_URL.variable).map(str::to_owned);
        let flags = Flags::default();
        read(&Given { args: &args, flags: &flags, database: database.as_ref(), variable: &variable })
    }

    #[test]
    fn an_object_store_turns_archiving_on_and_the_switch_decides_in_any_case() {
        assert!(read_with(&[], None, false).expect("settings").is_none());
        let archiving = read_with(&[], Some("s3://bucket"), true).expect("settings").expect("an archive");
        let limits = SegmentLimits { events_max: 50_000, age_max: Duration::from_secs(300) };
        assert_eq!((archiving.address.to_string().as_str(), archiving.limits), ("s3://bucket", Some(limits)));
        let compared =
            read_with(&["--archiving=off"], Some("s3://bucket"), true).expect("settings").expect("an archive");
        assert_eq!(compared.limits, None);
        let own = read_with(&["--archiving", "--data", "/d"], None, false).expect("settings").expect("an archive");
        assert_eq!((own.address.to_string().as_str(), own.limits), ("file:///d/objects", Some(limits)));
    }

    #[test]
    fn wrong_settings_are_refused_by_their_names_and_an_address_is_not_repeated() {
        let refused = |line: &[&str], url, database| read_with(line, url, database).err().expect("a refusal");
        assert_eq!(refused(&["--archiving"], None, true).name, "LEDGERWAY_ARCHIVING");
        assert_eq!(refused(&["--archive-segment-events", "0"], None, false).name, "LEDGERWAY_ARCHIVE_SEGMENT_EVENTS");
        assert_eq!(refused(&["--archive-segment-seconds", "x"], None, false).name, "LEDGERWAY_ARCHIVE_SEGMENT_SECONDS");
        for wrong in ["", "postgres://u:canary@h/d", "s3://canary@bucket"] {
            let wrong = refused(&[], Some(wrong), false);
            assert_eq!(wrong.name, "LEDGERWAY_OBJECT_STORE_URL");
            assert!(!wrong.to_string().contains("canary"), "{wrong}");
        }
    }
}

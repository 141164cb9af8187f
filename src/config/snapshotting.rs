//! Snapshots of the views: whether they are made, how often, and how much of the disk they may take.

use cli::arguments::ServeArgs;
use cli::settings::setting::{SNAPSHOT_EVENTS, SNAPSHOT_GIB};
use cli::settings::{Flags, WrongConfig, truncated};
use projections::views::snapshot_maker::SnapshotSettings;

use super::whole;

/// The fewest events between two snapshots: each costs a copy of the one before.
const EVENTS_MIN: u64 = 100;
const EVENTS_MAX: u64 = 1_000_000_000;
/// A PiB.
const GIB_MAX: u64 = 1 << 20;

/// Reads the settings; `None` if no snapshots are made.
pub fn read(args: &ServeArgs, flags: &Flags) -> Result<Option<SnapshotSettings>, WrongConfig> {
    let every = flags.check(SNAPSHOT_EVENTS, events(&args.snapshot_events))?;
    let gib = flags.check(SNAPSHOT_GIB, whole(&args.snapshot_gib, "GiB", 1..=GIB_MAX))?;
    let settings = SnapshotSettings { every, bytes_max: gib << 30, version: env!("CARGO_PKG_VERSION") };
    Ok((every > 0).then_some(settings))
}

fn events(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    whole(text, "events", EVENTS_MIN..=EVENTS_MAX).map_err(|_| {
        format!("is {:?}, but must be 0, or a number of events from {EVENTS_MIN} to {EVENTS_MAX}", truncated(text))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::args;
    use super::*;

    fn read_as(events: &str, gib: &str) -> Result<Option<(u64, u64)>, String> {
        let args = ServeArgs { snapshot_events: events.to_owned(), snapshot_gib: gib.to_owned(), ..args() };
        let read = read(&args, &Flags::default()).map_err(|wrong| wrong.name)?;
        Ok(read.map(|settings| (settings.every, settings.bytes_max)))
    }

    #[test]
    fn none_are_made_unless_it_is_said_after_how_many_events() {
        assert_eq!(read_as("0", "10"), Ok(None));
        assert_eq!(read_as("100", "1"), Ok(Some((100, 1 << 30))));
        assert_eq!(read_as("1000000000", "1048576"), Ok(Some((1_000_000_000, 1 << 50))));
        for wrong in ["", "1", "99", "1000000001", "-1", "many", "00"] {
            assert_eq!(read_as(wrong, "10"), Err("LEDGERWAY_SNAPSHOT_EVENTS".to_owned()), "{wrong}");
        }
        for wrong in ["", "0", "1048577", "1.5", "many"] {
            assert_eq!(read_as("100", wrong), Err("LEDGERWAY_SNAPSHOT_GIB".to_owned()), "{wrong}");
        }
    }
}

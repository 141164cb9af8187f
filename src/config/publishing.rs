//! Where the log is published as a transparency log, under which name, and who cosigns it.

use std::collections::BTreeSet;
use std::path::Path;

use cli::settings::setting::{LOG_ORIGIN, TRANSPARENCY, TRANSPARENCY_ANEW, WITNESSES};
use cli::settings::{OBJECTS_FOLDER, WrongConfig, boolean, object_store};
use object_storage::ObjectStoreAddress;
use tlog::KeyName;
use transparency::{FOLDER, WITNESSES_MAX, WitnessAddress, WrongWitness};

use super::Given;
use super::object_store::own_object_store;

/// The longest name of a log: it is in each checkpoint and in each key.
const ORIGIN_CHARS_MAX: usize = 200;

/// The published log of a gateway.
pub struct Publishing {
    pub address: ObjectStoreAddress,
    /// The name that a new log is to have; `None` for one that the gateway makes.
    pub origin: Option<KeyName>,
    /// Whether it may be published anew where nothing of it is left.
    pub anew: bool,
    /// Witnesses that are asked to cosign checkpoints.
    pub witnesses: Vec<WitnessAddress>,
}

impl Publishing {
    /// The place of the published log: its folder within the data folder, or where it is otherwise.
    pub fn place(&self, data: &Path) -> String {
        let address = self.address.to_string();
        if address == ObjectStoreAddress::of_folder(&data.join(OBJECTS_FOLDER)).to_string() {
            return format!("{OBJECTS_FOLDER}/{FOLDER}");
        }
        format!("{FOLDER} in {address}")
    }
}

/// Reads the settings; `None` if the log is not published.
pub(super) fn read(given: &Given<'_>) -> Result<Option<Publishing>, WrongConfig> {
    let Given { args, flags, .. } = given;
    let origin = args.log_origin.as_deref().filter(|origin| !origin.is_empty());
    let origin = flags.check(LOG_ORIGIN, origin.map(log_origin).transpose())?;
    let witnesses = flags.check(WITNESSES, witnesses(&args.witnesses))?;
    let anew = flags.check(TRANSPARENCY_ANEW, boolean(&args.transparency_anew))?;
    if !flags.check(TRANSPARENCY, boolean(&args.transparency))? {
        return Ok(None);
    }
    let address = match object_store(given.variable)? {
        Some(address) => address,
        None => own_object_store(TRANSPARENCY, given)?,
    };
    Ok(Some(Publishing { address, origin, anew, witnesses }))
}

fn witnesses(text: &str) -> Result<Vec<WitnessAddress>, String> {
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    let witnesses: Vec<WitnessAddress> =
        parts.map(str::parse).collect::<Result<_, _>>().map_err(|wrong: WrongWitness| format!("each {wrong}"))?;
    let names: BTreeSet<_> = witnesses.iter().map(|witness| witness.key().public_key()).collect();
    match witnesses.len() {
        count if count > WITNESSES_MAX => Err(format!("must be at most {WITNESSES_MAX} witnesses")),
        count if count > names.len() => Err("must have each witness once".to_owned()),
        _ => Ok(witnesses),
    }
}

/// The name of a log: a host and a path, as C2SP recommends, in visible ASCII.
fn log_origin(text: &str) -> Result<KeyName, String> {
    let is_plain = text.len() <= ORIGIN_CHARS_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    let parsed = text.parse().ok().filter(|_| is_plain);
    parsed.ok_or_else(|| {
        format!("must have 1 to {ORIGIN_CHARS_MAX} visible ASCII characters, and neither a space nor a plus sign")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use cli::arguments::{Cli, Command};
    use cli::settings::Flags;
    use cli::settings::setting::OBJECT_STORE_URL;

    const WITNESS: &str = "witness.example.org/w1+a27d8a4d+BHMwCHH0TBaOfJSd4sdQ5gwsm7j/UwAXxaJnI06ctNuO";

    fn read_with(line: &[&str], url: Option<&str>, database: bool) -> Result<Option<Publishing>, WrongConfig> {
        let line = ["ledgerway", "serve"].iter().chain(line);
        let Command::Serve(args) = Cli::try_parse_from(line).expect("a command line").command else { panic!("serve") };
        let database = database.then(|| "postgres://h/d".parse().expect("an address"));
        let variable = |name: &str| url.filter(|_| name == OBJECT_STORE_URL.variable).map(str::to_owned);
        let flags = Flags::default();
        read(&Given { args: &args, flags: &flags, database: database.as_ref(), variable: &variable })
    }

    #[test]
    fn the_log_is_published_beside_the_archive_or_in_the_data_folder() {
        assert!(read_with(&[], Some("s3://bucket"), true).expect("settings").is_none(), "only if it is asked for");
        let published =
            |line: &[&str], url, database| read_with(line, url, database).expect("settings").expect("a published log");
        let own = published(&["--transparency", "--data", "/d"], None, false);
        assert_eq!((own.address.to_string().as_str(), own.origin.is_none()), ("file:///d/objects", true));
        let line = ["--transparency", "--log-origin", "gateway.example/ledger"];
        let named = published(&line, Some("s3://bucket"), true);
        assert_eq!(named.address.to_string(), "s3://bucket");
        assert_eq!(named.origin.expect("a name").as_str(), "gateway.example/ledger");
    }

    #[test]
    fn wrong_settings_are_refused_by_their_names() {
        let refused = |line: &[&str], database| read_with(line, None, database).err().expect("a refusal").name;
        assert_eq!(refused(&["--transparency"], true), "LEDGERWAY_TRANSPARENCY");
        assert_eq!(refused(&["--transparency=maybe"], false), "LEDGERWAY_TRANSPARENCY");
        for wrong in ["two words", "a+b", "é", &"x".repeat(201)] {
            assert_eq!(refused(&["--log-origin", wrong], false), "LEDGERWAY_LOG_ORIGIN", "{wrong}");
        }
        let (witness, twice) =
            (format!("{WITNESS} https://w.example"), format!("{WITNESS} http://a,{WITNESS} http://b"));
        for wrong in ["https://w.example", WITNESS, &twice, &format!("{witness} more"), "w1+64c2f42a+AQ https://w"] {
            assert_eq!(refused(&["--witnesses", wrong], false), "LEDGERWAY_WITNESSES", "{wrong}");
        }
        let line = ["--transparency", "--witnesses", &witness];
        let published = read_with(&line, None, false).expect("settings").expect("a published log");
        assert_eq!(published.witnesses.len(), 1);
    }
}

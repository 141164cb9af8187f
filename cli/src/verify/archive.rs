//! `ledgerway verify --archive`: checks the files of an archive, builds the ledger that they have in a temporary folder, and
//! verifies it. It needs no database. Exit codes are those of `verify`.

use archive::ReadError;
use events_log::open_reader_offline;
use serde_json::{Value, json};

use super::super::archived_ledger::{NotBuilt, Strays, build, check_files};
use super::super::object_store::named_archive;
use super::super::runtime::CommandRuntime;
use super::super::scratch_folder::ScratchFolder;
use super::super::{Failure, print_line};
use super::checkpoint::{Extent, PublishedAt, VerifiedCheckpoint};
use super::proven::Proven;
use crate::arguments::VerifyArgs;
use crate::settings::Flags;

pub fn check(args: &VerifyArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let json = args.is_json(flags)?;
    let archive = named_archive(args.archive.as_deref())?;
    let published = if args.shallow { None } else { PublishedAt::beside_archive(args)? };
    let mut checkpoint = None;
    let checked = if args.shallow {
        runtime.block_on(check_files(&archive, "archive")).map(|checked| (checked, None))
    } else {
        let folder = ScratchFolder::create()?;
        let built = runtime.block_on(build(&archive, folder.path(), "reading the archive", Strays::Refused));
        if let (Ok(built), Some(published)) = (&built, &published) {
            let reader = open_reader_offline(&built.file).map_err(Failure::not_begun)?;
            match published.check(&*reader, Extent::Beginning, runtime) {
                Ok(verified) => checkpoint = verified,
                Err(fault) => return fault.print(json),
            }
        }
        built.map(|built| (built.checked, Some(built.open_holds)))
    };
    let (object, sentence, outcome) = match checked {
        Ok((checked, open_holds)) => {
            let (last, segments, unused) = (checked.last, checked.manifests, checked.unused_segments);
            let mut object = json!({
                "sound": true, "events": last, "segments": segments, "unused_segments": unused,
                "open_holds": open_holds,
            });
            let holds = open_holds.map_or_else(
                || "files only, the ledger in them was not verified".to_owned(),
                |open_holds| format!("{open_holds} open holds"),
            );
            if let Some(checkpoint) = &checkpoint {
                object["checkpoint"] = checkpoint.as_json();
            }
            let published = checkpoint.as_ref().map(VerifiedCheckpoint::sentence).unwrap_or_default();
            let unused = unused_note(unused);
            let mut sentence = format!("sound: {last} events in {segments} segments, {holds}{unused}{published}");
            if open_holds.is_some() {
                let proven = Proven::of(checkpoint.as_ref(), None);
                proven.add_to(&mut object);
                sentence = format!("{sentence}\n\n{}", proven.table());
            }
            (object, sentence, Ok(()))
        }
        Err(NotBuilt::Archive(ReadError::Damage(damage))) => {
            let (position, reason) = (damage.position, damage.kind.to_string());
            let broken = json!({
                "position": position, "reason": reason, "object": damage.object, "damage": damage.kind.word(),
            });
            let object = json!({ "sound": false, "broken": broken });
            (object, format!("broken: position {position}: {damage}"), Err(Failure::Printed))
        }
        Err(error) => return Err(Failure::not_begun(error)),
    };
    print_line(&if json { Value::to_string(&object) } else { sentence });
    outcome
}

fn unused_note(unused: u64) -> String {
    match unused {
        0 => String::new(),
        unused => format!(", {unused} unused segments of archivers that were stopped"),
    }
}

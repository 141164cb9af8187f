//! `ledgerway bundle`: writes one tenant's events of some time into a file that proves that they are in the published log. Exit 0
//! done, 1 failed, 2 not begun.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::ExitCode;

use bundle::{Header, Range, Selection, Written};
use chrono::{DateTime, Utc};
use events::ids::TenantId;
use events::log::open_reader;
use events::time::parse_rfc3339;
use secrets::log_key::recorded_log_keys;
use serde_json::json;
use tlog::{Tile, TileId};
use transparency::{Files, LogKeys, PublishedLog};

use super::ledger_place::LedgerPlace;
use super::object_store::read_objects;
use super::partial_file::{PartialFile, must_be_free};
use super::progress::{Progress, WithoutTerminal};
use super::verify::published_log_of;
use super::{Failure, exit, print_line, single_threaded_runtime};
use crate::config::arguments::BundleArgs;
use crate::config::setting::JSON;
use crate::config::{Flags, boolean};

pub fn run(args: &BundleArgs, flags: &Flags) -> ExitCode {
    exit(make(args, flags).map(|line| print_line(&line)))
}

fn make(args: &BundleArgs, flags: &Flags) -> Result<String, Failure> {
    let json = flags.check(JSON, boolean(&args.output.json))?;
    let range = range(args)?;
    must_be_free(&args.into, "acme.bundle")?;
    let ledger = LedgerPlace::find_alone(&args.database, &args.data, flags)?;
    let published =
        PublishedLog::new(Files::new(read_objects(&published_log_of(ledger.file().and_then(Path::parent))?)?));
    let log = match &ledger {
        // Somebody may begin to serve the folder meanwhile.
        LedgerPlace::File(file) => open_reader(file)?,
        LedgerPlace::Database(_) => ledger.open_reader()?,
    };
    let runtime = single_threaded_runtime()?;
    let newest = runtime.block_on(published.checkpoint()).map_err(Failure::not_begun)?;
    let newest = newest.ok_or_else(|| {
        let place = published.place();
        Failure::NotBegun(format!("there is no published log in {place}: docs/transparency.md says how to publish one"))
    })?;
    let keys = LogKeys::of(&recorded_log_keys(&*log)?);
    let keys = keys.ok_or_else(|| Failure::NotBegun("this ledger has no key for checkpoints".to_owned()))?;
    let head = keys.read(&newest.bytes).map_err(Failure::failed)?;
    let selection = Selection::of(&*log, range, head.size).map_err(Failure::failed)?;
    let checkpoint = String::from_utf8(newest.bytes.to_vec()).map_err(Failure::failed)?;
    let header = Header::new(range.tenant, (range.from, range.to), checkpoint);
    let partial = PartialFile::create(&args.into)?;
    let file = File::options().write(true).open(partial.path()).map_err(Failure::not_begun)?;
    let mut progress = Progress::new("writing", WithoutTerminal::Silent);
    let mut tile = |id: TileId| {
        let bytes = runtime.block_on(published.tile(id)).map_err(|error| error.to_string())?;
        let bytes = bytes.ok_or_else(|| format!("{id} is missing in {}", published.place()))?;
        Tile::parse(id, &bytes).map_err(|error| format!("a tile in {} is damaged: {error}", published.place()))
    };
    let mut out = BufWriter::new(file);
    let written = bundle::write(&mut out, &header, &head, (&*log, &selection), &mut tile, &mut |position, last| {
        progress.at(position, last);
    });
    let Written { events, hashes } =
        written.map_err(|error| Failure::Failed(format!("nothing was written: {error}")))?;
    progress.done();
    partial.place(&args.into)?;
    let (file, size) = (args.into.display(), head.size);
    Ok(if json {
        let file = args.into.to_string_lossy();
        json!({ "file": file, "tenant_id": range.tenant, "events": events, "hashes": hashes, "size": size }).to_string()
    } else {
        format!(
            "wrote {events} events of {} to {file}, with {hashes} hashes of the {size} events of the log",
            range.tenant
        )
    })
}

fn range(args: &BundleArgs) -> Result<Range, Failure> {
    let tenant: Result<TenantId, _> = args.tenant.parse();
    let tenant = tenant.map_err(|error| Failure::NotBegun(format!("--tenant {error}")))?;
    let (from, to) = (time("--from", args.from.as_deref())?, time("--to", args.to.as_deref())?);
    if from.zip(to).is_some_and(|(from, to)| to <= from) {
        return Err(Failure::NotBegun("--to must be after --from".to_owned()));
    }
    Ok(Range { tenant, from, to })
}

fn time(flag: &str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, Failure> {
    let Some(text) = text else { return Ok(None) };
    parse_rfc3339(text).map(Some).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        Failure::NotBegun(format!("{flag} is {shown:?}, but must be a time, for example {flag} 2026-11-01T00:00:00Z"))
    })
}

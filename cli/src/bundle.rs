//! `ledgerway bundle`: writes one tenant's events in a time range into a file that proves that they are in the published log. Exit 0
//! done, 1 failed, 2 not begun.

use std::io::BufWriter;
use std::path::Path;

use bundles::{Header, Selection, TenantRange, Written};
use events::ids::TenantId;
use events_log::Reader;
use secrets::log_key::recorded_log_keys;
use serde_json::json;
use tlog::{Tile, TileId, TreeHead};
use transparency::{Files, LogKeys, PublishedLog};

use super::ledger_place::LedgerPlace;
use super::object_store::{not_published, published_log_of, read_objects};
use super::partial_file::{PartialFile, must_be_free};
use super::progress::{Progress, WithoutTerminal};
use super::runtime::CommandRuntime;
use super::time_range::TimeRange;
use super::{Failure, print_line};
use crate::arguments::BundleArgs;
use crate::settings::Flags;

pub fn run(args: &BundleArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let json = args.output.is_json(flags)?;
    let range = range(args)?;
    must_be_free(&args.into, "acme.bundle")?;
    let ledger = LedgerPlace::find_alone(&args.ledger, flags)?;
    let log = ledger.open_shared_with_a_gateway()?;
    let published = Published::read(&ledger, &*log, runtime)?;
    let selection = Selection::of(&*log, range, published.head.size).map_err(Failure::not_begun)?;
    let header = Header::new(range, published.checkpoint.clone());
    let Written { events, hashes } = write(&args.into, &header, &published, &*log, &selection)?;
    let (file, size) = (args.into.display(), published.head.size);
    print_line(&if json {
        let file = args.into.to_string_lossy();
        json!({ "file": file, "tenant_id": range.tenant, "events": events, "hashes": hashes, "size": size }).to_string()
    } else {
        let tenant = range.tenant;
        format!("wrote {events} events of {tenant} to {file}, with {hashes} hashes of the {size} events of the log")
    });
    Ok(())
}

/// Writes the file, which has its name once it is whole.
fn write(
    into: &Path,
    header: &Header,
    published: &Published<'_>,
    log: &dyn Reader,
    selection: &Selection,
) -> Result<Written, Failure> {
    let (partial, file) = PartialFile::create(into)?;
    let mut progress = Progress::new("writing", WithoutTerminal::Silent);
    let mut tile = |id| published.tile(id);
    let written = bundles::write(
        &mut BufWriter::new(&file),
        header,
        &published.head,
        log,
        selection,
        &mut tile,
        &mut |position, last| progress.at(position, last),
    );
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("nothing was written: {error}"));
    let written = written.map_err(|error| failed(&error))?;
    file.sync_all().map_err(|error| failed(&error))?;
    progress.done();
    partial.place(into)?;
    Ok(written)
}

/// The published log of a ledger, with its newest checkpoint.
struct Published<'a> {
    runtime: &'a CommandRuntime,
    log: PublishedLog,
    checkpoint: String,
    head: TreeHead,
}

impl<'a> Published<'a> {
    fn read(ledger: &LedgerPlace, reader: &dyn Reader, runtime: &'a CommandRuntime) -> Result<Self, Failure> {
        let folder = ledger.file().and_then(Path::parent);
        let log = PublishedLog::new(Files::new(read_objects(&published_log_of(folder)?)?));
        let newest = runtime.block_on(log.unchecked_checkpoint()).map_err(Failure::not_begun)?;
        let newest = newest.ok_or_else(|| not_published(&log.place()))?;
        let keys = LogKeys::of(&recorded_log_keys(reader)?);
        let keys = keys.ok_or_else(|| Failure::NotBegun("this ledger has no key for checkpoints".to_owned()))?;
        let head = keys.read(&newest.bytes).map_err(Failure::not_begun)?;
        let checkpoint = String::from_utf8(newest.bytes.to_vec()).map_err(Failure::not_begun)?;
        Ok(Self { runtime, log, checkpoint, head })
    }

    fn tile(&self, id: TileId) -> Result<Tile, String> {
        let bytes = self.runtime.block_on(self.log.tree(self.head).tile(id)).map_err(|error| error.to_string())?;
        let bytes = bytes.ok_or_else(|| format!("{id} is missing in {}", self.log.place()))?;
        Tile::parse(id, &bytes).map_err(|error| format!("a tile in {} is damaged: {error}", self.log.place()))
    }
}

fn range(args: &BundleArgs) -> Result<TenantRange, Failure> {
    let tenant: Result<TenantId, _> = args.tenant.parse();
    let tenant = tenant.map_err(|error| Failure::NotBegun(format!("--tenant {error}")))?;
    let TimeRange { from, to } = TimeRange::read(args.from.as_deref(), args.to.as_deref())?;
    Ok(TenantRange { tenant, from, to })
}

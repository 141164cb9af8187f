//! `ledgerway verify --receipt`: checks that the events of one request are in the published log, with nothing but the receipt and the
//! log's key. Exit codes are those of `verify`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use events::ids::RequestId;
use serde_json::{Value, json};
use transparency::{ProvenEvents, Receipt, ReceiptEvent};

use super::super::printable_text::printable_line;
use super::super::table::aligned;
use super::super::{Failure, print_line};
use super::Fault;
use super::proven::Proven;
use super::signers::{Cosigned, Signers, cosigned_json, cosigned_sentence};
use crate::arguments::VerifyArgs;
use crate::settings::Flags;

/// A longer file is refused: a request has a few events, each below 64 KiB, and each proof has a checkpoint.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The most characters of a value that are shown.
const SHOWN_CHARS_MAX: usize = 64;

/// A receipt whose events are in the log.
struct VerifiedReceipt {
    request_id: RequestId,
    events: Vec<ReceiptEvent>,
    /// How many events its checkpoint has.
    size: u64,
    cosigned: Vec<Cosigned>,
}

pub fn check(file: &Path, args: &VerifyArgs, flags: &Flags) -> Result<(), Failure> {
    let json = args.is_json(flags)?;
    let signers = Signers::read(args)?;
    match read(file).and_then(|receipt| verify(&receipt, &signers)) {
        Ok(verified) => {
            let origin = signers.keys.origin();
            let proven = Proven::of_receipt(origin, verified.size);
            let mut object = as_json(&verified, origin);
            proven.add_to(&mut object);
            print_line(&if json {
                object.to_string()
            } else {
                let table = aligned(rows(&verified.events));
                format!("{}\n\n{table}\n\n{}", sentence(&verified, origin), proven.table())
            });
            Ok(())
        }
        Err(fault) => fault.print(json),
    }
}

fn read(file: &Path) -> Result<Receipt, Fault> {
    let unreadable = |error: &dyn std::fmt::Display| Fault::Unreadable(format!("{}: {error}", file.display()));
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(|error| unreadable(&error))?;
    opened.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(unreadable(&format!("it is no receipt: it has more than {BYTES_MAX} bytes")));
    }
    let receipt: Receipt = serde_json::from_slice(&bytes).map_err(|error| {
        unreadable(&format!("it is not the answer of /v1/inferences/{{request_id}}/receipt: {error}"))
    })?;
    Ok(receipt)
}

fn verify(receipt: &Receipt, signers: &Signers) -> Result<VerifiedReceipt, Fault> {
    let proven = receipt.verify(&signers.log_policy());
    let proven = proven.map_err(|refused| Fault::at(refused.position, refused.reason.to_string()))?;
    let ProvenEvents { events, checkpoint } =
        proven.ok_or_else(|| Fault::Unreadable("it is a receipt of no events".to_owned()))?;
    let cosigned = signers.cosigned_of(&checkpoint).map_err(|error| Fault::of_checkpoint(error.to_string()))?;
    let size = checkpoint.unverified().head().size;
    Ok(VerifiedReceipt { request_id: receipt.request_id, events, size, cosigned })
}

fn sentence(VerifiedReceipt { request_id, events, size, cosigned }: &VerifiedReceipt, origin: &str) -> String {
    let (count, cosigned) = (events.len(), cosigned_sentence(cosigned));
    format!("sound: {count} events of {request_id} are in the checkpoint of {origin} with {size} events{cosigned}")
}

/// The events as a table, with what they charge.
fn rows(events: &[ReceiptEvent]) -> Vec<Vec<String>> {
    let head = ["position", "recorded at", "event", "charged USD", "corrected by USD"].map(str::to_owned).to_vec();
    let shown = |text: &str| printable_line(text, SHOWN_CHARS_MAX);
    let row = |event: &ReceiptEvent| {
        let amounts = [event.charged_usd(), event.delta_usd()].map(|amount| shown(amount.unwrap_or_default()));
        let said = [event.position.to_string(), shown(&event.recorded_at), shown(&event.kind)];
        said.into_iter().chain(amounts).collect()
    };
    std::iter::once(head).chain(events.iter().map(row)).collect()
}

fn as_json(VerifiedReceipt { request_id, events, size, cosigned }: &VerifiedReceipt, origin: &str) -> Value {
    let shown = |event: &ReceiptEvent| {
        json!({
            "position": event.position,
            "recorded_at": event.recorded_at,
            "type": event.kind,
            "charged_usd": event.charged_usd(),
            "delta_usd": event.delta_usd(),
        })
    };
    json!({
        "sound": true,
        "events": events.len(),
        "receipt": { "request_id": request_id, "events": events.iter().map(shown).collect::<Vec<_>>() },
        "checkpoint": { "origin": origin, "events": size, "witnesses": cosigned_json(cosigned) },
    })
}

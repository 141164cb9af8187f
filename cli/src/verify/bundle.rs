//! `ledgerway verify --bundle`: checks one tenant's events with nothing but the file and the log's key. Exit codes are those of
//! `verify`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use bundles::{Verified, VerifyError};
use events::time::rfc3339;
use serde_json::{Value, json};

use super::super::progress::{Progress, WithoutTerminal};
use super::super::{Failure, print_line};
use super::Fault;
use super::proven::Proven;
use super::signers::{Cosigned, Signers, cosigned_json, cosigned_sentence};
use crate::arguments::VerifyArgs;
use crate::settings::Flags;

pub fn check(file: &Path, args: &VerifyArgs, flags: &Flags) -> Result<(), Failure> {
    let json = args.is_json(flags)?;
    let signers = Signers::read(args)?;
    match verify(file, &signers) {
        Ok((verified, cosigned)) => {
            let proven = Proven::of_bundle(signers.keys.origin(), verified.head.size);
            let mut object = as_json(&verified, signers.keys.origin(), &cosigned);
            proven.add_to(&mut object);
            print_line(&if json {
                object.to_string()
            } else {
                format!("{}{}\n\n{}", sentence(&verified), cosigned_sentence(&cosigned), proven.table())
            });
            Ok(())
        }
        Err(fault) => fault.print(json),
    }
}

fn verify(file: &Path, signers: &Signers) -> Result<(Verified, Vec<Cosigned>), Fault> {
    let unreadable = |error: &dyn std::fmt::Display| Fault::Unreadable(format!("{}: {error}", file.display()));
    let mut opened = BufReader::new(File::open(file).map_err(|error| unreadable(&error))?);
    let mut progress = Progress::new("bundle", WithoutTerminal::Silent);
    let verified = bundles::verify(&mut opened, &signers.keys, &mut |position, last| progress.at(position, last));
    let verified = verified.map_err(|error| match error {
        VerifyError::File(_) | VerifyError::NotABundle | VerifyError::EmptyRange => unreadable(&error),
        VerifyError::Checkpoint(_) | VerifyError::OtherRoot { .. } => Fault::of_checkpoint(error.to_string()),
        VerifyError::Line { position, line, reason } => Fault::at(position, format!("line {line}: {reason}")),
        VerifyError::Event { position, reason } => Fault::at(position, reason),
    })?;
    progress.done();
    let cosigned = signers
        .cosigned(verified.header.checkpoint.as_bytes())
        .map_err(|error| Fault::of_checkpoint(error.to_string()))?;
    Ok((verified, cosigned))
}

fn sentence(Verified { header, head, part }: &Verified) -> String {
    let from = header.from.map_or_else(|| "the beginning".to_owned(), rfc3339);
    let to = header.to.map_or_else(|| format!("position {}", head.size), rfc3339);
    format!(
        "sound: {} from {from} to {to}: {} requests, {} USD charged, {} open holds; {} events in the file",
        header.tenant_id, part.requests, part.charged_usd, part.open_holds, part.events
    )
}

fn as_json(Verified { header, head, part }: &Verified, origin: &str, cosigned: &[Cosigned]) -> Value {
    json!({
        "sound": true,
        "events": part.events,
        "open_holds": part.open_holds,
        "bundle": {
            "tenant_id": header.tenant_id,
            "from": header.from.map(rfc3339),
            "to": header.to.map(rfc3339),
            "requests": part.requests,
            "charged_usd": part.charged_usd,
        },
        "checkpoint": { "origin": origin, "events": head.size, "witnesses": cosigned_json(cosigned) },
    })
}

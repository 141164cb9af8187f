//! The arguments of `witness`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::path;

/// Values are read as text and checked by the command, so that a wrong one is refused in one sentence.
#[derive(Args)]
pub struct WitnessArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    pub listen: String,
    /// Folder of the witness's key, and of the last checkpoint of each log that it cosigned; made if it is missing
    #[arg(long, value_name = "DIR", default_value = "./witness-data",
        value_parser = path(), value_hint = ValueHint::DirPath)]
    pub data: PathBuf,
    /// Name of the witness, in its cosignatures and its key: a host and a path, such as witness.example/w1. It never changes
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Key of a log to cosign, a line of its /v1/log/key; can be given several times. Keys of one name are keys of one log
    #[arg(long, value_name = "KEY", required = true)]
    pub log_key: Vec<String>,
}

//! The arguments of `apply`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::gateway::KEY_OF_ADMINISTRATION;
use super::{GatewayArgs, path};

#[derive(Args)]
#[command(after_help = KEY_OF_ADMINISTRATION)]
pub struct ApplyArgs {
    /// YAML file, or folder whose files that end in .yaml or .yml are read in the order of their names; - for standard input
    #[arg(short = 'f', long, value_name = "FILE", required_unless_present = "schema",
        value_parser = path(), value_hint = ValueHint::AnyPath)]
    pub file: Option<PathBuf>,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Also send the API keys and secret headers of providers that already have some. The gateway never shows them, so apply cannot
    /// notice that they were replaced
    #[arg(long)]
    pub rotate_secrets: bool,
    /// Delete resources that have this label and are in no file any more
    #[arg(long, value_name = "NAME=VALUE")]
    pub prune: Option<String>,
    /// Print the JSON Schema of the files, for editors
    #[arg(long)]
    pub schema: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

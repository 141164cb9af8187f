//! The arguments of commands that ask a running gateway.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::{DataArgs, OutputArgs, path};

/// The gateway that a command asks.
#[derive(Args)]
pub struct GatewayArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Address of the gateway; by default the one that serves the data folder
    #[arg(long, env = "LEDGERWAY_URL", value_name = "URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,
    /// File that holds the API key; by default the key is in a variable or in the data folder
    #[arg(long, env = "LEDGERWAY_KEY_FILE", value_name = "FILE",
        value_parser = path(), value_hint = ValueHint::FilePath)]
    pub key_file: Option<PathBuf>,
}

/// The part of the help of commands that need a key.
const KEY_OF_MODELS: &str =
    "The key is the one in --key-file, LEDGERWAY_KEY or LEDGERWAY_ADMIN_KEY, or else admin.key or dev.key in the
data folder.";
pub(super) const KEY_OF_ADMINISTRATION: &str =
    "The key is the one in --key-file or LEDGERWAY_ADMIN_KEY, or else admin.key in the data folder.";

#[derive(Subcommand)]
pub enum ModelsCommand {
    /// Send one small request to a model, and show the answer, its tokens, its cost and how long it took
    ///
    /// The request asks for a stream, so that the time to the first token is known, and its cap of output tokens is the model's.
    #[command(after_help = KEY_OF_MODELS)]
    Try(TryArgs),
    /// List the models that the key may use, with their providers and prices; exit code 1 if none contains every WORD
    #[command(after_help = KEY_OF_MODELS)]
    List(ListModelsArgs),
}

#[derive(Args)]
pub struct TryArgs {
    /// A name that clients ask for
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// The text to send to the model
    #[arg(long, value_name = "TEXT", default_value = "Say hello in one short sentence.")]
    pub message: String,
    /// Print the answer as it arrives
    #[arg(long)]
    pub stream: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub struct ListModelsArgs {
    /// Only models whose name or provider contains each of these words, in upper or lower case
    #[arg(value_name = "WORD")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
#[command(after_help = KEY_OF_ADMINISTRATION)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub struct HealthArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Address of the gateway; by default the one that serves the data folder
    #[arg(long, env = "LEDGERWAY_URL", value_name = "URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,
}

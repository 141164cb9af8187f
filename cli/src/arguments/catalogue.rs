//! The arguments of `catalogue`.

use std::path::PathBuf;

use built_in_catalogue::Mode;
use clap::{Args, Subcommand, ValueHint};

use super::{BOOL, DataArgs, path};
use crate::settings::OneOf;

#[derive(Subcommand)]
pub enum CatalogueCommand {
    /// List models, with the prices of input and output in US dollars per million tokens
    List(ListArgs),
    /// List the models whose names or providers contain all words
    Search(SearchArgs),
    /// Show a model at all its providers, with all prices
    Show(ShowArgs),
    /// Show what a newer catalogue changes; with --yes, write it to the data folder
    Update(UpdateArgs),
}

#[derive(Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Only the models of this provider, such as openai
    #[arg(long, value_name = "PROVIDER")]
    pub provider: Option<String>,
    /// Only the models of this mode
    #[arg(long, value_parser = OneOf::new(Mode::words()))]
    pub mode: Option<String>,
    /// Print a JSON array of models
    #[arg(long, env = "LEDGERWAY_JSON", value_name = BOOL, default_value = "false")]
    pub json: String,
}

#[derive(Args)]
pub struct SearchArgs {
    /// Words, in upper or lower case
    #[arg(value_name = "WORD", required = true)]
    pub words: Vec<String>,
    #[command(flatten)]
    pub data: DataArgs,
}

#[derive(Args)]
pub struct ShowArgs {
    /// A name such as gpt-4o, an alias such as gpt, or PROVIDER/MODEL
    #[arg(value_name = "MODEL")]
    pub model: String,
    #[command(flatten)]
    pub data: DataArgs,
}

#[derive(Args)]
pub struct UpdateArgs {
    /// The newer catalogue
    #[arg(value_name = "FILE", value_parser = path(), value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    #[command(flatten)]
    pub data: DataArgs,
    /// Write it
    #[arg(long)]
    pub yes: bool,
    /// Go back to an older catalogue than the one in force
    #[arg(long)]
    pub force: bool,
}

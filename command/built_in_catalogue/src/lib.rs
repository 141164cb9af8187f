//! Providers, their models, and list prices: one document, `data/catalogue.json`, which is part of the binary. A newer one
//! can be read in its place. It says what is known; what is not known is absent.
//!
//! The document is described in docs/catalogue.md, and `data/convert.py` makes it.
//!
//! This crate reads the document strictly and looks things up in it. It knows no kind of provider.

mod catalogue;
mod checks;
mod difference;
mod document;
mod error_place;
mod folder;
mod format_characters;
mod model;
mod model_name;
mod price;
mod provider;
mod rate_changes;
mod search;
#[cfg(test)]
mod shipped;
mod unique_map;

pub use catalogue::{Catalogue, InvalidCatalogue, TEXT_LEN_MAX};
pub use difference::Difference;
pub use folder::{
    CATALOGUE_FILE, InForce, Older, UnreadableCatalogue, check_age, in_force, in_force_of_document, read_file,
    read_folder, write,
};
pub use format_characters::is_format;
pub use model::{Capability, Mode, Model};
pub use model_name::{MODEL_NAME_CHARS_MAX, is_model_name};
pub use price::{Price, PriceTier};
pub use provider::{AccessKeyVariables, Provider};
pub use rate_changes::{RateChange, RatePlace, rate_changes};

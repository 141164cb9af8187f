//! The document as it is written.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Deserialize;

use crate::model::Model;
use crate::provider::Provider;
use crate::unique_map::unique_map;

/// The only version of the document's form.
pub const SCHEMA: u64 = 1;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The address of the JSON Schema, for editors.
    #[serde(rename = "$schema")]
    pub _json_schema: Option<String>,
    pub schema: u64,
    /// The day of the document. A later one is newer.
    pub version: NaiveDate,
    pub sources: Vec<Source>,
    pub providers: Vec<Provider>,
    pub models: Vec<Model>,
    #[serde(deserialize_with = "unique_map")]
    pub aliases: BTreeMap<String, String>,
}

/// Where models and prices are from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub origin: String,
    pub licence: String,
    pub taken_on: NaiveDate,
    /// The providers whose models are from it; empty for all that no other source names.
    #[serde(default)]
    pub providers: Vec<String>,
}

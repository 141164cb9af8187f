//! The changes that another catalogue would make.

use crate::catalogue::Catalogue;
use crate::model::Model;

/// The models in which two catalogues differ, each in the order of provider and model.
#[derive(Debug, Default)]
pub struct Difference<'a> {
    /// Only the newer one has these.
    pub new: Vec<&'a Model>,
    /// Only the older one has these.
    pub gone: Vec<&'a Model>,
    /// Both have these at other prices, also in a region: the older and the newer.
    pub repriced: Vec<(&'a Model, &'a Model)>,
    /// Both have these at the same prices, and say something else of them: the older and the newer.
    pub changed: Vec<(&'a Model, &'a Model)>,
}

impl<'a> Difference<'a> {
    pub fn between(older: &'a Catalogue, newer: &'a Catalogue) -> Self {
        let mut difference = Self::default();
        for after in newer.models() {
            match older.model(&after.provider, &after.model) {
                None => difference.new.push(after),
                Some(before) if before.price != after.price || before.regional_prices != after.regional_prices => {
                    difference.repriced.push((before, after));
                }
                Some(before) if before != after => difference.changed.push((before, after)),
                Some(_) => {}
            }
        }
        let is_gone = |before: &&Model| newer.model(&before.provider, &before.model).is_none();
        difference.gone = older.models().iter().filter(is_gone).collect();
        difference
    }

    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty() && self.repriced.is_empty() && self.changed.is_empty()
    }
}

//! Searching for models by words.

use std::collections::BTreeMap;

use crate::catalogue::Catalogue;
use crate::model::Model;

impl Catalogue {
    /// The models that contain every word, in whatever case: in the provider's id or name, the model, its bare name or an
    /// alias of it. None for no words.
    pub fn search(&self, words: &[&str]) -> Vec<&Model> {
        let words: Vec<String> = words.iter().flat_map(|text| text.split_whitespace()).map(str::to_lowercase).collect();
        if words.is_empty() {
            return Vec::new();
        }
        let providers: BTreeMap<&str, &str> =
            self.providers().iter().map(|provider| (provider.id.as_str(), provider.name.as_str())).collect();
        let mut aliases: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (alias, name) in self.aliases() {
            aliases.entry(name).or_default().push(alias);
        }
        let contains_all = |model: &&Model| {
            let name = model.name.as_deref().unwrap_or_default();
            let provider = providers.get(model.provider.as_str()).copied().unwrap_or_default();
            let mut parts = vec![model.provider.as_str(), provider, &model.model, name];
            parts.extend(aliases.get(name).into_iter().flatten());
            // No word contains the line end that separates the parts.
            let text = parts.join("\n").to_lowercase();
            words.iter().all(|word| text.contains(word.as_str()))
        };
        self.models().iter().filter(contains_all).collect()
    }
}

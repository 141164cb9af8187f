//! The allow list of a key or a tenant: the models that it may use.

use std::collections::BTreeSet;
use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// An allow list of model names, compiled. `*` also crosses `/`; a name always matches itself.
#[derive(Debug)]
pub struct ModelGlobs {
    names: BTreeSet<String>,
    globs: GlobSet,
}

/// A pattern of an allow list is invalid.
#[derive(Debug, thiserror::Error)]
#[error("{pattern:?} is not a glob: {source}")]
pub struct InvalidGlob {
    pub pattern: String,
    source: globset::Error,
}

impl ModelGlobs {
    /// Errors: the first pattern that is not a glob.
    pub fn compile(patterns: &[String]) -> Result<Self, InvalidGlob> {
        let mut globs = GlobSetBuilder::new();
        for pattern in patterns {
            globs.add(glob(pattern)?);
        }
        let globs = globs.build().map_err(|source| InvalidGlob { pattern: patterns.join(", "), source })?;
        Ok(Self { names: patterns.iter().cloned().collect(), globs })
    }

    /// A recorded list, whose `owner` is named in the gateway's log if it cannot be compiled. Intake refuses such a list; this one keeps
    /// its literal names, so that it fails closed.
    pub fn of_recorded(patterns: &[String], owner: &dyn fmt::Display) -> Self {
        Self::compile(patterns).unwrap_or_else(|error| {
            tracing::error!(%owner, %error, "an allow list cannot be compiled: it matches its literal names only");
            Self { names: patterns.iter().cloned().collect(), globs: GlobSet::empty() }
        })
    }

    pub fn matches(&self, name: &str) -> bool {
        self.names.contains(name) || self.globs.is_match(name)
    }

    /// Whether the list is known to match everything that `pattern` matches: it is one of these patterns, or a plain name.
    pub fn covers(&self, pattern: &str) -> bool {
        let is_plain = !pattern.contains(['*', '?', '[', ']', '{', '}', '\\', '!']);
        self.names.contains(pattern) || is_plain && self.globs.is_match(pattern)
    }
}

fn glob(pattern: &str) -> Result<globset::Glob, InvalidGlob> {
    GlobBuilder::new(pattern)
        .literal_separator(false)
        .build()
        .map_err(|source| InvalidGlob { pattern: pattern.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(patterns: &[&str]) -> ModelGlobs {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        ModelGlobs::compile(&patterns).expect("valid globs")
    }

    /// Holds: admin.keys
    #[test]
    fn a_star_crosses_slashes_and_a_plain_name_matches_itself_alone() {
        assert!(globs(&["acme/*"]).matches("acme/eu/large"));
        assert!(globs(&["*"]).matches("acme/large"));
        assert!(globs(&["t1/o*"]).matches("t1/ok"));
        assert!(!globs(&["t1/o*"]).matches("t1/tools"));
        assert!(!globs(&["gpt-4"]).matches("gpt-4o"));
        assert!(globs(&["odd[1]"]).matches("odd[1]"));
        assert!(!globs(&[]).matches("anything"));
    }

    #[test]
    fn a_list_covers_its_own_patterns_and_plain_names_that_they_match() {
        let own = globs(&["sim-*", "gpt-4o"]);
        for covered in ["sim-*", "sim-small", "gpt-4o"] {
            assert!(own.covers(covered), "{covered}");
        }
        for wider in ["*", "sim-**", "sim-[ab]", "s*", "gpt-4", "gpt-4?"] {
            assert!(!own.covers(wider), "{wider}");
        }
    }

    #[test]
    fn an_invalid_glob_is_named() {
        let error = ModelGlobs::compile(&["fine".to_owned(), "bad[".to_owned()]).expect_err("an open class");
        assert_eq!(error.pattern, "bad[");
    }
}

//! Vendors' APIs that this version does not serve. The error to a client that calls one names the API.

use std::borrow::Cow;

use super::{Audience, Vendor, anthropic, is_at_or_below, openai};

const VENDORS: [&Vendor; 2] = [&anthropic::VENDOR, &openai::VENDOR];

/// A vendor's API that this version does not serve.
#[derive(Clone, Copy, Debug)]
pub struct Unsupported {
    /// Its root below `/v1/`.
    pub root: &'static str,
    pub name: &'static str,
    pub(super) audience: Audience,
}

impl Unsupported {
    /// The unsupported API at this path.
    pub fn at(path: &str) -> Option<Self> {
        let rest = below_version(path)?.trim_end_matches('/');
        VENDORS.iter().find_map(|vendor| {
            let (root, name) = vendor.unsupported.iter().find(|(root, _)| is_at_or_below(rest, root))?;
            Some(Self { root, name, audience: vendor.audience })
        })
    }
}

/// The part of the path below `/v1/` or `/oai/v1/`.
pub fn below_version(path: &str) -> Option<&str> {
    path.strip_prefix("/oai").unwrap_or(path).strip_prefix("/v1/")
}

/// The path with one version, if it has two: its client's base URL is wrong, and its dialect is known.
pub fn with_one_version(path: &str) -> Cow<'_, str> {
    match below_version(path).and_then(|rest| rest.strip_prefix("v1/")) {
        Some(again) => format!("/v1/{again}").into(),
        None => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_root_hides_behind_a_shorter_one() {
        for (root, name) in VENDORS.iter().flat_map(|vendor| vendor.unsupported) {
            let path = if root.ends_with('/') { format!("/v1/{root}x") } else { format!("/v1/{root}") };
            let at = Unsupported::at(&path).map(|part| (part.root, part.name));
            assert_eq!(at, Some((*root, *name)), "{root}");
        }
    }
}

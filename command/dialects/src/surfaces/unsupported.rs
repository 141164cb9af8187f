//! Parts of vendors' APIs that this version does not have, so that a client that asks for one is told what it is.

use super::{Audience, Vendor, anthropic, is_at_or_below, openai};

const VENDORS: [&Vendor; 2] = [&anthropic::VENDOR, &openai::VENDOR];

/// A part of a vendor's API that this version does not have.
#[derive(Clone, Copy, Debug)]
pub struct Unsupported {
    /// Below `/v1/`.
    pub root: &'static str,
    pub name: &'static str,
    /// Added to what there is instead.
    pub note: &'static str,
    pub(super) audience: Audience,
}

impl Unsupported {
    /// What is asked for at this path.
    pub fn at(path: &str) -> Option<Self> {
        let rest = below_version(path)?.trim_end_matches('/');
        VENDORS.iter().find_map(|vendor| {
            let (root, name) = vendor.unsupported.iter().find(|(root, _)| is_at_or_below(rest, root))?;
            Some(Self { root, name, note: vendor.note, audience: vendor.audience })
        })
    }
}

/// What of the path is below `/v1/` or `/oai/v1/`.
pub fn below_version(path: &str) -> Option<&str> {
    path.strip_prefix("/oai").unwrap_or(path).strip_prefix("/v1/")
}

/// Whose clients ask for it, also where the version is in the path twice.
pub fn audience_of(path: &str) -> Option<Audience> {
    match below_version(path).and_then(|rest| rest.strip_prefix("v1/")) {
        Some(again) => Unsupported::at(&format!("/v1/{again}")),
        None => Unsupported::at(path),
    }
    .map(|part| part.audience)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_root_hides_behind_a_shorter_one() {
        for (root, name) in VENDORS.iter().flat_map(|vendor| vendor.unsupported) {
            let path = if root.ends_with('/') { format!("/v1/{root}x") } else { format!("/v1/{root}") };
            let found = Unsupported::at(&path).map(|part| (part.root, part.name));
            assert_eq!(found, Some((*root, *name)), "{root}");
        }
    }
}

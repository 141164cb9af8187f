//! What a partner, a tenant or a user is called by other systems: its slug and its external id.

use events::event::admin::Handles;

use super::fields::Patched;

/// [`Patched::Kept`] keeps what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeHandles {
    pub slug: Patched<String>,
    pub external_id: Patched<String>,
}

impl ChangeHandles {
    pub fn over(self, current: &Handles) -> Handles {
        Handles {
            slug: self.slug.over(current.slug.clone()),
            external_id: self.external_id.over(current.external_id.clone()),
        }
    }

    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_handle_is_kept_removed_or_set_on_its_own() {
        let current = Handles { slug: Some("acme".into()), external_id: Some("C-1".into()) };
        assert_eq!(ChangeHandles::default().over(&current), current);
        let change = ChangeHandles { slug: Patched::Removed, external_id: Patched::Set("C-2".into()) };
        assert_eq!(change.over(&current), Handles { slug: None, external_id: Some("C-2".into()) });
    }
}

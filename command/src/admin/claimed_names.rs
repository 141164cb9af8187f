//! The unique names that the resources of a log have claimed. A ledger keeps them beside its events; a ledger that is built anew
//! from the events gets them from here.

use std::collections::HashMap;

use events::event::admin::ProviderKey;
use events::event::{Change, Event, Recorded, Resource, ResourceState};
use events_log::{Name, SideRow};

use super::lifecycle::Rules;

/// The names in force as of the events that were applied.
#[derive(Default)]
pub struct ClaimedNames {
    /// The owner of each name.
    owners: HashMap<Name, String>,
    /// The names of each owner.
    names: HashMap<String, Vec<Name>>,
}

impl ClaimedNames {
    /// Applies the next event of the log.
    pub fn apply(&mut self, recorded: &Recorded) {
        let Event::Resource(fact) = &recorded.event else { return };
        match fact {
            Resource::Partner(change) => self.change(change),
            Resource::Tenant(change) => self.change(change),
            Resource::User(change) => self.change(change),
            Resource::Team(change) => self.change(change),
            Resource::Provider(change) => {
                self.change(change);
                // The claims of its keys end with it.
                if let Change::Ended(provider) = change {
                    self.release_within(&provider.to_string());
                }
            }
            Resource::ProviderKey(change) => self.change(change),
            Resource::Model(change) => self.change(change),
            Resource::AuditSearch(change) => self.change(change),
            Resource::Key(_)
            | Resource::UserErased(_)
            | Resource::KeyRotated(_)
            | Resource::BreakerOpened(_)
            | Resource::BreakerClosed(_)
            | Resource::ProviderKeySetAside(_)
            | Resource::ProviderKeyRestored(_)
            | Resource::Price(_)
            | Resource::Budget(_)
            | Resource::RateLimit(_)
            | Resource::NodeKeyReplaced(_)
            | Resource::LogKeyCreated(_)
            | Resource::PriceRevalued(_)
            | Resource::CatalogueImported(_)
            | Resource::PublishedLogRepaired(_) => {}
        }
    }

    /// The claims in force, in any order.
    pub fn into_side_rows(self) -> Vec<SideRow> {
        self.owners.into_iter().map(|(name, owner)| SideRow::ClaimName { name, owner }).collect()
    }

    /// A resource claims what its state says, and nothing after its end.
    fn change<R: Rules>(&mut self, change: &Change<R>) {
        self.release(&change.id().to_string());
        if let Some(SideRow::ClaimName { name, owner }) = change.state().and_then(R::claim) {
            self.names.entry(owner.clone()).or_default().push(name.clone());
            // Of two that share a name, as versions before claims allowed, the first has it.
            self.owners.entry(name).or_insert(owner);
        }
    }

    fn release(&mut self, owner: &str) {
        for name in self.names.remove(owner).unwrap_or_default() {
            if self.owners.get(&name).is_some_and(|holder| holder == owner) {
                self.owners.remove(&name);
            }
        }
    }

    fn release_within(&mut self, provider: &str) {
        self.owners.retain(|name, _| name.kind != ProviderKey::KIND || name.scope != provider);
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use events::event::admin::{Model, Origin, Provider, ProviderKindName, Target, Tenant};
    use events::event::{Actor, Context, Stream};
    use events::ids::ProviderId;

    use super::*;
    use crate::admin::lifecycle::spec::{changed, created, ended, id};

    fn names_after(facts: impl IntoIterator<Item = Resource>) -> Vec<(String, String, String)> {
        let mut names = ClaimedNames::default();
        for (position, fact) in (1..).zip(facts) {
            let stream = Stream::new(fact.kind(), fact.id());
            let (recorded_at, context) = (DateTime::UNIX_EPOCH, Context::of(Actor::Operator));
            names.apply(&Recorded {
                position,
                recorded_at,
                stream,
                sequence: 1,
                context,
                event: Event::Resource(fact),
            });
        }
        let mut claimed: Vec<_> = names
            .into_side_rows()
            .into_iter()
            .map(|row| match row {
                SideRow::ClaimName { name, owner } => (name.scope, name.name, owner),
                other => panic!("{other:?}"),
            })
            .collect();
        claimed.sort();
        claimed
    }

    fn model(number: u128, name: &str) -> Model {
        Model::new(id(number), name, vec![Target::new(id(9), "echo")])
    }

    fn claimed(scope: &str, name: &str, owner: impl ToString) -> (String, String, String) {
        (scope.to_owned(), name.to_owned(), owner.to_string())
    }

    #[test]
    fn a_name_is_claimed_until_its_resource_is_renamed_or_ends() {
        let (a, b) = (model(1, "a"), model(1, "b"));
        assert_eq!(names_after([created(a.clone())]), [claimed("shared", "a", a.model_id)]);
        assert_eq!(names_after([created(a.clone()), changed(b)]), [claimed("shared", "b", a.model_id)]);
        assert_eq!(names_after([created(a.clone()), ended::<Model>(a.model_id)]), []);
        let again = model(2, "a");
        let facts = [created(a.clone()), ended::<Model>(a.model_id), created(again.clone())];
        assert_eq!(names_after(facts), [claimed("shared", "a", again.model_id)]);
    }

    #[test]
    fn a_model_that_the_gateway_made_claims_nothing_and_a_slug_is_claimed_among_its_siblings() {
        let mut made = model(1, "gpt");
        made.origin = Some(Origin::Catalogue);
        assert_eq!(names_after([created(made)]), []);
        let mut tenant = Tenant::new(id(1), id(2), "Acme");
        assert_eq!(names_after([created(tenant.clone())]), []);
        tenant.handles.slug = Some("acme".to_owned());
        assert_eq!(
            names_after([created(tenant.clone())]),
            [claimed(&tenant.partner_id.to_string(), "acme", tenant.tenant_id)]
        );
    }

    #[test]
    fn the_claims_of_a_providers_keys_end_with_it() {
        let provider =
            Provider::new(id::<ProviderId>(1), "p", "simulator".parse::<ProviderKindName>().expect("a kind"));
        let key = ProviderKey {
            provider_key_id: id(2),
            provider_id: provider.provider_id,
            name: "second".to_owned(),
            weight: 1,
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrent_requests: None,
            given_for: "https://a.example".to_owned(),
            secret_generation: 1,
        };
        let made = [created(provider.clone()), created(key.clone())];
        let own = key.provider_key_id.to_string();
        assert_eq!(
            names_after(made.clone()),
            [claimed(&provider.provider_id.to_string(), &own, &own), claimed("shared", "p", provider.provider_id)]
        );
        assert_eq!(names_after(made.into_iter().chain([ended::<Provider>(provider.provider_id)])), []);
    }
}

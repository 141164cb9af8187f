//! The rules of a provider: which kinds have an address, which addresses are allowed, and where its secrets may be sent.

use dialects::ProviderKind;
use dialects::provider_dialects::{self, Transport, Upstream};
use events::event::admin::{OutputCapField, Provider};

use crate::admin::field_values;
use crate::admin::resources::base_url;
use crate::admin::resources::prelude::*;

/// A command only says that the API key changes: the key itself is sealed beside the event.
const API_KEY: &str = "api_key";
/// The same of the secret headers, whose names the command has.
const SECRET_HEADERS: &str = "secret_headers";
const BASE_URL: &str = "base_url";
const DISCOVER_MODELS: &str = "discover_models";
const OUTPUT_CAP_FIELD: &str = "output_cap_field";

const ADDRESS_FORBIDDEN: &str = "is a private address, which needs \"allow_private_network\": true, and only the platform may \
                                 allow that; link-local and metadata addresses are never called";
const SECRET_OF_ANOTHER_ORIGIN: &str = "is required: the stored key is not sent to a different scheme, host or port. Send \
                                        api_key with base_url, or null to remove it";

const HEADERS_OF_ANOTHER_ORIGIN: &str = "is required: the stored headers are not sent to a different scheme, host or port. Send \
                                         secret_headers with base_url, or null to remove them";

impl Rules for Provider {
    type State = Self;

    fn claim(&self) -> Option<SideRow> {
        Some(claim(Self::KIND, self.provider_id, &self.name, self.tenant_id))
    }

    fn settable(&self) -> Map<String, Value> {
        let mut members = field_values::members(self);
        if self.given_output_cap_field().is_none() {
            members.remove(OUTPUT_CAP_FIELD);
        }
        members
    }

    fn derive(members: &mut Map<String, Value>) -> Result<(), serde_json::Error> {
        let is_given = members.contains_key(OUTPUT_CAP_FIELD);
        members.insert("output_cap_field_given".to_owned(), is_given.into());
        members.entry(OUTPUT_CAP_FIELD).or_insert_with(|| json!(OutputCapField::default()));
        Ok(())
    }

    fn validated_new(self) -> Result<Self, RuleError> {
        let upstream = upstream(&self)?;
        require_no_overlap(upstream, self.base_url.as_deref())?;
        require_an_address_that_works(&self, self.base_url.as_deref())?;
        if self.given_output_cap_field().is_some() {
            require_cap_field_is_taken(&self, upstream)?;
        }
        self.validated()
    }

    fn validated_change(&self, change: &FieldValues) -> Result<Self, RuleError> {
        let upstream = upstream(self)?;
        require_no_overlap(upstream, change.text(BASE_URL))?;
        require_an_address_that_works(self, change.text(BASE_URL))?;
        if change.text(OUTPUT_CAP_FIELD).is_some() {
            require_cap_field_is_taken(self, upstream)?;
        }
        require_same_origin_for_secrets(self, change)?;
        let mut changed = self.changed_by(change)?;
        let next = |generation: u32| generation.checked_add(1).ok_or(RuleError::GenerationsExhausted);
        if change.has(API_KEY) {
            changed.secret_generation = next(self.secret_generation)?;
        }
        if change.has(SECRET_HEADERS) {
            changed.headers_generation = next(self.headers_generation)?;
        }
        changed.validated()
    }

    fn validated(self) -> Result<Self, RuleError> {
        let upstream = upstream(&self)?;
        if let Some(setting) = setting_not_taken(&self, upstream) {
            return Err(RuleError::of_field(setting, format!("is not for the kind {}", self.kind)));
        }
        if self.discover_models
            && let Some(reason) = why_not_discovered(&self)
        {
            return Err(RuleError::of_field(DISCOVER_MODELS, reason));
        }
        if let Some(name) = self.secret_header_names.iter().find(|name| self.headers.contains_key(*name)) {
            return Err(RuleError::of_field(
                format!("headers.{name}"),
                "is also one of secret_headers: leave it out here",
            ));
        }
        let (field, reason) = match (&upstream.transport, &self.base_url) {
            (Transport::InProcess(_), Some(_)) => (BASE_URL, "must be absent: the simulator has no address".to_owned()),
            (Transport::InProcess(_), None) if self.secret_generation > 0 => {
                (API_KEY, "must be absent: the simulator needs no API key".to_owned())
            }
            (Transport::InProcess(_), None) if !self.secret_header_names.is_empty() => {
                (SECRET_HEADERS, "must be absent: the simulator is sent no headers".to_owned())
            }
            (Transport::Http(_), None) => (BASE_URL, "is required: every kind except simulator needs it".to_owned()),
            (Transport::Http(_), Some(_)) if !self.allowed_fields.is_empty() && !upstream.takes_allowed_fields => {
                let kind = &self.kind;
                let reason = format!(
                    "is only for kinds to which requests of the same dialect are passed on as they are, openai, \
                     azure_openai and anthropic: a request to {kind} is translated, and such a field is refused"
                );
                ("allowed_fields", reason)
            }
            (Transport::Http(_), Some(address)) if base_url::is_forbidden(address, self.allow_private_network) => {
                (BASE_URL, ADDRESS_FORBIDDEN.to_owned())
            }
            (Transport::InProcess(_), None) | (Transport::Http(_), Some(_)) => return Ok(self),
        };
        Err(RuleError::of_field(field, reason))
    }
}

/// Why the provider's server is not asked for its models.
fn why_not_discovered(provider: &Provider) -> Option<&'static str> {
    if provider.tenant_id.is_some() {
        return Some("is not for a tenant's own provider: the models would appear for all tenants");
    }
    if !provider.allow_private_network {
        return Some(
            "needs \"allow_private_network\": true: models at public addresses have a price, which no list tells",
        );
    }
    match provider_dialects::model_list_of(provider) {
        Some(_) => None,
        None => Some("is only for kind ollama, and for kind openai with server vllm, sglang or llama_cpp"),
    }
}

/// A setting that the provider has and its kind does not take.
fn setting_not_taken(provider: &Provider, upstream: &Upstream) -> Option<&'static str> {
    let taken = upstream.endpoint().map_or(&[] as &[_], |endpoint| endpoint.settings);
    let given = [
        ("api_version", provider.api_version.is_some()),
        ("region", provider.region.is_some()),
        ("server", provider.server.is_some()),
    ];
    given.into_iter().find(|(name, is_given)| *is_given && !taken.contains(name)).map(|(name, _)| name)
}

/// Errors: a later version recorded the provider, and this one does not know its kind.
fn upstream(provider: &Provider) -> Result<&'static Upstream, RuleError> {
    let known = ProviderKind::named(&provider.kind).map(provider_dialects::of);
    known.ok_or_else(|| {
        let kind = &provider.kind;
        let reason = format!(
            "this provider has the kind \"{kind}\", which this version of the gateway does not know: upgrade it first"
        );
        RuleError::of_field("kind", reason)
    })
}

/// Errors: the address ends in a path that the gateway appends. Only new addresses are checked: one that was set before this
/// rule existed may stay.
fn require_no_overlap(upstream: &Upstream, base_url: Option<&str>) -> Result<(), RuleError> {
    match base_url.and_then(|address| upstream.endpoint()?.wrong_end_of(address)) {
        Some(overlap) => {
            let end = if overlap.ends_with('/') { "contain" } else { "end in" };
            let reason = format!("must not {end} {overlap}: the gateway appends that path itself");
            Err(RuleError::of_field(BASE_URL, reason))
        }
        None => Ok(()),
    }
}

/// Errors: nothing of the kind can be at a new address, whose host is well known.
fn require_an_address_that_works(provider: &Provider, base_url: Option<&str>) -> Result<(), RuleError> {
    let kind = ProviderKind::named(&provider.kind);
    match kind.zip(base_url).and_then(|(kind, address)| provider_dialects::corrected_base_url(kind, address)) {
        Some(corrected) => {
            let reason = format!("is not where this host serves kind {}: use {corrected}", provider.kind);
            Err(RuleError::of_field(BASE_URL, reason))
        }
        None => Ok(()),
    }
}

/// Errors: the kind has one name for the cap. One that was set before this rule existed may stay.
fn require_cap_field_is_taken(provider: &Provider, upstream: &Upstream) -> Result<(), RuleError> {
    let is_taken = upstream.endpoint().is_some_and(|endpoint| endpoint.settings.contains(&OUTPUT_CAP_FIELD));
    match is_taken {
        true => Ok(()),
        false => Err(RuleError::of_field(OUTPUT_CAP_FIELD, format!("is not for the kind {}", provider.kind))),
    }
}

/// Errors: the change moves the address to a different origin and keeps the API key or the secret headers. Since no reply shows
/// them, a change of the address must not reveal them to a host that they were not meant for.
fn require_same_origin_for_secrets(current: &Provider, change: &FieldValues) -> Result<(), RuleError> {
    let keeps_key = current.secret_generation > 0 && !change.has(API_KEY);
    let keeps_headers = !current.secret_header_names.is_empty() && !change.has(SECRET_HEADERS);
    let Some(moved_to) = change.text(BASE_URL).filter(|_| keeps_key || keeps_headers) else { return Ok(()) };
    if current.base_url.as_deref().is_some_and(|current| base_url::same_origin(current, moved_to)) {
        return Ok(());
    }
    let (field, reason) = match keeps_key {
        true => (API_KEY, SECRET_OF_ANOTHER_ORIGIN),
        false => (SECRET_HEADERS, HEADERS_OF_ANOTHER_ORIGIN),
    };
    Err(RuleError::of_field(field, reason))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use events::event::Resource;
    use events::event::admin::ProviderKindName;

    use super::*;
    use crate::admin::lifecycle::Command::{Create, End};
    use crate::admin::lifecycle::spec::{self, changed, created, ended, id};
    use crate::admin::tests::change;

    fn given(facts: impl IntoIterator<Item = Resource>) -> spec::Given<Provider> {
        spec::given(facts)
    }

    fn openai(base_url: &str) -> Provider {
        let made = Provider::new(id(1), "o", ProviderKind::Openai);
        Provider { base_url: Some(base_url.into()), secret_generation: 1, ..made }
    }

    fn simulator() -> Provider {
        Provider { kind: ProviderKind::Simulator.into(), base_url: None, secret_generation: 0, ..openai("") }
    }

    /// The change that a body with an address and secret headers makes: the headers themselves were taken out of it.
    fn taken_from(base_url: &str, names: &[&str]) -> Command<Provider> {
        let body = json!({ "base_url": base_url, "secret_headers": null });
        let Command::Change(mut given) = change::<Provider>(&body) else { panic!("it is a change") };
        given.put("secret_header_names", names);
        Command::Change(given)
    }

    fn refused(field: &str, reason: &str) -> RuleError {
        RuleError::of_field(field, reason)
    }

    const PUBLIC: &str = "https://api.example.com/v1";
    const PRIVATE: &str = "http://10.1.2.3";

    /// Holds: admin.provider-kinds
    #[test]
    fn a_provider_has_an_address_and_the_simulator_has_none() {
        given([]).when(Create(openai(PUBLIC))).then([created(openai(PUBLIC))]);
        given([]).when(Create(simulator())).then([created(simulator())]);
        let without = Provider { base_url: None, ..openai("") };
        given([])
            .when(Create(without))
            .then_refused(refused(BASE_URL, "is required: every kind except simulator needs it"));
        let with = Provider { base_url: Some(PUBLIC.into()), ..simulator() };
        given([]).when(Create(with)).then_refused(refused(BASE_URL, "must be absent: the simulator has no address"));
        let keyed = Provider { secret_generation: 1, ..simulator() };
        given([]).when(Create(keyed)).then_refused(refused(API_KEY, "must be absent: the simulator needs no API key"));
    }

    #[test]
    fn a_region_is_taken_by_kinds_whose_requests_are_signed_for_it() {
        let region = Some("eu-west-1".to_owned());
        let bedrock = Provider {
            kind: ProviderKind::Bedrock.into(),
            region: region.clone(),
            ..openai("https://api.example.com")
        };
        given([]).when(Create(bedrock.clone())).then([created(bedrock.clone())]);
        let versioned = Provider { api_version: Some("1".to_owned()), ..bedrock };
        given([]).when(Create(versioned)).then_refused(refused("api_version", "is not for the kind bedrock"));
        let other = Provider { region, ..openai(PUBLIC) };
        given([]).when(Create(other)).then_refused(refused("region", "is not for the kind openai"));
    }

    /// Holds: admin.discover-models
    #[test]
    fn only_a_local_server_of_all_tenants_that_lists_its_models_is_asked_for_them() {
        let asked = Provider {
            kind: ProviderKind::Ollama.into(),
            allow_private_network: true,
            discover_models: true,
            ..openai(PRIVATE)
        };
        given([]).when(Create(asked.clone())).then([created(asked.clone())]);
        let of_openai = |server: Option<&'static str>| Provider {
            kind: ProviderKind::Openai.into(),
            server: server.map(|server| server.parse().expect("a name")),
            ..asked.clone()
        };
        given([]).when(Create(of_openai(Some("vllm")))).then([created(of_openai(Some("vllm")))]);
        for wrong in [
            Provider { tenant_id: Some(id(9)), ..asked.clone() },
            Provider { allow_private_network: false, base_url: Some("https://a.example".into()), ..asked.clone() },
            of_openai(None),
            of_openai(Some("groq")),
            Provider { discover_models: true, ..simulator() },
        ] {
            let reason = why_not_discovered(&wrong).expect("a reason");
            given([]).when(Create(wrong)).then_refused(refused(DISCOVER_MODELS, reason));
        }
        let not_asked = Provider { discover_models: false, ..asked };
        let ask = change(&json!({ "discover_models": true }));
        given([created(not_asked.clone())]).when(ask).then([changed(Provider { discover_models: true, ..not_asked })]);
    }

    #[test]
    fn a_provider_of_an_unknown_kind_is_ended_but_not_changed() {
        let later = Provider { kind: ProviderKindName::literal("later"), ..openai(PUBLIC) };
        let reason =
            "this provider has the kind \"later\", which this version of the gateway does not know: upgrade it first";
        for fields in [json!({ "name": "p" }), json!({ "base_url": PUBLIC, "api_key": "k" })] {
            given([created(later.clone())]).when(change(&fields)).then_refused(refused("kind", reason));
        }
        given([created(later)]).when(End).then([ended::<Provider>(id(1))]);
    }

    #[test]
    fn the_opt_in_for_private_addresses_cannot_be_taken_back_while_one_is_used() {
        given([]).when(Create(openai(PRIVATE))).then_refused(refused(BASE_URL, ADDRESS_FORBIDDEN));
        let private = Provider { allow_private_network: true, ..openai(PRIVATE) };
        given([]).when(Create(private.clone())).then([created(private.clone())]);
        let close = change(&json!({ "allow_private_network": false }));
        given([created(private.clone())]).when(close).then_refused(refused(BASE_URL, ADDRESS_FORBIDDEN));
        let moved = change(&json!({ "allow_private_network": false, "base_url": PUBLIC, "api_key": "k" }));
        let at_public = Provider { secret_generation: 2, ..openai(PUBLIC) };
        given([created(private)]).when(moved).then([changed(at_public)]);
    }

    #[test]
    fn a_new_address_must_not_end_in_a_path_that_the_gateway_appends() {
        let whole = "https://api.example.com/v1/chat/completions";
        let refused = || refused(BASE_URL, "must not end in /chat/completions: the gateway appends that path itself");
        given([]).when(Create(openai(whole))).then_refused(refused());
        let moved = change(&json!({ "base_url": whole }));
        given([created(openai(PUBLIC))]).when(moved).then_refused(refused());
        let renamed = change(&json!({ "name": "p" }));
        let earlier = Provider { name: "p".into(), ..openai(whole) };
        given([created(openai(whole))]).when(renamed).then([changed(earlier)]);
    }

    #[test]
    fn fields_are_allowed_where_requests_are_passed_on_as_they_are() {
        let allowed_fields = BTreeSet::from(["provider".to_owned()]);
        let allow = || change(&json!({ "allowed_fields": ["provider"] }));
        let allowing = Provider { allowed_fields: allowed_fields.clone(), ..openai(PUBLIC) };
        given([created(openai(PUBLIC))]).when(allow()).then([changed(allowing.clone())]);
        given([created(allowing.clone())])
            .when(change(&json!({ "name": "p" })))
            .then([changed(Provider { name: "p".into(), ..allowing.clone() })]);
        let none = change(&json!({ "allowed_fields": [] }));
        given([created(allowing)]).when(none).then([changed(openai(PUBLIC))]);
        let ollama = Provider { kind: ProviderKind::Ollama.into(), ..openai("https://api.example.com") };
        let reason = "is only for kinds to which requests of the same dialect are passed on as they are, openai, \
                      azure_openai and anthropic: a request to ollama is translated, and such a field is refused";
        let not_taken = || refused("allowed_fields", reason);
        given([created(ollama.clone())]).when(allow()).then_refused(not_taken());
        let created = Provider { allowed_fields, ..ollama };
        given([]).when(Create(created)).then_refused(not_taken());
    }

    #[test]
    fn a_kept_key_goes_to_no_other_scheme_host_or_port() {
        let to = |base_url: &str| change(&json!({ "base_url": base_url }));
        let keyless = Provider { secret_generation: 0, ..openai(PUBLIC) };
        for other in ["http://api.example.com/v1", "https://api.example.com:8443/v1", "https://example.com/v1"] {
            let refused = refused(API_KEY, SECRET_OF_ANOTHER_ORIGIN);
            given([created(openai(PUBLIC))]).when(to(other)).then_refused(refused);
            let with_key = change(&json!({ "base_url": other, "api_key": "k" }));
            let moved = Provider { secret_generation: 2, ..openai(other) };
            given([created(openai(PUBLIC))]).when(with_key).then([changed(moved)]);
            let moved = Provider { secret_generation: 0, ..openai(other) };
            given([created(keyless.clone())]).when(to(other)).then([changed(moved)]);
        }
        let same = "https://api.example.com/v2";
        given([created(openai(PUBLIC))]).when(to(same)).then([changed(openai(same))]);
    }

    /// Holds: admin.headers
    #[test]
    fn kept_secret_headers_go_to_no_other_scheme_host_or_port() {
        let with = |base_url: &str, headers_generation: u32| Provider {
            secret_generation: 0,
            secret_header_names: ["x-auth".to_owned()].into(),
            headers_generation,
            ..openai(base_url)
        };
        let other = "https://other.example.com/v1";
        let to_other = || change(&json!({ "base_url": other }));
        let refused = || refused(SECRET_HEADERS, HEADERS_OF_ANOTHER_ORIGIN);
        given([created(with(PUBLIC, 1))]).when(to_other()).then_refused(refused());
        given([created(with(PUBLIC, 1))]).when(taken_from(other, &["x-auth"])).then([changed(with(other, 2))]);
        let without = Provider { secret_header_names: BTreeSet::new(), ..with(other, 2) };
        given([created(with(PUBLIC, 1))]).when(taken_from(other, &[])).then([changed(without.clone())]);
        // Nothing is left that could be sent.
        let back = Provider { base_url: Some(PUBLIC.into()), ..without.clone() };
        given([created(without)]).when(change(&json!({ "base_url": PUBLIC }))).then([changed(back)]);
    }

    #[test]
    fn a_header_is_secret_or_not_and_the_simulator_has_none_that_is() {
        let secret_header_names = BTreeSet::from(["x-auth".to_owned()]);
        let headers = [("x-auth".to_owned(), "a".to_owned())].into();
        let both = Provider { secret_header_names: secret_header_names.clone(), headers, ..openai(PUBLIC) };
        let twice = refused("headers.x-auth", "is also one of secret_headers: leave it out here");
        given([]).when(Create(both)).then_refused(twice);
        let simulated = Provider { secret_header_names, ..simulator() };
        let absent = refused(SECRET_HEADERS, "must be absent: the simulator is sent no headers");
        given([]).when(Create(simulated)).then_refused(absent);
    }

    #[test]
    fn an_address_that_cannot_work_is_refused_with_the_one_that_can() {
        let wrong = openai("https://api.openai.com");
        let refused = || refused(BASE_URL, "is not where this host serves kind openai: use https://api.openai.com/v1");
        given([]).when(Create(wrong.clone())).then_refused(refused());
        let to_wrong = change(&json!({ "base_url": "https://api.openai.com", "api_key": "k" }));
        given([created(openai(PUBLIC))]).when(to_wrong).then_refused(refused());
        // Set before this rule existed, it stays.
        given([created(wrong.clone())]).when(change(&json!({}))).then([changed(wrong)]);
    }

    #[test]
    fn a_name_of_the_cap_is_for_kinds_that_have_two() {
        let kind = ProviderKind::Cohere.into();
        let cohere = Provider { kind, ..openai("https://api.example.com") };
        let refused = || refused(OUTPUT_CAP_FIELD, "is not for the kind cohere");
        let name = change(&json!({ "output_cap_field": "max_tokens" }));
        given([created(cohere.clone())]).when(name).then_refused(refused());
        let given_before = Provider { output_cap_field_given: true, ..cohere.clone() };
        given([]).when(Create(given_before.clone())).then_refused(refused());
        given([created(given_before)]).when(change(&json!({ "output_cap_field": null }))).then([changed(cohere)]);
    }

    #[test]
    fn the_name_of_the_cap_is_given_and_taken_back() {
        let name = |field: Value| change(&json!({ "output_cap_field": field }));
        let with = |output_cap_field, output_cap_field_given| Provider {
            output_cap_field,
            output_cap_field_given,
            ..openai(PUBLIC)
        };
        for field in [OutputCapField::MaxTokens, OutputCapField::MaxCompletionTokens] {
            given([created(openai(PUBLIC))]).when(name(json!(field))).then([changed(with(field, true))]);
            given([created(with(field, true))]).when(name(Value::Null)).then([changed(openai(PUBLIC))]);
            given([created(with(field, true))]).when(change(&json!({}))).then([changed(with(field, true))]);
        }
        // Events of 0.1.0 do not record whether it was given: a value other than the default was.
        given([created(with(OutputCapField::MaxCompletionTokens, false))])
            .when(change(&json!({})))
            .then([changed(with(OutputCapField::MaxCompletionTokens, true))]);
    }

    #[test]
    fn a_new_api_key_is_a_new_generation() {
        for api_key in [json!("k"), Value::Null] {
            given([created(openai(PUBLIC))])
                .when(change(&json!({ "api_key": api_key })))
                .then([changed(Provider { secret_generation: 2, ..openai(PUBLIC) })]);
        }
    }

    #[test]
    fn an_ended_provider_is_not_changed() {
        let facts = || [created(simulator()), ended::<Provider>(id(1))];
        given(facts()).when(change(&json!({}))).then_refused(RuleError::Ended);
        given(facts()).when(End).then_nothing();
    }
}

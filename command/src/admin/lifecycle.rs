//! The life cycle of a resource: created once, changed while it is live, ended once.
//!
//! [`Lifecycle::decide`] and [`Lifecycle::evolve`] are pure and the same for all twelve kinds, so no kind can be recreated
//! after its end, changed before its creation, or ended twice in the log. A repeated `DELETE` decides on no event instead
//! of an error, because its caller has what it wanted. A change carries the whole new state, so earlier changes of a stream
//! do not matter. What one kind requires of its state is in its [`Rules`], in the kind's file in `resources`.
//!
//! A decision depends on the stream and the command alone: no clock, no randomness, no other resource, no caller. Authority
//! and references are checked before, in `routes` and `resources`. Nine aggregates, or a macro that writes them, were
//! rejected: their unit tests would need a runtime, and their life cycles could differ. `cqrs_es` gets one thin
//! [`cqrs_es::Aggregate`] that calls `decide` and `evolve` and adds nothing.

use std::fmt;

use events::event::{Change, Event, EventType, Resource, ResourceState, StreamKind};
use events_log::SideRow;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::field_values::{DeclarationMismatch, FieldValues, members, state_of};
use super::fields::FieldError;
use super::names::release;

/// The rules of one kind of resource, beyond what all kinds have in common.
pub trait Rules: ResourceState {
    /// The state that its commands are decided on.
    type State: StateOf<Self>;

    /// The fields of the state that bodies can set, without those that are derived from them.
    fn settable(&self) -> Map<String, Value> {
        members(self)
    }

    /// Adds the fields that are derived from those that bodies set.
    fn derive(_: &mut Map<String, Value>) -> Result<(), serde_json::Error> {
        Ok(())
    }

    /// The resource that a creation with these values makes.
    fn of_values(id: Self::Id, mut values: FieldValues) -> Result<Self, DeclarationMismatch> {
        values.put(Self::ID_FIELD, id);
        state_of(values.into_members(), Self::derive)
    }

    /// The resource after a change with these values.
    fn changed_by(&self, change: &FieldValues) -> Result<Self, DeclarationMismatch> {
        let mut members = self.settable();
        members.extend(change.clone().into_members());
        members.retain(|_, value| !value.is_null());
        state_of(members, Self::derive)
    }

    /// The claim to the name that is unique among its siblings; `None` if it has none.
    fn claim(&self) -> Option<SideRow> {
        None
    }

    /// The rows of a change that sets or removes the name in `field`: the old one is released and the new one claimed.
    fn reclaim(&self, field: &str, change: &FieldValues) -> Result<Vec<SideRow>, DeclarationMismatch> {
        if !change.has(field) {
            return Ok(Vec::new());
        }
        let claim = self.changed_by(change)?.claim();
        Ok([release(self.id())].into_iter().chain(claim).collect())
    }

    /// Checks the rules that hold after every command, and brings the state into its normal form.
    fn validated(self) -> Result<Self, RuleError> {
        Ok(self)
    }

    /// Checks a resource that is about to be created.
    fn validated_new(self) -> Result<Self, RuleError> {
        self.validated()
    }

    /// Applies a change and checks the result.
    fn validated_change(&self, change: &FieldValues) -> Result<Self, RuleError> {
        self.changed_by(change)?.validated()
    }
}

/// The state that commands are decided on: for most kinds, the resource itself.
pub trait StateOf<R>: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The state after the resource was created or changed.
    fn of(resource: R, before: Option<&Self>) -> Self;

    fn resource(&self) -> &R;

    /// Applies an event of this kind that is not a [`Change`].
    fn apply_special(&mut self, _: &Resource) {}
}

impl<R: ResourceState> StateOf<R> for R {
    fn of(resource: R, _: Option<&Self>) -> Self {
        resource
    }

    fn resource(&self) -> &R {
        self
    }
}

/// A command to a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Command<R> {
    /// Creates the resource with this state.
    Create(R),
    Change(FieldValues),
    End,
    /// Records an event that only one kind has, and that was decided on the resource's state. It needs a live resource.
    Record(Resource),
    /// The same for an event that may also follow the resource's end.
    RecordAtAnyTime(Resource),
}

/// The state of a resource after its events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Lifecycle<R: Rules> {
    #[default]
    Absent,
    Live(R::State),
    Ended(R::State),
}

/// The reason why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("exists already")]
    Exists,
    #[error("does not exist")]
    Absent,
    #[error("has ended")]
    Ended,
    /// The resource would break a rule of its kind.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// After four billion secrets of a key or a provider.
    #[error("has no generation left")]
    GenerationsExhausted,
    #[error(transparent)]
    DeclarationMismatch(#[from] DeclarationMismatch),
}

impl RuleError {
    pub fn of_field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field(FieldError::new(field, reason))
    }
}

impl<R: Rules> Lifecycle<R> {
    /// The event that a command leads to; `None` for a repeated `DELETE`, which changes nothing.
    pub fn decide(&self, command: Command<R>) -> Result<Option<Resource>, RuleError> {
        Ok(Some(match (command, self) {
            (Command::Create(resource), Self::Absent) => Change::created(resource.validated_new()?).into(),
            (Command::Create(_), Self::Live(_)) => return Err(RuleError::Exists),
            (Command::Create(_) | Command::Change(_) | Command::Record(_), Self::Ended(_)) => {
                return Err(RuleError::Ended);
            }
            (Command::Change(change), Self::Live(state)) => {
                Change::changed(state.resource().validated_change(&change)?).into()
            }
            (Command::Record(event), Self::Live(_))
            | (Command::RecordAtAnyTime(event), Self::Live(_) | Self::Ended(_)) => event,
            (Command::End, Self::Live(state)) => Change::<R>::Ended(state.resource().id()).into(),
            (Command::End, Self::Ended(_)) => return Ok(None),
            (Command::Change(_) | Command::Record(_) | Command::RecordAtAnyTime(_) | Command::End, Self::Absent) => {
                return Err(RuleError::Absent);
            }
        }))
    }

    /// Applies an event of this kind.
    pub fn evolve(&mut self, fact: Resource) {
        match R::from_resource(fact) {
            Ok(Change::Created(resource) | Change::Changed(resource)) => {
                *self = Self::Live(R::State::of(*resource, self.state()));
            }
            Ok(Change::Ended(_)) => {
                if let Self::Live(state) = std::mem::take(self) {
                    *self = Self::Ended(state);
                }
            }
            Err(special) => {
                if let Self::Live(state) = self {
                    state.apply_special(&special);
                }
            }
        }
    }

    /// The newest state, also after the end.
    pub const fn state(&self) -> Option<&R::State> {
        match self {
            Self::Absent => None,
            Self::Live(state) | Self::Ended(state) => Some(state),
        }
    }
}

/// An event on the stream of a resource of a different kind: a defect, or a damaged log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} does not belong on a stream of {}", kind.as_str())]
pub struct ForeignFact {
    pub kind: StreamKind,
    pub found: &'static str,
}

/// An event of administration in the form that `cqrs_es` needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact(pub Resource);

impl Fact {
    /// Errors: the event is not one of a resource of `kind`.
    pub fn of(kind: StreamKind, event: Event) -> Result<Self, ForeignFact> {
        match event {
            Event::Resource(fact) if fact.kind() == kind => Ok(Self(fact)),
            other => Err(ForeignFact { kind, found: other.name() }),
        }
    }
}

impl cqrs_es::DomainEvent for Fact {
    fn event_type(&self) -> String {
        self.0.event_type().name.to_owned()
    }

    fn event_version(&self) -> String {
        self.0.event_type().version.to_string()
    }
}

/// With name and version, as in the log.
impl Serialize for Fact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let payload = Event::from(self.0.clone()).payload().map_err(S::Error::custom)?;
        let EventType { name, version, .. } = self.0.event_type();
        (name, version, payload).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (name, version, payload) = <(String, u32, String)>::deserialize(deserializer)?;
        match Event::decode(&name, version, &payload).map_err(D::Error::custom)? {
            Event::Resource(fact) => Ok(Self(fact)),
            other => Err(D::Error::custom(format!("{} is not an event of administration", other.name()))),
        }
    }
}

impl<R: Rules> cqrs_es::Aggregate for Lifecycle<R> {
    const TYPE: &'static str = R::KIND.as_str();
    type Command = Command<R>;
    type Event = Fact;
    type Error = RuleError;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        (): &Self::Services,
        sink: &cqrs_es::event_sink::EventSink<Self>,
    ) -> Result<(), RuleError> {
        if let Some(fact) = self.decide(command)? {
            sink.write(Fact(fact), self).await;
        }
        Ok(())
    }

    fn apply(&mut self, Fact(fact): Self::Event) {
        self.evolve(fact);
    }
}

/// Decisions as sentences: `given([events]).when(command).then([events])`.
#[cfg(test)]
pub mod spec {
    use events::event::{Change, Resource, ResourceState};

    use super::{Command, Lifecycle, RuleError, Rules};

    pub struct Given<R: Rules>(Lifecycle<R>);

    pub struct Decided(Result<Option<Resource>, RuleError>);

    pub fn given<R: Rules>(facts: impl IntoIterator<Item = Resource>) -> Given<R> {
        let mut lifecycle = Lifecycle::default();
        facts.into_iter().for_each(|fact| lifecycle.evolve(fact));
        Given(lifecycle)
    }

    impl<R: Rules> Given<R> {
        pub fn when(self, command: Command<R>) -> Decided {
            Decided(self.0.decide(command))
        }
    }

    impl Decided {
        pub fn then(self, facts: impl IntoIterator<Item = Resource>) {
            assert_eq!(self.0.map(Vec::from_iter), Ok(facts.into_iter().collect()));
        }

        pub fn then_nothing(self) {
            self.then([]);
        }

        pub fn then_refused(self, error: impl Into<RuleError>) {
            assert_eq!(self.0, Err(error.into()));
        }
    }

    pub fn created<R: ResourceState>(state: R) -> Resource {
        Change::created(state).into()
    }

    pub fn changed<R: ResourceState>(state: R) -> Resource {
        Change::changed(state).into()
    }

    pub fn ended<R: ResourceState>(id: R::Id) -> Resource {
        Change::<R>::Ended(id).into()
    }

    /// An id of any type, from a number.
    pub fn id<I: From<uuid::Uuid>>(number: u128) -> I {
        I::from(uuid::Uuid::from_u128(number))
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::DomainEvent;
    use events::event::admin::{Partner, Tenant};

    use super::*;

    fn partner(name: &str) -> Partner {
        Partner::new(spec::id(1), name)
    }

    #[test]
    fn an_end_keeps_the_state_and_a_second_one_is_nothing_new() {
        let mut lifecycle = Lifecycle::<Partner>::Absent;
        assert_eq!(lifecycle.decide(Command::End), Err(RuleError::Absent));
        lifecycle.evolve(spec::created(partner("a")));
        let end = lifecycle.decide(Command::End).unwrap().unwrap();
        assert_eq!(end, spec::ended::<Partner>(spec::id(1)));
        lifecycle.evolve(end);
        assert_eq!(lifecycle, Lifecycle::Ended(partner("a")));
        assert_eq!(lifecycle.decide(Command::End), Ok(None));
        assert_eq!(lifecycle.decide(Command::Create(partner("b"))), Err(RuleError::Ended));
    }

    #[test]
    fn facts_have_the_names_of_the_logs_events_and_no_others_pass_for_them() {
        let fact = Fact(spec::ended::<Partner>(spec::id(1)));
        assert_eq!((fact.event_type().as_str(), fact.event_version().as_str()), ("partner.ended", "1"));
        let stored = serde_json::to_string(&fact).unwrap();
        assert_eq!(serde_json::from_str::<Fact>(&stored).unwrap(), fact);
        assert_eq!(Fact::of(StreamKind::Partner, fact.0.clone().into()), Ok(fact));
        let foreign = Event::from(spec::ended::<Tenant>(spec::id(1)));
        let found = ForeignFact { kind: StreamKind::Partner, found: "tenant.ended" };
        assert_eq!(Fact::of(StreamKind::Partner, foreign), Err(found));
    }

    /// The aggregate of `cqrs_es` records the decision.
    #[tokio::test]
    async fn a_command_that_is_handled_is_applied() {
        use cqrs_es::Aggregate;
        let mut lifecycle = Lifecycle::<Partner>::default();
        let sink = cqrs_es::event_sink::EventSink::default();
        lifecycle.handle(Command::Create(partner("a")), &(), &sink).await.unwrap();
        assert_eq!(lifecycle, Lifecycle::Live(partner("a")));
        assert_eq!(sink.collect().await, [Fact(spec::created(partner("a")))]);
    }
}

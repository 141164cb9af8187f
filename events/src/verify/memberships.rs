//! The check of the teams that requests name. A request is planned on tables that may lack the last changes, so what was so a short
//! time before it was recorded is right as well.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use crate::event::admin::Team;
use crate::event::{Change, Recorded, TeamVersions};
use crate::ids::{TeamId, TenantId, UserId};

/// A request may be planned so long before it is recorded: the ledger has ten seconds for an admission, and a refusal may wait
/// longer.
const KNOWN_BEFORE: TimeDelta = TimeDelta::seconds(30);

/// The teams, as they are and as they were a short time ago.
#[derive(Default)]
pub(super) struct Memberships {
    /// The states of each team, oldest first.
    states: HashMap<TeamId, Vec<TeamState>>,
    /// The teams in one of whose states a user is.
    of_users: HashMap<UserId, BTreeSet<TeamId>>,
}

/// A version of a team since an event. A team that has ended has no users.
struct TeamState {
    version: u64,
    since: DateTime<Utc>,
    tenant: Option<TenantId>,
    users: BTreeSet<UserId>,
}

impl Memberships {
    pub(super) fn record(&mut self, recorded: &Recorded, change: &Change<Team>) {
        let team = change.state();
        let state = TeamState {
            version: recorded.position,
            since: recorded.recorded_at,
            tenant: team.map(|team| team.tenant_id),
            users: team.map(|team| team.user_ids.iter().copied().collect()).unwrap_or_default(),
        };
        for user in &state.users {
            self.of_users.entry(*user).or_default().insert(change.id());
        }
        let states = self.states.entry(change.id()).or_default();
        states.push(state);
        let known_from = known_from(recorded);
        let first = first_known(states, known_from);
        let is_kept = |user: &UserId| states[first..].iter().any(|state| state.users.contains(user));
        let gone: BTreeSet<UserId> =
            states[..first].iter().flat_map(|state| &state.users).filter(|user| !is_kept(user)).copied().collect();
        states.drain(..first);
        for user in gone {
            if let Some(teams) = self.of_users.get_mut(&user) {
                teams.remove(&change.id());
                if teams.is_empty() {
                    self.of_users.remove(&user);
                }
            }
        }
    }

    /// A request names the teams of its user in its tenant, and no others, each in a version that was in force.
    pub(super) fn must_be(&self, recorded: &Recorded, named: &TeamVersions) -> Result<(), String> {
        let (user, tenant) = (recorded.context.user_id, recorded.context.tenant_id);
        let known_from = known_from(recorded);
        for (team, version) in named {
            let is_of_request =
                |state: &&TeamState| state.tenant == tenant && user.is_some_and(|user| state.users.contains(&user));
            let mut known = self.known(*team, known_from).iter().filter(|state| state.version == *version);
            if tenant.is_none() || !known.any(|state| is_of_request(&state)) {
                return Err(format!("its user was not in the team {team} of its tenant as of position {version}"));
            }
        }
        let of_user = user.and_then(|user| Some((user, self.of_users.get(&user)?)));
        let Some((user, teams)) = of_user else { return Ok(()) };
        for team in teams.iter().filter(|team| !named.contains_key(team)) {
            let known = self.known(*team, known_from);
            let began_lately = known.first().is_none_or(|first| first.since >= known_from);
            let is_always_in = known.iter().all(|state| state.tenant == tenant && state.users.contains(&user));
            if is_always_in && !began_lately {
                return Err(format!("it does not name the team {team}, which its user was in"));
            }
        }
        Ok(())
    }

    /// The states that a team has had since then.
    fn known(&self, team: TeamId, from: DateTime<Utc>) -> &[TeamState] {
        let states = self.states.get(&team).map(Vec::as_slice).unwrap_or_default();
        &states[first_known(states, from)..]
    }
}

/// Since when a request may have been planned that is recorded now.
fn known_from(recorded: &Recorded) -> DateTime<Utc> {
    recorded.recorded_at.checked_sub_signed(KNOWN_BEFORE).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// The first state that still was in force at that time, or began later.
fn first_known(states: &[TeamState], from: DateTime<Utc>) -> usize {
    states.iter().rposition(|state| state.since < from).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::event::{Actor, Chain, Context, Event, Stream, StreamKind};

    fn id<I: From<Uuid>>(number: u128) -> I {
        I::from(Uuid::from_u128(number))
    }

    /// Something recorded of the user 1 in a tenant, so many seconds after the beginning.
    fn at(position: u64, seconds: i64, tenant: u128) -> Recorded {
        let chain = Chain { tenant: Some(id(tenant)), user: Some(id(1)), ..Chain::default() };
        let team = Team::new(id(9), id(1), "t", Vec::new());
        Recorded {
            position,
            recorded_at: DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds),
            stream: Stream::new(StreamKind::Team, team.team_id),
            sequence: 1,
            context: Context::about(Actor::Operator, chain),
            event: Event::from(Change::created(team)),
        }
    }

    fn team(users: &[u128]) -> Team {
        Team::new(id(1), id(1), "t", users.iter().map(|user| id(*user)).collect())
    }

    #[test]
    fn a_request_names_the_teams_of_its_user_as_they_were_when_it_was_planned() {
        let mut memberships = Memberships::default();
        let named = |version: u64| TeamVersions::from([(id(1), version)]);
        let none = TeamVersions::new();
        memberships.record(&at(1, 0, 1), &Change::created(team(&[1, 2])));
        // It may have been planned before the team was made.
        assert!(memberships.must_be(&at(2, 10, 1), &none).is_ok());
        assert!(memberships.must_be(&at(2, 10, 1), &named(1)).is_ok());
        assert!(memberships.must_be(&at(2, 100, 1), &none).is_err(), "a team is missing");
        assert!(memberships.must_be(&at(2, 100, 1), &named(1)).is_ok());
        assert!(memberships.must_be(&at(2, 100, 1), &named(2)).is_err(), "no such version");
        assert!(memberships.must_be(&at(2, 100, 2), &named(1)).is_err(), "another tenant");
        assert!(memberships.must_be(&at(2, 100, 2), &none).is_ok());
        memberships.record(&at(3, 200, 1), &Change::changed(team(&[2])));
        assert!(memberships.must_be(&at(4, 210, 1), &named(1)).is_ok());
        assert!(memberships.must_be(&at(4, 210, 1), &none).is_ok());
        assert!(memberships.must_be(&at(4, 300, 1), &named(1)).is_err(), "it left long ago");
        assert!(memberships.must_be(&at(4, 300, 1), &named(3)).is_err(), "it is not in this version");
        assert!(memberships.must_be(&at(4, 300, 1), &none).is_ok());
        memberships.record(&at(5, 400, 1), &Change::Ended(id(1)));
        memberships.record(&at(6, 500, 1), &Change::Ended(id(1)));
        assert!(memberships.of_users.is_empty());
    }
}

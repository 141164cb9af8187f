//! The statements of side rows.

use std::collections::{HashMap, HashSet};
use std::slice;

use events::content::{ContentKeyOwner, content_key_names_of};
use events::ids::{IdMap, UserId};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{Postgres, query};

use crate::stored::signed;
use crate::{KeyMac, Name, PersonalData, SealedSecret, SideRow, TenantKey};

const RELEASE_NAMES: &str = "DELETE FROM ledger.names WHERE owner = ANY($1)";
const CLAIM_NAMES: &str = "INSERT INTO ledger.names (kind, scope, name, owner)
    SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[])
    ON CONFLICT (kind, scope, name) DO UPDATE SET owner = excluded.owner";
const PUT_PEOPLE: &str = "INSERT INTO ledger.personal_data (subject, name, email, salt)
    SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::bytea[])
    ON CONFLICT (subject) DO UPDATE SET name = excluded.name, email = excluded.email, salt = excluded.salt";
/// A fingerprint is a digest of a body that named the person: it could be compared with a guess. A retry is then refused.
const FORGET_BODIES: &str = "UPDATE ledger.idempotency SET fingerprint = decode(repeat('00', 32), 'hex')
    WHERE strpos(body, $1) > 0";
const PUT_KEY_SECRET: &str = "INSERT INTO ledger.key_secrets (key_id, generation, salt, hash, mac)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (key_id, generation) DO UPDATE SET salt = excluded.salt, hash = excluded.hash, mac = excluded.mac";
/// The slow hash stays: nodes of the version before know nothing else.
const PUT_KEY_MAC: &str = "UPDATE ledger.key_secrets SET mac = $3 WHERE key_id = $1 AND generation = $2";
const DROP_KEY_SECRETS: &str = "DELETE FROM ledger.key_secrets WHERE key_id = $1 AND generation < $2";
const DROP_SEALED: &str = "DELETE FROM ledger.sealed_secrets WHERE subject = ANY($1)";
const PUT_SEALED: &str = "INSERT INTO ledger.sealed_secrets (subject, generation, key_scope, sealed)
    SELECT unnest($1::text[]), unnest($2::bigint[]), unnest($3::text[]), unnest($4::bytea[])
    ON CONFLICT (subject, generation) DO UPDATE SET key_scope = excluded.key_scope, sealed = excluded.sealed";
const DROP_SEALED_WITHIN: &str = "DELETE FROM ledger.sealed_secrets
    WHERE subject IN (SELECT name FROM ledger.names WHERE kind = $1 AND scope = $2)";
const DROP_SEALED_FROM: &str = "DELETE FROM ledger.sealed_secrets WHERE subject >= $1 AND subject < $2";
const RELEASE_WITHIN: &str = "DELETE FROM ledger.names WHERE kind = $1 AND scope = $2";
const PUT_WRAPPED: &str = "INSERT INTO ledger.wrapped_keys (scope, wrapped) VALUES ($1, $2)
    ON CONFLICT (scope) DO UPDATE SET wrapped = excluded.wrapped";
const PUT_NODE: &str = "INSERT INTO ledger.nodes (node, recipient, serves, tag) VALUES ($1, $2, $3, $4)
    ON CONFLICT (node) DO UPDATE SET recipient = excluded.recipient, serves = excluded.serves, tag = excluded.tag";
const PUT_TENANT_KEYS: &str = "INSERT INTO ledger.tenant_keys (tenant, node, wrapped)
    SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::bytea[])
    ON CONFLICT (tenant, node) DO UPDATE SET wrapped = excluded.wrapped";
/// The tenants of a partner, which never changes, that have anything sealed or a key.
const WITH_SECRETS_OF_PARTNER: &str = "
    SELECT tenant FROM (SELECT key_scope AS tenant FROM ledger.sealed_secrets UNION SELECT tenant FROM ledger.tenant_keys
                        UNION SELECT scope FROM ledger.wrapped_keys) AS sealed
    WHERE EXISTS (SELECT FROM ledger.events WHERE aggregate_id = tenant AND aggregate_type = 'tenant' AND sequence = 1
                  AND payload::json ->> 'partner_id' = $1)";
const PUT_ADDRESS: &str = "INSERT INTO ledger.client_addresses (request_id, ip, user_agent) VALUES ($1, $2, $3)
    ON CONFLICT (request_id) DO UPDATE SET ip = excluded.ip, user_agent = excluded.user_agent";
const PUT_CATALOGUE: &str = "INSERT INTO ledger.catalogue (revision, document) VALUES ($1 + 1, $2)
    ON CONFLICT (only_row) DO UPDATE SET revision = excluded.revision, document = excluded.document";
const DROP_OF_TENANTS: [&str; 3] = [
    "DELETE FROM ledger.sealed_secrets WHERE key_scope = ANY($1)",
    "DELETE FROM ledger.tenant_keys WHERE tenant = ANY($1)",
    // The key as versions before nodes had identities wrapped it.
    "DELETE FROM ledger.wrapped_keys WHERE scope = ANY($1)",
];

/// Writes rows in their order. A round trip for each would keep a large change in its transaction for too long, so those that a
/// change of thousands of resources has are written together.
pub(super) async fn write(rows: &[SideRow], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for rows in rows.chunk_by(|row, next| is_grouped(row) && is_grouped(next)) {
        match rows {
            [row] => write_one(row, connection).await?,
            rows => RowGroup::of(rows).write(connection).await?,
        }
    }
    Ok(())
}

const fn is_grouped(row: &SideRow) -> bool {
    matches!(
        row,
        SideRow::ClaimName { .. }
            | SideRow::ReleaseNames { .. }
            | SideRow::PersonalData(_)
            | SideRow::SealedSecret(_)
            | SideRow::DropSealedSecret { .. }
            | SideRow::TenantKey(_)
            | SideRow::DropTenantSecrets(_)
    )
}

/// The remains of rows that are written together: first it deletes, then it adds what no later row of them deletes. That is what
/// they leave one by one, since no row takes what another one has: a name is claimed only if it is free or its owner's, and a
/// secret stays in its tenant.
#[derive(Default)]
struct RowGroup<'a> {
    released: HashSet<&'a str>,
    names: HashMap<&'a Name, &'a str>,
    people: IdMap<UserId, &'a PersonalData>,
    dropped: HashSet<&'a str>,
    sealed: HashMap<(&'a str, u32), &'a SealedSecret>,
    ended_tenants: HashSet<String>,
    tenant_keys: HashMap<(&'a str, &'a str), &'a TenantKey>,
}

impl<'a> RowGroup<'a> {
    fn of(rows: &'a [SideRow]) -> Self {
        let mut group = Self::default();
        rows.iter().rev().for_each(|row| group.add_earlier(row));
        group
    }

    /// Adds a row that comes before all others in the group.
    fn add_earlier(&mut self, row: &'a SideRow) {
        match row {
            SideRow::ReleaseNames { owner } => {
                self.released.insert(owner);
            }
            SideRow::ClaimName { name, owner } if !self.released.contains(owner.as_str()) => {
                self.names.entry(name).or_insert(owner);
            }
            SideRow::PersonalData(person) => {
                self.people.entry(person.subject).or_insert(person);
            }
            SideRow::DropSealedSecret { subject } => {
                self.dropped.insert(subject);
            }
            SideRow::DropTenantSecrets(tenant) => {
                self.ended_tenants.insert(tenant.to_string());
            }
            SideRow::SealedSecret(secret)
                if !self.dropped.contains(secret.subject.as_str())
                    && !self.ended_tenants.contains(&secret.key_scope) =>
            {
                self.sealed.entry((&secret.subject, secret.generation)).or_insert(secret);
            }
            SideRow::TenantKey(key) if !self.ended_tenants.contains(&key.tenant) => {
                self.tenant_keys.entry((&key.tenant, &key.node)).or_insert(key);
            }
            // A later row deletes it.
            _ => {}
        }
    }

    async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.released.is_empty() {
            run(query(RELEASE_NAMES).bind(Vec::from_iter(self.released)), connection).await?;
        }
        if !self.names.is_empty() {
            let names = || self.names.keys();
            let claim = query(CLAIM_NAMES)
                .bind(names().map(|name| name.kind.as_str()).collect::<Vec<_>>())
                .bind(names().map(|name| name.scope.as_str()).collect::<Vec<_>>())
                .bind(names().map(|name| name.name.as_str()).collect::<Vec<_>>())
                .bind(self.names.values().copied().collect::<Vec<_>>());
            run(claim, connection).await?;
        }
        if !self.people.is_empty() {
            let people = || self.people.values();
            let put = query(PUT_PEOPLE)
                .bind(people().map(|person| person.subject.to_string()).collect::<Vec<_>>())
                .bind(people().map(|person| person.name.as_str()).collect::<Vec<_>>())
                .bind(people().map(|person| person.email.as_deref()).collect::<Vec<_>>())
                .bind(people().map(|person| person.salt.as_slice()).collect::<Vec<_>>());
            run(put, connection).await?;
        }
        if !self.dropped.is_empty() {
            run(query(DROP_SEALED).bind(Vec::from_iter(self.dropped)), connection).await?;
        }
        if !self.ended_tenants.is_empty() {
            drop_secrets_of(connection, &Vec::from_iter(self.ended_tenants)).await?;
        }
        if !self.sealed.is_empty() {
            let secrets = || self.sealed.values();
            let put = query(PUT_SEALED)
                .bind(secrets().map(|secret| secret.subject.as_str()).collect::<Vec<_>>())
                .bind(secrets().map(|secret| i64::from(secret.generation)).collect::<Vec<_>>())
                .bind(secrets().map(|secret| secret.key_scope.as_str()).collect::<Vec<_>>())
                .bind(secrets().map(|secret| secret.sealed.as_slice()).collect::<Vec<_>>());
            run(put, connection).await?;
        }
        if !self.tenant_keys.is_empty() {
            let keys = || self.tenant_keys.values();
            let put = query(PUT_TENANT_KEYS)
                .bind(keys().map(|key| key.tenant.as_str()).collect::<Vec<_>>())
                .bind(keys().map(|key| key.node.as_str()).collect::<Vec<_>>())
                .bind(keys().map(|key| key.wrapped.as_slice()).collect::<Vec<_>>());
            run(put, connection).await?;
        }
        Ok(())
    }
}

async fn write_one(row: &SideRow, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let statement = match row {
        SideRow::ClaimName { .. }
        | SideRow::ReleaseNames { .. }
        | SideRow::PersonalData(_)
        | SideRow::SealedSecret(_)
        | SideRow::DropSealedSecret { .. }
        | SideRow::TenantKey(_)
        | SideRow::DropTenantSecrets(_) => return RowGroup::of(slice::from_ref(row)).write(connection).await,
        SideRow::ErasePersonalData(subject) => {
            run(query(FORGET_BODIES).bind(subject.to_string()), connection).await?;
            query("DELETE FROM ledger.personal_data WHERE subject = $1").bind(subject.to_string())
        }
        SideRow::EraseClientAddresses(requests) => {
            let requests: Vec<String> = requests.iter().map(ToString::to_string).collect();
            query("DELETE FROM ledger.client_addresses WHERE request_id = ANY($1)").bind(requests)
        }
        SideRow::KeySecret(secret) => query(PUT_KEY_SECRET)
            .bind(secret.key_id.to_string())
            .bind(i64::from(secret.generation))
            .bind(&secret.salt)
            .bind(&secret.hash)
            .bind(&secret.mac),
        SideRow::KeyMac(KeyMac { key_id, generation, mac }) => {
            query(PUT_KEY_MAC).bind(key_id.to_string()).bind(i64::from(*generation)).bind(mac)
        }
        SideRow::DropKeySecrets { key_id, below_generation } => {
            query(DROP_KEY_SECRETS).bind(key_id.to_string()).bind(i64::from(*below_generation))
        }
        SideRow::DropSealedSecretsWithin { kind, scope } => {
            run(query(DROP_SEALED_WITHIN).bind(kind.as_str()).bind(scope), connection).await?;
            query(RELEASE_WITHIN).bind(kind.as_str()).bind(scope)
        }
        SideRow::DropContentKeys(user) => {
            let (first, after) = content_key_names_of(ContentKeyOwner::User(*user));
            query(DROP_SEALED_FROM).bind(first).bind(after)
        }
        SideRow::WrappedKey { scope, wrapped } => query(PUT_WRAPPED).bind(scope).bind(wrapped),
        SideRow::DropWrappedKey { scope } => query("DELETE FROM ledger.wrapped_keys WHERE scope = $1").bind(scope),
        SideRow::Node(node) => {
            query(PUT_NODE).bind(&node.node).bind(&node.recipient).bind(&node.serves).bind(&node.tag)
        }
        SideRow::DropNode { node } => query("DELETE FROM ledger.nodes WHERE node = $1").bind(node),
        SideRow::DropTenantKey { tenant, node } => {
            query("DELETE FROM ledger.tenant_keys WHERE tenant = $1 AND node = $2").bind(tenant).bind(node)
        }
        SideRow::DropPartnerSecrets(partner) => {
            let select = sqlx::query_scalar(WITH_SECRETS_OF_PARTNER).bind(partner.to_string());
            let tenants: Vec<String> = select.fetch_all(&mut *connection).await?;
            return drop_secrets_of(connection, &tenants).await;
        }
        SideRow::ClientAddress(address) => {
            query(PUT_ADDRESS).bind(address.request_id.to_string()).bind(&address.ip).bind(&address.user_agent)
        }
        SideRow::Catalogue { document, replaces } => query(PUT_CATALOGUE).bind(signed(*replaces)).bind(document),
    };
    run(statement, connection).await
}

async fn drop_secrets_of(connection: &mut PgConnection, tenants: &[String]) -> Result<(), sqlx::Error> {
    for sql in DROP_OF_TENANTS {
        run(query(sql).bind(tenants), connection).await?;
    }
    Ok(())
}

async fn run(statement: Query<'_, Postgres, PgArguments>, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    statement.execute(connection).await.map(drop)
}

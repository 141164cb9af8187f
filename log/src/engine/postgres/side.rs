//! The statements of side rows.

use events::content::{ContentKeyOwner, content_key_names_of};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{Postgres, query};

use crate::stored::signed;
use crate::{Name, SideRow};

const CLAIM_NAME: &str = "INSERT INTO ledger.names (kind, scope, name, owner) VALUES ($1, $2, $3, $4)
    ON CONFLICT (kind, scope, name) DO UPDATE SET owner = excluded.owner";
const PUT_PERSON: &str = "INSERT INTO ledger.personal_data (subject, name, email, salt) VALUES ($1, $2, $3, $4)
    ON CONFLICT (subject) DO UPDATE SET name = excluded.name, email = excluded.email, salt = excluded.salt";
/// A fingerprint is a digest of a body that named the person: it could be compared with a guess. A retry is then refused.
const FORGET_BODIES: &str = "UPDATE ledger.idempotency SET fingerprint = decode(repeat('00', 32), 'hex')
    WHERE strpos(body, $1) > 0";
const PUT_KEY_SECRET: &str = "INSERT INTO ledger.key_secrets (key_id, generation, salt, hash) VALUES ($1, $2, $3, $4)
    ON CONFLICT (key_id, generation) DO UPDATE SET salt = excluded.salt, hash = excluded.hash";
const DROP_KEY_SECRETS: &str = "DELETE FROM ledger.key_secrets WHERE key_id = $1 AND generation < $2";
const PUT_SEALED: &str =
    "INSERT INTO ledger.sealed_secrets (subject, generation, key_scope, sealed) VALUES ($1, $2, $3, $4)
    ON CONFLICT (subject, generation) DO UPDATE SET key_scope = excluded.key_scope, sealed = excluded.sealed";
const DROP_SEALED_WITHIN: &str = "DELETE FROM ledger.sealed_secrets
    WHERE subject IN (SELECT name FROM ledger.names WHERE kind = $1 AND scope = $2)";
const DROP_SEALED_FROM: &str = "DELETE FROM ledger.sealed_secrets WHERE subject >= $1 AND subject < $2";
const RELEASE_WITHIN: &str = "DELETE FROM ledger.names WHERE kind = $1 AND scope = $2";
const PUT_WRAPPED: &str = "INSERT INTO ledger.wrapped_keys (scope, wrapped) VALUES ($1, $2)
    ON CONFLICT (scope) DO UPDATE SET wrapped = excluded.wrapped";
const PUT_NODE: &str = "INSERT INTO ledger.nodes (node, recipient, serves, tag) VALUES ($1, $2, $3, $4)
    ON CONFLICT (node) DO UPDATE SET recipient = excluded.recipient, serves = excluded.serves, tag = excluded.tag";
const PUT_TENANT_KEY: &str = "INSERT INTO ledger.tenant_keys (tenant, node, wrapped) VALUES ($1, $2, $3)
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

pub(super) async fn write(row: &SideRow, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let statement = match row {
        SideRow::ClaimName { name: Name { kind, scope, name }, owner } => {
            query(CLAIM_NAME).bind(kind.as_str()).bind(scope).bind(name).bind(owner)
        }
        SideRow::ReleaseNames { owner } => query("DELETE FROM ledger.names WHERE owner = $1").bind(owner),
        SideRow::PersonalData(person) => {
            query(PUT_PERSON).bind(person.subject.to_string()).bind(&person.name).bind(&person.email).bind(&person.salt)
        }
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
            .bind(&secret.hash),
        SideRow::DropKeySecrets { key_id, below_generation } => {
            query(DROP_KEY_SECRETS).bind(key_id.to_string()).bind(i64::from(*below_generation))
        }
        SideRow::SealedSecret(secret) => query(PUT_SEALED)
            .bind(&secret.subject)
            .bind(i64::from(secret.generation))
            .bind(&secret.key_scope)
            .bind(&secret.sealed),
        SideRow::DropSealedSecret { subject } => {
            query("DELETE FROM ledger.sealed_secrets WHERE subject = $1").bind(subject)
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
        SideRow::TenantKey(key) => query(PUT_TENANT_KEY).bind(&key.tenant).bind(&key.node).bind(&key.wrapped),
        SideRow::DropTenantKey { tenant, node } => {
            query("DELETE FROM ledger.tenant_keys WHERE tenant = $1 AND node = $2").bind(tenant).bind(node)
        }
        SideRow::DropTenantSecrets(tenant) => return drop_secrets_of(connection, &[tenant.to_string()]).await,
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

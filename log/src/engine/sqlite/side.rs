//! The statements of side rows.

use events::content::{ContentKeyOwner, content_key_names_of};
use rusqlite::{Connection, params};

use crate::{KeyMac, KeySecret, Name, SideRow};

const CLAIM_NAME: &str = "INSERT OR REPLACE INTO names (kind, scope, name, owner) VALUES (?1, ?2, ?3, ?4)";
/// Replaces what there is, as the two below do: see the views of `0013_erasable_rows.sql`.
const PUT_PERSON: &str = "INSERT INTO personal_data (subject, name, email, salt) VALUES (?1, ?2, ?3, ?4)";
/// A fingerprint is a digest of a body that named the person: it could be compared with a guess. A retry is then refused.
const FORGET_BODIES: &str = "UPDATE idempotency SET fingerprint = zeroblob(32) WHERE instr(body, ?1) > 0";
const PUT_KEY_SECRET: &str =
    "INSERT OR REPLACE INTO key_secrets (key_id, generation, salt, hash, mac) VALUES (?1, ?2, ?3, ?4, ?5)";
/// No other version opens the folder: nobody needs the slow hash any more.
const PUT_KEY_MAC: &str =
    "UPDATE key_secrets SET mac = ?3, salt = x'', hash = x'' WHERE key_id = ?1 AND generation = ?2";
const DROP_KEY_SECRETS: &str = "DELETE FROM key_secrets WHERE key_id = ?1 AND generation < ?2";
const PUT_SEALED: &str = "INSERT INTO sealed_secrets (subject, generation, key_scope, sealed) VALUES (?1, ?2, ?3, ?4)";
const DROP_SEALED_WITHIN: &str =
    "DELETE FROM sealed_secrets WHERE subject IN (SELECT name FROM names WHERE kind = ?1 AND scope = ?2)";
const DROP_SEALED_FROM: &str = "DELETE FROM sealed_secrets WHERE subject >= ?1 AND subject < ?2";
const RELEASE_WITHIN: &str = "DELETE FROM names WHERE kind = ?1 AND scope = ?2";
const PUT_WRAPPED: &str = "INSERT OR REPLACE INTO wrapped_keys (scope, wrapped) VALUES (?1, ?2)";
const PUT_NODE: &str = "INSERT OR REPLACE INTO nodes (node, recipient, serves, tag) VALUES (?1, ?2, ?3, ?4)";
const PUT_TENANT_KEY: &str = "INSERT OR REPLACE INTO tenant_keys (tenant, node, wrapped) VALUES (?1, ?2, ?3)";
/// The tenants of a partner, which never changes, that have anything sealed or a key.
const WITH_SECRETS_OF_PARTNER: &str = "
    SELECT tenant FROM (SELECT key_scope AS tenant FROM sealed_secrets UNION SELECT tenant FROM tenant_keys
                        UNION SELECT scope FROM wrapped_keys)
    WHERE EXISTS (SELECT 1 FROM events WHERE aggregate_id = tenant AND aggregate_type = 'tenant' AND sequence = 1
                  AND payload ->> '$.partner_id' = ?1)";
const PUT_ADDRESS: &str = "INSERT INTO client_addresses (request_id, ip, user_agent) VALUES (?1, ?2, ?3)";

pub(super) fn write(row: &SideRow, connection: &Connection) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| connection.prepare_cached(sql)?.execute(values).map(drop);
    match row {
        SideRow::ClaimName { name: Name { kind, scope, name }, owner } => {
            run(CLAIM_NAME, params![kind.as_str(), scope, name, owner])
        }
        SideRow::ReleaseNames { owner } => run("DELETE FROM names WHERE owner = ?1", params![owner]),
        SideRow::PersonalData(person) => {
            run(PUT_PERSON, params![person.subject.to_string(), person.name, person.email, person.salt])
        }
        SideRow::ErasePersonalData(subject) => {
            run("DELETE FROM personal_data WHERE subject = ?1", params![subject.to_string()])?;
            run(FORGET_BODIES, params![subject.to_string()])
        }
        SideRow::EraseClientAddresses(requests) => requests.iter().try_for_each(|request| {
            run("DELETE FROM client_addresses WHERE request_id = ?1", params![request.to_string()])
        }),
        SideRow::KeySecret(KeySecret { key_id, generation, salt, hash, mac }) => {
            run(PUT_KEY_SECRET, params![key_id.to_string(), generation, salt, hash, mac])
        }
        SideRow::KeyMac(KeyMac { key_id, generation, mac }) => {
            run(PUT_KEY_MAC, params![key_id.to_string(), generation, mac])
        }
        SideRow::DropKeySecrets { key_id, below_generation } => {
            run(DROP_KEY_SECRETS, params![key_id.to_string(), below_generation])
        }
        SideRow::SealedSecret(secret) => {
            run(PUT_SEALED, params![secret.subject, secret.generation, secret.key_scope, secret.sealed])
        }
        SideRow::DropSealedSecret { subject } => run("DELETE FROM sealed_secrets WHERE subject = ?1", params![subject]),
        SideRow::DropSealedSecretsWithin { kind, scope } => {
            run(DROP_SEALED_WITHIN, params![kind.as_str(), scope])?;
            run(RELEASE_WITHIN, params![kind.as_str(), scope])
        }
        SideRow::DropContentKeys(user) => {
            let (first, after) = content_key_names_of(ContentKeyOwner::User(*user));
            run(DROP_SEALED_FROM, params![first, after])
        }
        SideRow::WrappedKey { scope, wrapped } => run(PUT_WRAPPED, params![scope, wrapped]),
        SideRow::DropWrappedKey { scope } => run("DELETE FROM wrapped_keys WHERE scope = ?1", params![scope]),
        SideRow::Node(node) => run(PUT_NODE, params![node.node, node.recipient, node.serves, node.tag]),
        SideRow::DropNode { node } => run("DELETE FROM nodes WHERE node = ?1", params![node]),
        SideRow::TenantKey(key) => run(PUT_TENANT_KEY, params![key.tenant, key.node, key.wrapped]),
        SideRow::DropTenantKey { tenant, node } => {
            run("DELETE FROM tenant_keys WHERE tenant = ?1 AND node = ?2", params![tenant, node])
        }
        SideRow::DropTenantSecrets(tenant) => drop_tenant_secrets(connection, &tenant.to_string()),
        SideRow::DropPartnerSecrets(partner) => {
            let mut select = connection.prepare_cached(WITH_SECRETS_OF_PARTNER)?;
            let tenants = select.query_map([partner.to_string()], |row| row.get::<_, String>(0))?;
            // All of them first: the rows that are read are those that are deleted.
            let tenants = tenants.collect::<rusqlite::Result<Vec<_>>>()?;
            tenants.iter().try_for_each(|tenant| drop_tenant_secrets(connection, tenant))
        }
        SideRow::ClientAddress(address) => {
            run(PUT_ADDRESS, params![address.request_id.to_string(), address.ip, address.user_agent])
        }
        // The catalogue of an embedded ledger is a file in its data folder.
        SideRow::Catalogue { .. } => Ok(()),
    }
}

fn drop_tenant_secrets(connection: &Connection, tenant: &str) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM sealed_secrets WHERE key_scope = ?1",
        "DELETE FROM tenant_keys WHERE tenant = ?1",
        // The key as versions before nodes had identities wrapped it.
        "DELETE FROM wrapped_keys WHERE scope = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([tenant])?;
    }
    Ok(())
}

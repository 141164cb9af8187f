//! Name and e-mail address of a user, unless they were erased.

use events::ids::UserId;
use projections::resource::put_person;
use serde_json::Value;

use crate::error::QueryError;
use crate::query_context::PermittedQuery;

/// Adds the fields to these users.
pub async fn complete(query: &PermittedQuery, users: Vec<&mut Value>) -> Result<(), QueryError> {
    let subjects: Vec<UserId> = users.iter().filter_map(|user| id(user)).collect();
    let people = query.read(move |reader| reader.personal_data(&subjects)).await?;
    for user in users {
        let person = id(user).and_then(|id| people.get(&id));
        put_person(user, person);
    }
    Ok(())
}

fn id(user: &Value) -> Option<UserId> {
    user["id"].as_str()?.parse().ok()
}

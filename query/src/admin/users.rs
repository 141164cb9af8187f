//! Name and e-mail address of a user, unless they were erased.

use events::concurrency::QueryPermit;
use events::ids::UserId;
use projections::resource::put_person;
use serde_json::Value;

use crate::QueryState;
use crate::error::QueryError;

/// Adds the fields to these users.
pub async fn complete(state: &QueryState, permit: &QueryPermit, users: Vec<&mut Value>) -> Result<(), QueryError> {
    let subjects: Vec<UserId> = users.iter().filter_map(|user| id(user)).collect();
    let people = state.log.read(permit, move |reader| reader.personal_data(&subjects)).await?;
    for user in users {
        let person = id(user).and_then(|id| people.get(&id));
        put_person(user, person);
    }
    Ok(())
}

fn id(user: &Value) -> Option<UserId> {
    user["id"].as_str()?.parse().ok()
}

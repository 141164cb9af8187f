//! The memories of the roles of a log in a folder: one file, which is replaced as a whole.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use blocking_work::OUTLETS;
use events::private;

use super::{EngineError, EngineErrorKind, LogError};
use crate::role::{Role, RoleMemory};

const FILE: &str = "roles.json";

/// The file with the memories of all roles.
pub(super) struct RoleMemories {
    path: PathBuf,
    /// Two roles replace the file in turn.
    turn: Arc<Mutex<()>>,
}

impl RoleMemories {
    pub(super) fn in_folder(dir: &Path) -> Self {
        Self { path: dir.join(FILE), turn: Arc::default() }
    }

    pub(super) async fn write(&self, role: Role, memory: RoleMemory) -> Result<(), LogError> {
        let (path, turn) = (self.path.clone(), Arc::clone(&self.turn));
        off_the_runtime(move || {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            let mut memories = read(&path)?;
            memories.insert(role.as_str().to_owned(), memory);
            Ok(private::replace(&path, &serde_json::to_vec(&memories)?)?)
        })
        .await
    }

    pub(super) async fn read(&self, role: Role) -> Result<Option<RoleMemory>, LogError> {
        let path = self.path.clone();
        off_the_runtime(move || Ok(read(&path)?.remove(role.as_str()))).await
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, LogError> {
    let done = OUTLETS.run(None, work).await.map_err(|_| LogError::Closed)?;
    done.map_err(|error| {
        let message = format!("{FILE}: {error}");
        EngineError { kind: EngineErrorKind::Unavailable, message }.into()
    })
}

/// Whether a role has remembered anything of the log in a folder. Blocking.
pub fn is_remembered(dir: &Path, role: Role) -> io::Result<bool> {
    Ok(read(&dir.join(FILE))?.contains_key(role.as_str()))
}

/// A file that is missing, or that somebody has edited, remembers nothing.
fn read(path: &Path) -> io::Result<BTreeMap<String, RoleMemory>> {
    match std::fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_role_remembers_for_itself_and_an_unreadable_file_remembers_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let memories = RoleMemories::in_folder(folder.path());
        let memory = |position| RoleMemory { position, detail: "since Monday".to_owned() };
        assert_eq!(memories.read(Role::Relay).await.expect("it is read"), None);
        memories.write(Role::Relay, memory(3)).await.expect("it is written");
        memories.write(Role::Archive, memory(4)).await.expect("it is written");
        memories.write(Role::Relay, memory(5)).await.expect("it is written");
        let again = RoleMemories::in_folder(folder.path());
        assert_eq!(again.read(Role::Relay).await.expect("it is read"), Some(memory(5)));
        assert_eq!(again.read(Role::Archive).await.expect("it is read"), Some(memory(4)));
        let of = |role| is_remembered(folder.path(), role).expect("it is read");
        assert_eq!((of(Role::Archive), of(Role::Transparency)), (true, false));
        std::fs::write(folder.path().join(FILE), "{").expect("a file");
        assert_eq!(again.read(Role::Relay).await.expect("it is read"), None);
        again.write(Role::Relay, memory(6)).await.expect("it is written");
        assert_eq!(again.read(Role::Relay).await.expect("it is read"), Some(memory(6)));
    }
}

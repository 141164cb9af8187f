//! Reads the files of a folder, each in one step on another thread.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use tokio::sync::Semaphore;

use crate::object::Object;

/// How many files are read at a time. A mount that does not answer keeps a thread for each, also when nobody waits for it any more: they
/// must leave most of the sixteen threads for blocking work that a connection thread has on a large machine, on which hosts are looked up.
const THREADS_MAX: usize = 8;

pub struct FolderReader {
    files: LocalFileSystem,
    threads: Arc<Semaphore>,
}

impl FolderReader {
    pub fn new(files: LocalFileSystem) -> Self {
        Self { files, threads: Arc::new(Semaphore::new(THREADS_MAX)) }
    }

    /// Waits until there is a thread.
    pub async fn read(&self, path: &Path, bytes_max: u64) -> object_store::Result<Object> {
        let file = self.files.path_to_filesystem(path)?;
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|error| failed(Box::new(error)))?;
        let read = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            read_file(&file, bytes_max)
        });
        read.await?.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                object_store::Error::NotFound { path: path.to_string(), source: Box::new(error) }
            }
            _ => failed(Box::new(error)),
        })
    }
}

fn read_file(file: &PathBuf, bytes_max: u64) -> io::Result<Object> {
    let file = File::open(file)?;
    let bytes = file.metadata()?.len();
    if bytes > bytes_max {
        return Ok(Object::TooLong { bytes });
    }
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    // It may have grown since.
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut content)?;
    Ok(match content.len() as u64 {
        bytes if bytes > bytes_max => Object::TooLong { bytes },
        _ => Object::Whole(content.into()),
    })
}

fn failed(source: Box<dyn std::error::Error + Send + Sync>) -> object_store::Error {
    object_store::Error::Generic { store: "LocalFileSystem", source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileTypeExt;
    use std::process::Command;
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    const WAIT: Duration = Duration::from_millis(500);
    const END_MAX: Duration = Duration::from_secs(10);

    /// Opens the other end of a pipe when it is dropped, also by a failed assertion: whoever waits for it goes on.
    struct OtherEnd(PathBuf);

    impl Drop for OtherEnd {
        fn drop(&mut self) {
            let _ = fs::OpenOptions::new().read(true).write(true).open(&self.0);
        }
    }

    #[tokio::test]
    async fn files_that_do_not_answer_keep_a_bounded_number_of_threads() {
        let folder = tempfile::tempdir().expect("a folder");
        let silent = folder.path().join("silent");
        assert!(Command::new("mkfifo").arg(&silent).status().expect("mkfifo").success());
        assert!(fs::metadata(&silent).expect("a file").file_type().is_fifo());
        fs::write(folder.path().join("whole"), "content").expect("a file");
        let reader = Arc::new(FolderReader::new(LocalFileSystem::new_with_prefix(folder.path()).expect("a folder")));
        let whole = Path::from("whole");
        assert!(matches!(reader.read(&whole, 7).await, Ok(Object::Whole(bytes)) if &bytes[..] == b"content"));
        assert!(matches!(reader.read(&whole, 6).await, Ok(Object::TooLong { bytes: 7 })));
        let missing = reader.read(&Path::from("missing"), 7).await;
        assert!(matches!(missing, Err(object_store::Error::NotFound { .. })));
        let _opened_at_last = OtherEnd(silent.clone());
        let mut reading = JoinSet::new();
        for _ in 0..2 * THREADS_MAX {
            let reader = Arc::clone(&reader);
            reading.spawn(async move { timeout(WAIT, reader.read(&Path::from("silent"), 7)).await.is_err() });
        }
        assert!(reading.join_all().await.into_iter().all(|is_late| is_late), "nobody waits for ever");
        assert_eq!(reader.threads.available_permits(), 0, "the threads still wait");
        drop(OtherEnd(silent));
        timeout(END_MAX, async {
            while reader.threads.available_permits() < THREADS_MAX {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the threads end");
        assert!(matches!(reader.read(&whole, 7).await, Ok(Object::Whole(_))));
    }
}

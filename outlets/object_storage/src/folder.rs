//! The files of a folder. Whatever may wait for them is done on other threads: a mount that does not answer keeps each of them, also
//! when nobody waits for it any more, and the end of a process or of a runtime does not wait for them. So their number has a bound,
//! which all folders of the process have in common, since one that does not answer may be opened again and again.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use blocking_work::FOLDERS;
use futures_executor::{block_on, block_on_stream};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};

use crate::object::Object;

/// How many files are put or deleted, or folders listed, at a time.
const WORKING_MAX: usize = 8;
/// How far a list goes ahead of its reader.
const LISTED_AHEAD_MAX: usize = 1024;

static WORKING: Semaphore = Semaphore::const_new(WORKING_MAX);
/// An object is not replaced while another one may still be: content that nobody waits for any more could replace newer content.
static REPLACING: Semaphore = Semaphore::const_new(1);

/// Objects as they are found.
pub type Listing = mpsc::Receiver<object_store::Result<ObjectMeta>>;

pub struct Folder {
    files: Arc<LocalFileSystem>,
}

impl Folder {
    pub fn open(path: &std::path::Path) -> object_store::Result<Self> {
        let files = LocalFileSystem::new_with_prefix(path)?.with_fsync(true);
        Ok(Self { files: Arc::new(files) })
    }

    pub async fn read(&self, path: &Path, bytes_max: u64) -> object_store::Result<Object> {
        let file = self.files.path_to_filesystem(path)?;
        let read = FOLDERS.run(None, move || read_file(&file, bytes_max)).await?;
        read.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                object_store::Error::NotFound { path: path.to_string(), source: Box::new(error) }
            }
            _ => failed(error),
        })
    }

    pub async fn put(&self, mode: PutMode, path: Path, payload: PutPayload) -> object_store::Result<()> {
        let alone = match mode {
            PutMode::Create => None,
            PutMode::Overwrite | PutMode::Update(_) => Some(place(&REPLACING).await?),
        };
        let put = move |files: &LocalFileSystem| {
            let _alone = alone;
            block_on(files.put_opts(&path, payload, PutOptions::from(mode))).map(|_| ())
        };
        self.result_of(put).await
    }

    pub async fn delete(&self, path: Path) -> object_store::Result<()> {
        self.result_of(move |files| block_on(files.delete(&path))).await
    }

    /// The objects below `folder`, those after `after` alone if there is one.
    pub async fn list(&self, folder: Path, after: Option<Path>) -> object_store::Result<Listing> {
        let (sender, listed) = mpsc::channel(LISTED_AHEAD_MAX);
        self.start(move |files| {
            let found = match &after {
                Some(after) => files.list_with_offset(Some(&folder), after),
                None => files.list(Some(&folder)),
            };
            for object in block_on_stream(found) {
                if sender.blocking_send(object).is_err() {
                    // Nobody reads on.
                    return;
                }
            }
        })
        .await?;
        Ok(listed)
    }

    async fn result_of<T: Send + 'static>(
        &self,
        work: impl FnOnce(&LocalFileSystem) -> object_store::Result<T> + Send + 'static,
    ) -> object_store::Result<T> {
        let (sender, result) = oneshot::channel();
        self.start(move |files| {
            // If it cannot be sent, nobody waits for it any more.
            let _ = sender.send(work(files));
        })
        .await?;
        result.await.map_err(failed)?
    }

    /// Starts this on a thread of its own. As it is no thread of a runtime, the library starts no further ones.
    async fn start(&self, work: impl FnOnce(&LocalFileSystem) + Send + 'static) -> object_store::Result<()> {
        let (files, place) = (Arc::clone(&self.files), place(&WORKING).await?);
        let thread = thread::Builder::new().name("object-store".to_owned());
        let started = thread.spawn(move || {
            let _place = place;
            work(&files);
        });
        started.map(|_| ()).map_err(failed)
    }
}

async fn place(places: &'static Semaphore) -> object_store::Result<SemaphorePermit<'static>> {
    places.acquire().await.map_err(failed)
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

fn failed(error: impl Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(error) }
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

    fn folder_with_a_pipe() -> (tempfile::TempDir, Folder, OtherEnd) {
        let temporary = tempfile::tempdir().expect("a folder");
        let silent = temporary.path().join("silent");
        assert!(Command::new("mkfifo").arg(&silent).status().expect("mkfifo").success());
        assert!(fs::metadata(&silent).expect("a file").file_type().is_fifo());
        let folder = Folder::open(temporary.path()).expect("a folder");
        (temporary, folder, OtherEnd(silent))
    }

    async fn until(is_free: impl Fn() -> bool) {
        timeout(END_MAX, async {
            while !is_free() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the threads end");
    }

    #[tokio::test]
    async fn files_that_do_not_answer_keep_a_bounded_number_of_threads() {
        let (temporary, folder, other_end) = folder_with_a_pipe();
        fs::write(temporary.path().join("whole"), "content").expect("a file");
        let whole = Path::from("whole");
        assert!(matches!(folder.read(&whole, 7).await, Ok(Object::Whole(bytes)) if &bytes[..] == b"content"));
        assert!(matches!(folder.read(&whole, 6).await, Ok(Object::TooLong { bytes: 7 })));
        let missing = folder.read(&Path::from("missing"), 7).await;
        assert!(matches!(missing, Err(object_store::Error::NotFound { .. })));
        // More than are read at a time.
        let mut reading = JoinSet::new();
        for _ in 0..40 {
            // Opened anew by each, as a role does that tries again.
            let folder = Folder::open(temporary.path()).expect("a folder");
            reading.spawn(async move { timeout(WAIT, folder.read(&Path::from("silent"), 7)).await.is_err() });
        }
        assert!(reading.join_all().await.into_iter().all(|is_late| is_late), "nobody waits for ever");
        assert!(FOLDERS.try_turn(None).is_none(), "the threads still wait");
        drop(other_end);
        until(|| FOLDERS.running() == 0).await;
        assert!(matches!(folder.read(&whole, 7).await, Ok(Object::Whole(_))));
    }

    #[tokio::test]
    async fn an_object_is_not_replaced_before_the_last_replacement_has_ended() {
        let (temporary, folder, _) = folder_with_a_pipe();
        let newest = Path::from("newest");
        let replace = async |content: &'static str| {
            folder.put(PutMode::Overwrite, newest.clone(), PutPayload::from_static(content.as_bytes())).await
        };
        replace("first").await.expect("put");
        let hanging = REPLACING.acquire().await.expect("a place");
        assert!(timeout(WAIT, replace("second")).await.is_err(), "it waits");
        assert_eq!(fs::read_to_string(temporary.path().join("newest")).expect("a file"), "first");
        drop(hanging);
        replace("third").await.expect("put");
        assert_eq!(fs::read_to_string(temporary.path().join("newest")).expect("a file"), "third");
    }

    #[tokio::test]
    async fn a_list_that_nobody_reads_on_ends_its_thread() {
        let temporary = tempfile::tempdir().expect("a folder");
        for number in 0..LISTED_AHEAD_MAX + 8 {
            fs::write(temporary.path().join(format!("{number:04}")), "").expect("a file");
        }
        let folder = Folder::open(temporary.path()).expect("a folder");
        let mut listed = folder.list(Path::default(), Some(Path::from("0003"))).await.expect("a list");
        let mut count = 0;
        while let Some(object) = listed.recv().await {
            object.expect("an object");
            count += 1;
        }
        assert_eq!(count, LISTED_AHEAD_MAX + 4);
        let mut listed = folder.list(Path::default(), None).await.expect("a list");
        assert!(listed.recv().await.expect("an object").is_ok());
        assert!(WORKING.available_permits() < WORKING_MAX, "the thread waits for its reader");
        drop(listed);
        until(|| WORKING.available_permits() == WORKING_MAX).await;
    }
}

//! The objects of a store: put, read, listed, deleted. Each operation has a deadline, and is repeated a few times if the store
//! says that it cannot answer now.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use events::private::create_folder;
use events::shown_text::shown_text;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, poll_fn};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{ClientOptions, HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{
    BackoffConfig, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};

use crate::address::{Bucket, Location, ObjectStoreAddress};
use crate::folder::Folder;
use crate::object::Object;

/// How long one object may take to put or to read, with all attempts.
const OBJECT_MAX: Duration = Duration::from_secs(120);
/// How long one page of a list may take.
const LIST_PAGE_MAX: Duration = Duration::from_secs(60);
const REQUEST_MAX: Duration = Duration::from_secs(60);
const CONNECT_MAX: Duration = Duration::from_secs(5);
const ATTEMPTS_AGAIN: usize = 3;
const ATTEMPTS_AGAIN_MAX: Duration = Duration::from_secs(30);
/// The longest text of a store's error that is shown. It contains the address of a request, and no credentials: these are in
/// headers.
const REASON_CHARS_MAX: usize = 300;

/// The variables that an S3 client is configured by, beside the address.
const VARIABLES: [&str; 13] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// The objects of a folder or a bucket. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    place: Place,
    prefix: Path,
    shown: Arc<str>,
}

#[derive(Clone)]
enum Place {
    Folder(Arc<Folder>),
    Bucket(Arc<dyn ObjectStore>),
}

/// An object store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use the folder {folder}: {reason}")]
    Folder { folder: String, reason: String },
    #[error("cannot use {address}: {reason}")]
    Bucket { address: String, reason: String },
}

/// An operation on an object failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {action} {object} in {store}: {reason}")]
pub struct StoreError {
    pub action: &'static str,
    pub object: String,
    pub store: String,
    pub reason: String,
}

/// The result of putting an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Created,
    /// There is one of that name, which is as it was.
    Existed,
}

/// An object that was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Below the address of the object store.
    pub name: String,
    pub bytes: u64,
}

impl Objects {
    /// Opens a store that is written. Of a folder, these folders below it are created if they are missing; a bucket must be there.
    ///
    /// `variable` has the environment, for S3. `tls` says which certificates are trusted.
    pub fn open(
        address: &ObjectStoreAddress,
        folders: &[&str],
        variable: impl Fn(&str) -> Option<String>,
        tls: &rustls::ClientConfig,
    ) -> Result<Self, OpenError> {
        if let Location::Folder(folder) = &address.0 {
            // The store itself would create folders that others may read.
            for below in folders {
                create_folder(&folder.join(below)).map_err(|error| folder_error(folder, &error))?;
            }
        }
        Self::open_existing(address, variable, tls)
    }

    /// Opens a store that is read. Nothing is created.
    pub fn open_existing(
        address: &ObjectStoreAddress,
        variable: impl Fn(&str) -> Option<String>,
        tls: &rustls::ClientConfig,
    ) -> Result<Self, OpenError> {
        let shown: Arc<str> = address.to_string().into();
        let (place, prefix) = match &address.0 {
            Location::Folder(folder) => {
                let opened = Folder::open(folder).map_err(|error| folder_error(folder, &error))?;
                (Place::Folder(Arc::new(opened)), Path::default())
            }
            Location::Bucket(bucket) => {
                let wrong = |reason: String| OpenError::Bucket { address: shown.to_string(), reason };
                let store = s3(bucket, variable, tls).map_err(|error| wrong(shown_text(&error, REASON_CHARS_MAX)))?;
                let prefix = Path::parse(&bucket.prefix).map_err(|error| wrong(error.to_string()))?;
                (Place::Bucket(Arc::new(store)), prefix)
            }
        };
        Ok(Self { place, prefix, shown })
    }

    /// Puts an object if there is none of its name. It is durable when this returns.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<Put, StoreError> {
        self.put_as(PutMode::Create, name, bytes).await
    }

    /// Puts an object, also in place of one. It is durable when this returns.
    pub async fn replace(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.put_as(PutMode::Overwrite, name, bytes).await.map(|_| ())
    }

    async fn put_as(&self, mode: PutMode, name: &str, bytes: Bytes) -> Result<Put, StoreError> {
        let (path, payload) = (self.path(name), PutPayload::from_bytes(bytes));
        let put = async {
            match &self.place {
                Place::Folder(folder) => folder.put(mode, path, payload).await,
                Place::Bucket(bucket) => bucket.put_opts(&path, payload, PutOptions::from(mode)).await.map(|_| ()),
            }
        };
        let failed = |reason| self.failed("put", name, reason);
        match tokio::time::timeout(OBJECT_MAX, put).await {
            Ok(Ok(())) => Ok(Put::Created),
            Ok(Err(object_store::Error::AlreadyExists { .. })) => Ok(Put::Existed),
            Ok(Err(error)) => Err(failed(shown_text(&error, REASON_CHARS_MAX))),
            Err(_) => Err(failed(timed_out(OBJECT_MAX))),
        }
    }

    /// Deletes an object, if there is one.
    pub async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        let delete = async {
            match &self.place {
                Place::Folder(folder) => folder.delete(path).await,
                Place::Bucket(bucket) => bucket.delete(&path).await,
            }
        };
        let failed = |reason| self.failed("delete", name, reason);
        match tokio::time::timeout(OBJECT_MAX, delete).await {
            Ok(Ok(()) | Err(object_store::Error::NotFound { .. })) => Ok(()),
            Ok(Err(error)) => Err(failed(shown_text(&error, REASON_CHARS_MAX))),
            Err(_) => Err(failed(timed_out(OBJECT_MAX))),
        }
    }

    /// Reads an object; `None` if it is missing. Of one that has more than `bytes_max`, only the length is returned.
    pub async fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Object>, StoreError> {
        let failed = |reason| self.failed("read", name, reason);
        match tokio::time::timeout(OBJECT_MAX, self.try_get(name, bytes_max)).await {
            Ok(Ok(object)) => Ok(Some(object)),
            Ok(Err(object_store::Error::NotFound { .. })) => Ok(None),
            Ok(Err(error)) => Err(failed(shown_text(&error, REASON_CHARS_MAX))),
            Err(_) => Err(failed(timed_out(OBJECT_MAX))),
        }
    }

    async fn try_get(&self, name: &str, bytes_max: u64) -> object_store::Result<Object> {
        let bucket = match &self.place {
            Place::Folder(folder) => return folder.read(&self.path(name), bytes_max).await,
            Place::Bucket(bucket) => bucket,
        };
        let found = bucket.get_opts(&self.path(name), GetOptions::default()).await?;
        if found.meta.size > bytes_max {
            return Ok(Object::TooLong { bytes: found.meta.size });
        }
        let mut parts = found.into_stream();
        let mut bytes = BytesMut::new();
        while let Some(part) = parts.next().await {
            bytes.extend_from_slice(&part?);
            // A server may send more than it has announced.
            if bytes.len() as u64 > bytes_max {
                return Ok(Object::TooLong { bytes: bytes.len() as u64 });
            }
        }
        Ok(Object::Whole(bytes.freeze()))
    }

    /// The objects of a folder whose names come after `after`, in no particular order, each passed to `found`, until this says
    /// that it has enough.
    pub async fn list(
        &self,
        folder: &str,
        after: Option<&str>,
        mut found: impl FnMut(Listed) -> Enough,
    ) -> Result<(), StoreError> {
        let failed = |reason| self.failed("list", folder, reason);
        let objects = tokio::time::timeout(LIST_PAGE_MAX, self.listing(self.path(folder), after)).await;
        let objects = objects.map_err(|_| failed(timed_out(LIST_PAGE_MAX)))?;
        let mut objects = objects.map_err(|error| failed(shown_text(&error, REASON_CHARS_MAX)))?;
        loop {
            let next = tokio::time::timeout(LIST_PAGE_MAX, objects.next()).await;
            let Some(object) = next.map_err(|_| failed(timed_out(LIST_PAGE_MAX)))? else { return Ok(()) };
            let object = match object {
                Ok(object) => object,
                // A folder that does not exist has no objects.
                Err(object_store::Error::NotFound { .. }) => return Ok(()),
                Err(error) => return Err(failed(shown_text(&error, REASON_CHARS_MAX))),
            };
            let listed = Listed { name: self.name_of(&object.location), bytes: object.size };
            if found(listed) == Enough::Yes {
                return Ok(());
            }
        }
    }

    async fn listing(
        &self,
        prefix: Path,
        after: Option<&str>,
    ) -> object_store::Result<BoxStream<'static, object_store::Result<ObjectMeta>>> {
        let after = after.map(|after| self.path(after));
        Ok(match (&self.place, after) {
            (Place::Folder(folder), after) => {
                let mut listing = folder.list(prefix, after).await?;
                poll_fn(move |context| listing.poll_recv(context)).boxed()
            }
            (Place::Bucket(bucket), Some(after)) => bucket.list_with_offset(Some(&prefix), &after),
            (Place::Bucket(bucket), None) => bucket.list(Some(&prefix)),
        })
    }

    fn path(&self, name: &str) -> Path {
        Path::from_iter(self.prefix.parts().chain(Path::from(name).parts()))
    }

    fn name_of(&self, path: &Path) -> String {
        let name = path.as_ref().strip_prefix(self.prefix.as_ref()).unwrap_or(path.as_ref());
        name.trim_start_matches('/').to_owned()
    }

    fn failed(&self, action: &'static str, object: &str, reason: String) -> StoreError {
        StoreError { action, object: object.to_owned(), store: self.shown.to_string(), reason }
    }
}

/// Whether a list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enough {
    Yes,
    No,
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn s3(
    bucket: &Bucket,
    variable: impl Fn(&str) -> Option<String>,
    tls: &rustls::ClientConfig,
) -> object_store::Result<impl ObjectStore> {
    let mut builder = AmazonS3Builder::new().with_bucket_name(&bucket.name);
    for name in VARIABLES {
        if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
            builder = builder.with_config(name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>()?, value);
        }
    }
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder
            .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint.as_str().trim_end_matches('/'))
            // Any region will do for a server of one's own, and the signature needs one.
            .with_region(bucket.region.as_deref().unwrap_or("us-east-1"));
    } else if let Some(region) = &bucket.region {
        builder = builder.with_region(region);
    }
    if let Some(key) = &bucket.access_key {
        builder = builder.with_access_key_id(&key.id).with_secret_access_key(&key.secret);
    }
    builder
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: ATTEMPTS_AGAIN,
            retry_timeout: ATTEMPTS_AGAIN_MAX,
        })
        .with_http_connector(Connector { tls: tls.clone() })
        .build()
}

/// Makes HTTP clients that use no proxy, follow no redirect, and trust the certificates that they are given.
#[derive(Debug)]
struct Connector {
    tls: rustls::ClientConfig,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_MAX)
            .timeout(REQUEST_MAX)
            .build();
        let client = client.map_err(|error| object_store::Error::Generic { store: "S3", source: error.into() })?;
        Ok(HttpClient::new(client))
    }
}

fn folder_error(folder: &std::path::Path, error: &dyn std::error::Error) -> OpenError {
    OpenError::Folder { folder: folder.display().to_string(), reason: shown_text(error, REASON_CHARS_MAX) }
}

fn timed_out(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs())
}

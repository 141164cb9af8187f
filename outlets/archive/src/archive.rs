//! Where an archive is: an object store, of which it has two folders.

use std::fmt;

use object_storage::{ObjectStoreAddress, Objects, OpenError};

use crate::object_name::{MANIFESTS, SEGMENTS};

/// An archive in an object store. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    pub(crate) objects: Objects,
}

impl Archive {
    /// Opens an archive that is written. A folder is created if it is missing; a bucket must be there.
    ///
    /// `variable` has the environment, for S3. `tls` says which certificates are trusted.
    pub fn open(
        address: &ObjectStoreAddress,
        variable: impl Fn(&str) -> Option<String>,
        tls: &rustls::ClientConfig,
    ) -> Result<Self, OpenError> {
        Ok(Self { objects: Objects::open(address, &[MANIFESTS, SEGMENTS], variable, tls)? })
    }

    /// Opens an archive that is read. Nothing is created.
    pub fn open_existing(
        address: &ObjectStoreAddress,
        variable: impl Fn(&str) -> Option<String>,
        tls: &rustls::ClientConfig,
    ) -> Result<Self, OpenError> {
        Ok(Self { objects: Objects::open_existing(address, variable, tls)? })
    }
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

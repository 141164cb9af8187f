//! The address of an object store: `file:///var/lib/ledgerway/objects`, or
//! `s3://BUCKET/PREFIX?region=REGION&endpoint=https://HOST`. An address can have an access key in it, so neither an error nor
//! `Display` repeats it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::Url;

const BUCKET_LEN: std::ops::RangeInclusive<usize> = 3..=63;

#[derive(Clone)]
pub struct ObjectStoreAddress(pub(crate) Location);

#[derive(Clone)]
pub(crate) enum Location {
    Folder(PathBuf),
    Bucket(Bucket),
}

#[derive(Clone)]
pub(crate) struct Bucket {
    pub name: String,
    /// Without slashes at its ends.
    pub prefix: String,
    /// Another server than Amazon's.
    pub endpoint: Option<Url>,
    pub region: Option<String>,
    pub access_key: Option<AccessKey>,
}

/// Shown nowhere.
#[derive(Clone)]
pub(crate) struct AccessKey {
    pub id: String,
    pub secret: String,
}

/// Why a text is not the address of an object store. It repeats no part of it that could be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongAddress {
    #[error("it is no URL")]
    NotUrl,
    #[error("it begins neither with file:// nor with s3://")]
    Scheme,
    #[error("a folder is given as file:///PATH, with a path that begins at the root")]
    Folder,
    #[error("the name of the bucket must have 3 to 63 lower-case letters, digits, dots and hyphens")]
    Bucket,
    #[error("the path after the bucket must not have empty parts or control characters")]
    Prefix,
    #[error("the parameter {0:?} is not known: an address can have `endpoint` and `region`")]
    Parameter(String),
    #[error("the parameter {0:?} is given twice")]
    Repeated(String),
    #[error("`endpoint` must be http:// or https:// with a host, and without a path or a password")]
    Endpoint,
    #[error("`region` must be lower-case letters, digits and hyphens")]
    Region,
    #[error("an access key has an id and a secret: s3://ID:SECRET@BUCKET")]
    AccessKey,
}

impl ObjectStoreAddress {
    /// A folder, which must be given with its full path.
    pub fn of_folder(folder: &Path) -> Self {
        Self(Location::Folder(folder.to_owned()))
    }
}

impl FromStr for ObjectStoreAddress {
    type Err = WrongAddress;

    fn from_str(text: &str) -> Result<Self, WrongAddress> {
        let url = Url::parse(text.trim()).map_err(|_| WrongAddress::NotUrl)?;
        match url.scheme() {
            "file" => folder(&url).map(|folder| Self(Location::Folder(folder))),
            "s3" => bucket(&url).map(|bucket| Self(Location::Bucket(bucket))),
            _ => Err(WrongAddress::Scheme),
        }
    }
}

fn folder(url: &Url) -> Result<PathBuf, WrongAddress> {
    let is_plain = url.query().is_none() && url.fragment().is_none() && url.host_str().is_none_or(str::is_empty);
    url.to_file_path().ok().filter(|_| is_plain).ok_or(WrongAddress::Folder)
}

fn bucket(url: &Url) -> Result<Bucket, WrongAddress> {
    let name = url.host_str().unwrap_or_default();
    let is_of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if !BUCKET_LEN.contains(&name.len()) || !name.bytes().all(is_of_name) || url.port().is_some() {
        return Err(WrongAddress::Bucket);
    }
    let (mut endpoint, mut region) = (None, None);
    for (name, value) in url.query_pairs() {
        let place = match &*name {
            "endpoint" => &mut endpoint,
            "region" => &mut region,
            _ => return Err(WrongAddress::Parameter(name.into_owned())),
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(WrongAddress::Repeated(name.into_owned()));
        }
    }
    Ok(Bucket {
        name: name.to_owned(),
        prefix: prefix(url)?,
        endpoint: endpoint.as_deref().map(endpoint_of).transpose()?,
        region: region.map(region_of).transpose()?,
        access_key: access_key(url)?,
    })
}

fn prefix(url: &Url) -> Result<String, WrongAddress> {
    let path = decoded(url.path()).ok_or(WrongAddress::Prefix)?;
    let prefix = path.trim_matches('/');
    let is_wrong = |part: &str| part.is_empty() || part.contains(char::is_control);
    if !prefix.is_empty() && prefix.split('/').any(is_wrong) || url.fragment().is_some() {
        return Err(WrongAddress::Prefix);
    }
    Ok(prefix.to_owned())
}

fn endpoint_of(text: &str) -> Result<Url, WrongAddress> {
    let url = Url::parse(text).map_err(|_| WrongAddress::Endpoint)?;
    let is_plain = ["http", "https"].contains(&url.scheme())
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    if is_plain { Ok(url) } else { Err(WrongAddress::Endpoint) }
}

fn region_of(region: String) -> Result<String, WrongAddress> {
    let is_of_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !region.is_empty() && region.bytes().all(is_of_region) { Ok(region) } else { Err(WrongAddress::Region) }
}

fn access_key(url: &Url) -> Result<Option<AccessKey>, WrongAddress> {
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        (id, Some(secret)) if !id.is_empty() && !secret.is_empty() => {
            let decode = |text| decoded(text).ok_or(WrongAddress::AccessKey);
            Ok(Some(AccessKey { id: decode(id)?, secret: decode(secret)? }))
        }
        _ => Err(WrongAddress::AccessKey),
    }
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

impl fmt::Display for ObjectStoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Location::Folder(path) => write!(f, "file://{}", path.display()),
            Location::Bucket(Bucket { name, prefix, endpoint, .. }) => {
                write!(f, "s3://{name}")?;
                if !prefix.is_empty() {
                    write!(f, "/{prefix}")?;
                }
                match endpoint {
                    Some(endpoint) => write!(f, "?endpoint={}", endpoint.as_str().trim_end_matches('/')),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Debug for ObjectStoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ObjectStoreAddress, WrongAddress> {
        text.parse()
    }

    #[test]
    fn an_address_is_shown_without_its_access_key() {
        for (given, shown) in [
            ("file:///var/lib/l%20w", "file:///var/lib/l w"),
            ("s3://audit-1", "s3://audit-1"),
            ("s3://AKIA:s%2Fcret@audit.eu/a/b/?region=eu-central-1", "s3://audit.eu/a/b"),
            (" s3://b-1/p?endpoint=http://127.0.0.1:9000/ ", "s3://b-1/p?endpoint=http://127.0.0.1:9000"),
        ] {
            let address = parse(given).expect("an address");
            assert_eq!((address.to_string(), format!("{address:?}")), (shown.to_owned(), shown.to_owned()));
        }
        let Location::Bucket(bucket) = parse("s3://AKIA:s%2Fcret@audit/?region=eu-1").expect("an address").0 else {
            panic!("a bucket")
        };
        let key = bucket.access_key.expect("a key");
        assert_eq!((key.id.as_str(), key.secret.as_str()), ("AKIA", "s/cret"));
        assert_eq!((bucket.region.as_deref(), bucket.prefix.as_str()), (Some("eu-1"), ""));
    }

    #[test]
    fn a_wrong_address_is_refused_without_being_repeated() {
        for (wrong, why) in [
            ("", WrongAddress::NotUrl),
            ("/var/lib", WrongAddress::NotUrl),
            ("gs://bucket", WrongAddress::Scheme),
            ("postgres://u:canary@h/d", WrongAddress::Scheme),
            ("file://relative/path", WrongAddress::Folder),
            ("file:///a?x=1", WrongAddress::Folder),
            ("s3://", WrongAddress::Bucket),
            ("s3://ab", WrongAddress::Bucket),
            ("s3://Bucket_1", WrongAddress::Bucket),
            ("s3://bucket:80", WrongAddress::Bucket),
            ("s3://bucket/a//b", WrongAddress::Prefix),
            ("s3://bucket/a%0Ab", WrongAddress::Prefix),
            ("s3://bucket?canary", WrongAddress::Parameter("canary".to_owned())),
            ("s3://bucket?region=a&region=b", WrongAddress::Repeated("region".to_owned())),
            ("s3://bucket?region=EU", WrongAddress::Region),
            ("s3://bucket?endpoint=ftp://h", WrongAddress::Endpoint),
            ("s3://bucket?endpoint=http://u:canary@h", WrongAddress::Endpoint),
            ("s3://bucket?endpoint=http://h/path", WrongAddress::Endpoint),
            ("s3://canary@bucket", WrongAddress::AccessKey),
            ("s3://:canary@bucket", WrongAddress::AccessKey),
        ] {
            let found = parse(wrong).expect_err(wrong);
            assert_eq!(found, why, "{wrong}");
            if !matches!(why, WrongAddress::Parameter(_)) {
                assert!(!found.to_string().contains("canary"), "{wrong}: {found}");
            }
        }
    }
}

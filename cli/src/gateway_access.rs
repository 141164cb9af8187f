//! Which gateway a command asks, and with which key. A key in a data folder goes to the gateway that serves this folder, and
//! to no other.

use std::path::Path;

use command::admin::setup::DEV_KEY_FILE;
use events::log::lock::{LockHolder, lock_holder};
use secrets::{Secret, operator_key};

use super::gateway_client::GatewayClient;
use super::{Failure, variable};
use crate::arguments::GatewayArgs;
use crate::settings::setting::{ADMIN_KEY, KEY, KEY_FILE, Setting, URL};
use crate::settings::{Flags, WrongConfig, is_plainly_path};

/// The longest key that is read from a file.
const KEY_LEN_MAX: usize = 4096;

/// Where a command finds its key, the first that there is: after `--key-file`, variables, then files of the data folder.
pub struct KeyPlaces {
    variables: &'static [Setting],
    files: &'static [&'static str],
}

/// For requests to models: an app's key, or else the operator's, which may ask every model.
pub const FOR_MODELS: KeyPlaces =
    KeyPlaces { variables: &[KEY, ADMIN_KEY], files: &[operator_key::FILE, DEV_KEY_FILE] };

/// For administration of the platform.
pub const FOR_ADMINISTRATION: KeyPlaces = KeyPlaces { variables: &[ADMIN_KEY], files: &[operator_key::FILE] };

/// A client of the gateway that the arguments name.
///
/// Errors: no gateway serves the data folder, and no other is named; there is no key for it.
pub fn connect(args: &GatewayArgs, flags: &Flags, places: &KeyPlaces) -> Result<GatewayClient, Failure> {
    let dir = &args.data.dir;
    let FoundGateway { url, serves_folder } = FoundGateway::find(dir, args.url.as_deref(), flags)?;
    let folder = serves_folder.then_some(dir.as_path());
    let key = find_key(args, flags, places, folder)?.ok_or_else(|| no_key(&url, dir, places, folder))?;
    GatewayClient::new(&url, Some(key)).map_err(Failure::not_begun)
}

/// A client of the gateway at `url`, or else of the one that serves the data folder, for what needs no key.
///
/// Errors: no gateway serves the data folder, and no other is named.
pub fn connect_without_key(dir: &Path, url: Option<&str>, flags: &Flags) -> Result<GatewayClient, Failure> {
    let found = FoundGateway::find(dir, url, flags)?;
    GatewayClient::new(&found.url, None).map_err(Failure::not_begun)
}

/// The address of the gateway that serves a data folder; `None` if nobody does.
///
/// Errors: another process has the folder, and no address yet.
pub fn serving(dir: &Path) -> Result<Option<String>, Failure> {
    match lock_holder(dir).map_err(|error| unreadable(dir, &error))? {
        LockHolder::At(url) => Ok(Some(url)),
        LockHolder::Nobody => Ok(None),
        LockHolder::WithoutAddress => Err(Failure::NotBegun(
            "another process uses the folder and has not published its address yet; try again when it is ready"
                .to_owned(),
        )),
    }
}

fn unreadable(dir: &Path, error: &std::io::Error) -> Failure {
    Failure::NotBegun(format!("cannot read {}: {error}", dir.display()))
}

/// The gateway that is asked.
struct FoundGateway {
    url: String,
    /// True if it is the gateway that serves the data folder, so that it may get the keys in there.
    serves_folder: bool,
}

impl FoundGateway {
    fn find(dir: &Path, url: Option<&str>, flags: &Flags) -> Result<Self, Failure> {
        let named = url.filter(|url| !url.is_empty()).map(|url| checked(url, flags)).transpose()?;
        let served = lock_holder(dir);
        let served = match (&named, served) {
            // The folder does not matter if another gateway is named.
            (Some(_), served) => served.unwrap_or(LockHolder::Nobody),
            (None, served) => served.map_err(|error| unreadable(dir, &error))?,
        };
        let own = match served {
            LockHolder::At(url) => Some(url),
            LockHolder::Nobody | LockHolder::WithoutAddress => None,
        };
        let Some(url) = named.map(str::to_owned).or_else(|| own.clone()) else {
            return Err(Failure::NotBegun(format!(
                "no gateway serves {}: start one with `ledgerway serve`, or give the data folder with --data DIR, or a \
                 gateway's address with --url URL",
                dir.display()
            )));
        };
        let serves_folder = own.as_deref() == Some(&*url);
        Ok(Self { url, serves_folder })
    }
}

/// A client of the gateway at `url`, as the lock file of this folder has it, with the operator's key: the variable's, else the
/// one in the folder.
///
/// Errors: there is no key.
pub fn of_operator(url: &str, dir: &Path) -> Result<GatewayClient, Failure> {
    let in_folder = || {
        read_key(&dir.join(operator_key::FILE)).map_err(|problem| {
            let variable = operator_key::VARIABLE;
            Failure::NotBegun(format!("the file of the operator's key {problem}; set {variable} instead"))
        })
    };
    let key = in_variables(FOR_ADMINISTRATION.variables).map_or_else(in_folder, Ok)?;
    GatewayClient::new(url, Some(key)).map_err(Failure::not_begun)
}

/// The address without a slash at its end.
fn checked<'a>(url: &'a str, flags: &Flags) -> Result<&'a str, WrongConfig> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let is_address = |rest: &str| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !host.is_empty() && !host.contains('@') && rest.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if rest.is_some_and(is_address) {
        return Ok(url.trim_end_matches('/'));
    }
    Err(flags.wrong(URL, "must be an address that begins with http:// or https://"))
}

fn find_key(
    args: &GatewayArgs,
    flags: &Flags,
    places: &KeyPlaces,
    folder: Option<&Path>,
) -> Result<Option<Secret>, Failure> {
    if let Some(file) = args.key_file.as_deref().filter(|path| !path.as_os_str().is_empty()) {
        let is_shown = flags.has(KEY_FILE) || is_plainly_path(file);
        let hidden =
            || "names a file that cannot be read; its name is not shown, because it may be the key itself".to_owned();
        let read = read_key(file).map_err(|problem| if is_shown { problem } else { hidden() });
        return Ok(Some(flags.check(KEY_FILE, read)?));
    }
    if let Some(key) = in_variables(places.variables) {
        return Ok(Some(key));
    }
    let in_folder = folder.into_iter().flat_map(|dir| places.files.iter().map(move |file| dir.join(file)));
    Ok(in_folder.filter(|path| path.is_file()).find_map(|path| read_key(&path).ok()))
}

fn in_variables(variables: &[Setting]) -> Option<Secret> {
    let mut set = variables.iter().filter_map(|setting| variable(setting.variable));
    set.find(|key| !key.trim().is_empty()).map(|key| Secret::new(key.trim().to_owned()))
}

/// Errors: the file cannot be read, or has no key in it. The message does not repeat what is in it.
fn read_key(file: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("is {}: {error}", file.display()))?;
    let key = text.trim();
    let is_key = (1..=KEY_LEN_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    is_key.then(|| Secret::new(key.to_owned())).ok_or_else(|| format!("is {}, which holds no key", file.display()))
}

fn no_key(url: &str, dir: &Path, places: &KeyPlaces, folder: Option<&Path>) -> Failure {
    let variables: Vec<_> = places.variables.iter().map(|setting| setting.variable).collect();
    let why = match folder {
        Some(_) => format!("{} has none that can be read", dir.display()),
        None => format!("the keys in {} are only for the gateway that serves it", dir.display()),
    };
    Failure::NotBegun(format!(
        "there is no key for {url}: set {}, or give a file that holds the key with --key-file FILE ({why})",
        variables.join(" or ")
    ))
}

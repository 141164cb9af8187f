//! `x-ledgerway-session`: the session that a request belongs to, for models whose targets are chosen by it.

use events::refusal::Refusal;
use http::HeaderMap;

pub const SESSION_HEADER: &str = "x-ledgerway-session";
const SESSION_LEN_MAX: usize = 256;

/// The session that the header names; `None` without the header.
///
/// Errors: `INVALID_REQUEST` for any other value than 1 to 256 visible ASCII characters.
pub fn session_of(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut given = headers.get_all(SESSION_HEADER).iter();
    let Some(session) = given.next() else { return Ok(None) };
    let is_session =
        (1..=SESSION_LEN_MAX).contains(&session.len()) && session.as_bytes().iter().all(u8::is_ascii_graphic);
    match (session.to_str(), given.next()) {
        (Ok(session), None) if is_session => Ok(Some(session.to_owned())),
        _ => Err(Refusal::invalid(SESSION_HEADER, "must occur once, with 1 to 256 visible ASCII characters")),
    }
}

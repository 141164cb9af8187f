//! Whether a target may have got the request by a call that failed.

use super::{CallFailure, Cause};

impl CallFailure {
    /// False if the cause shows that nothing was sent.
    pub const fn may_have_been_sent(&self) -> bool {
        match &self.cause {
            Cause::Send(error) => !error.nothing_was_sent(),
            Cause::Untranslatable
            | Cause::NoCredentials
            | Cause::NoVariable
            | Cause::WrongKey(_)
            | Cause::KeysAtLimit(_)
            | Cause::WrongSettings
            | Cause::NoToken(_)
            | Cause::Withdrawn
            | Cause::ClientLeft => false,
            Cause::Timeout
            | Cause::Refused(_)
            | Cause::Rejected(_)
            | Cause::Fault(_)
            | Cause::NoMemory(_)
            | Cause::NotRead(_)
            | Cause::AskedTooMuch(_)
            | Cause::NotWritten { .. } => true,
        }
    }
}

//! Why a command did not do its work, and the exit code that says so.

use std::fmt::Display;
use std::process::ExitCode;

use events::log::LogError;
use secrets::file::SecretFileError;
use secrets::node_key::NodeKeyError;

use super::settings::WrongConfig;

/// The exit code of what was not begun, for example because of wrong configuration.
const NOT_BEGUN: u8 = 2;

/// Why a command did not do its work; a sentence.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    NotBegun(String),
    #[error("{0}")]
    Failed(String),
    /// The sentence was printed before.
    #[error("")]
    Printed,
    #[error(transparent)]
    WrongConfig(#[from] WrongConfig),
    #[error(transparent)]
    NodeKey(#[from] NodeKeyError),
    #[error(transparent)]
    SecretFile(#[from] SecretFileError),
    #[error("cannot read the ledger: {0}")]
    Log(#[from] LogError),
}

impl Failure {
    pub fn not_begun(error: impl Display) -> Self {
        Self::NotBegun(error.to_string())
    }

    pub fn failed(error: impl Display) -> Self {
        Self::Failed(error.to_string())
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotBegun(_) | Self::WrongConfig(_) | Self::NodeKey(_) => NOT_BEGUN.into(),
            Self::Failed(_) | Self::Printed | Self::SecretFile(_) | Self::Log(_) => ExitCode::FAILURE,
        }
    }
}

//! Failed calls in words, for clients and for the operator.

use std::borrow::Cow;

use dialects::UpstreamRefusalKind;
use dialects::provider_dialects::KeyFault;
use events::event::admin::{Provider, SetAsideReason, UpstreamKey};
use provider_client::SendError;

use super::{CallFailure, Cause, LOOP_DETECTED};
use crate::inference::keys::access_tokens::TokenError;
use crate::inference::keys::provider_keys::{KeyFailure, remedy};

impl CallFailure {
    /// The failure as a message, with what to check where that is known. Whoever sets up a provider reads it, and on the
    /// OpenAI surface it is all that a client gets.
    pub const fn message(&self) -> &'static str {
        match &self.cause {
            Cause::Untranslatable => "this request cannot be expressed in the upstream's dialect",
            Cause::Withdrawn => "the provider was deleted or changed while the request was on its way: try again",
            Cause::NoCredentials => "the upstream's API key cannot be decrypted: give the provider a new api_key",
            Cause::NoVariable => {
                "the environment variable with the upstream's API key is not set on this node, or is set for another address: \
                 start every node with the same variables"
            }
            Cause::WrongKey(KeyFault::NotAHeader) => {
                "the upstream's API key cannot be sent: give the provider a new api_key"
            }
            Cause::WrongKey(KeyFault::NotOfAws) => {
                "the upstream's API key cannot sign requests: give the provider an api_key that is a Bedrock API key, or \
                 ACCESS_KEY_ID:SECRET_ACCESS_KEY"
            }
            Cause::WrongKey(KeyFault::NoRegion) => {
                "the region that requests to the upstream are signed for is unknown: give the provider a region"
            }
            Cause::KeysAtLimit(_) => {
                "every key of the provider has reached a limit of its own: raise the limits of its provider keys, or add a key"
            }
            Cause::WrongSettings => {
                "the upstream's address or headers cannot be sent: give the provider a new base_url and headers"
            }
            Cause::NoToken(TokenError::Key) => {
                "the upstream's API key cannot be exchanged for an access token: give the provider the JSON key of a \
                 service account"
            }
            Cause::NoToken(TokenError::Refused(_)) => {
                "the upstream's API key was refused where it is exchanged for an access token: check the provider's api_key"
            }
            Cause::NoToken(
                TokenError::Failed(_) | TokenError::Send(_) | TokenError::Timeout | TokenError::Malformed,
            ) => {
                "the server that gives access tokens for the upstream failed to give one: check the token_uri in the \
                 provider's api_key"
            }
            Cause::Send(SendError::Resolve) => "the upstream's host name cannot be resolved: check its base_url",
            Cause::Send(SendError::Forbidden) => {
                "the upstream is on a private network, which its provider does not allow: set allow_private_network to \
                 allow it"
            }
            Cause::Send(SendError::Connect | SendError::ConnectTimeout) => {
                "the upstream cannot be reached: check that it is running and that its base_url is right"
            }
            Cause::Send(SendError::Tls) => {
                "the TLS connection to the upstream failed: check that its base_url should be https, and its certificate"
            }
            Cause::Refused(refusal) => match refusal.kind {
                UpstreamRefusalKind::Credentials => {
                    "the upstream refused the gateway's credentials: check the provider's api_key, and that the key may \
                     use the model"
                }
                UpstreamRefusalKind::OutOfMoney => "the gateway's account at the upstream has no money left",
                UpstreamRefusalKind::BadRequest if refusal.status == 400 => {
                    "the upstream does not serve the target's model as it is named, or not to this account: check the \
                     target's model (for kind bedrock it may have to be an inference profile), the region, and the account's \
                     access to the model"
                }
                UpstreamRefusalKind::BadRequest if refusal.status == 404 => {
                    "the upstream knows no such path or model: check the target's model, and that the provider's base_url \
                     is one for its kind"
                }
                UpstreamRefusalKind::BadRequest => {
                    "the upstream does not accept this kind of request: check the provider's base_url and its kind"
                }
                _ if refusal.status == LOOP_DETECTED => {
                    "the upstream says that the request goes in a circle: check whether the provider's base_url leads to this \
                     gateway itself, maybe by way of another one"
                }
                _ => "the upstream answered with an error",
            },
            Cause::Rejected(_) if matches!(self.status, Some(413)) => "the request is too large for the upstream",
            Cause::Rejected(_) => "the upstream refused the request as it is",
            Cause::Send(SendError::Busy) => "the upstream already has as many requests as it accepts at a time",
            Cause::Send(SendError::ProviderFull) => {
                "the gateway has as many calls to this provider under way as it may, and nothing was sent to it: try again"
            }
            Cause::Send(SendError::NoSocket) => {
                "the gateway has as many connections to providers as it may, and nothing was sent to any: try again"
            }
            Cause::Send(SendError::NoLookUp) => {
                "the gateway looks up as many names of providers as it may, and nothing was sent to any: try again"
            }
            Cause::Send(SendError::Refused) => "the upstream accepts no request now",
            Cause::Send(SendError::Closed | SendError::Malformed) | Cause::Timeout | Cause::Fault(_) => {
                "the upstream failed to answer"
            }
            Cause::NoMemory(_) => "the gateway has no memory for the answer",
            Cause::NotRead(_) => "the gateway could not read the answer",
            Cause::AskedTooMuch(_) => "the client asked for more than the gateway takes in one answer",
            Cause::NotWritten { .. } => "the gateway could not write the request's body",
            Cause::ClientLeft => "the client left before anything was sent",
        }
    }

    /// The failure for the operator, with what to check first.
    pub const fn operator_hint(&self) -> &'static str {
        match &self.cause {
            Cause::Refused(_) if self.is_loop() => self.message(),
            Cause::Refused(refusal) => match refusal.kind {
                UpstreamRefusalKind::RateLimited { .. } => {
                    "the gateway's quota at the upstream is used up: raise it there, or give the model a second target"
                }
                UpstreamRefusalKind::Transient { .. } => {
                    "the upstream is in trouble: check its status page; a second target of the model would take over"
                }
                _ => self.message(),
            },
            Cause::Timeout => "the upstream took longer than its provider's timeout_ms or idle_timeout_ms",
            Cause::Send(SendError::Closed | SendError::Malformed) | Cause::Fault(_) => {
                "the upstream broke off, or sent an unreadable answer: check base_url and the upstream's own log"
            }
            _ => self.message(),
        }
    }

    /// The same, with how to replace the key if the provider does not accept it.
    pub fn operator_advice(&self, provider: &Provider, key: UpstreamKey) -> Cow<'static, str> {
        let hint = self.operator_hint();
        match self.of_key() {
            Some(KeyFailure::NotAccepted { reason: SetAsideReason::Refused, .. }) => {
                format!("{hint}; {}", remedy::of_refused(provider, key)).into()
            }
            _ => hint.into(),
        }
    }
}

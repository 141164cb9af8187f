//! Witnesses: other parties, each of which cosigns a checkpoint after it has checked that it continues all that it has cosigned before
//! (<https://c2sp.org/tlog-witness>). Whoever trusts them sees in a cosigned checkpoint that it is the log that they have seen.

use std::str::FromStr;
use std::time::Duration;

use events::shown_text::{innermost_cause, shown_text};
use events::time::Clock;
use futures_util::future::join_all;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response};
use tlog::{
    ADD_CHECKPOINT_PATH, ANSWER_BYTES_MAX, AddCheckpoint, Answer, CheckpointRefused, KeyKind, MalformedAnswer,
    NoteSignature, SignedCheckpoint, VerifierKey, parse_answer,
};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::published::PublishedLog;
use crate::published_error::PublishedError;

/// How many witnesses a log has at most.
pub const WITNESSES_MAX: usize = 8;
/// How long a witness may take for a checkpoint, however often it is asked, with the proofs for it: no event is added meanwhile.
const COSIGN_MAX: Duration = Duration::from_secs(1);
/// After how long a witness that gave no cosignature is asked again.
pub const WITNESS_RETRY_AFTER: Duration = Duration::from_secs(30);
/// How often a witness is asked for one checkpoint: it may have cosigned one of another size before.
const TRIES_MAX: usize = 2;
const CAUSE_CHARS_MAX: usize = 200;

/// A witness that is asked. Its text is its key as verifiers take it, a space, and its URL.
#[derive(Clone, Debug)]
pub struct WitnessAddress {
    key: VerifierKey,
    url: Url,
}

/// A text is not the address of a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongWitness {
    #[error("must be the key of a witness, a space and its URL")]
    Form,
    #[error("must begin with the key of a witness, such as witness.example+12345678+BASE64")]
    Key,
    #[error("has the key of a log: a witness has a key for cosignatures")]
    KeyOfLog,
    #[error("must end with a URL such as https://witness.example, without a user, a password or a query")]
    Url,
}

/// A witness did not cosign a checkpoint.
#[derive(Debug, thiserror::Error)]
enum NotCosigned {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it gave no cosignature within {} s", COSIGN_MAX.as_secs())]
    TooSlow,
    #[error(transparent)]
    Malformed(#[from] MalformedAnswer),
    #[error("its cosignature is wrong: {0}")]
    Wrong(#[from] CheckpointRefused),
    #[error("its answer has no cosignature of its key")]
    NoCosignature,
    #[error("its cosignature is of a time that has not come: {unix_seconds} s after 1970")]
    OfTheFuture { unix_seconds: u64 },
    #[error("it has cosigned a checkpoint of {cosigned_size} events, and this log has {published_size}")]
    Ahead { cosigned_size: u64, published_size: u64 },
    #[error("it has cosigned another log of the same size")]
    OtherRoot,
    #[error("it does not know this log: give its operator the key of the log")]
    UnknownLog,
    #[error("it does not trust the key of this log")]
    Untrusted,
    #[error("the log does not continue what it has cosigned before")]
    Inconsistent,
    #[error("it refuses the request")]
    BadRequest,
    #[error("it answers with {status}")]
    Status { status: u16 },
    #[error("the size of its last checkpoint changes while it is asked")]
    Moving,
    #[error("the proof for it cannot be made: {0}")]
    Proof(#[from] PublishedError),
}

impl FromStr for WitnessAddress {
    type Err = WrongWitness;

    fn from_str(text: &str) -> Result<Self, WrongWitness> {
        let (key, url) = text.trim().split_once(' ').ok_or(WrongWitness::Form)?;
        let key: VerifierKey = key.parse().map_err(|_| WrongWitness::Key)?;
        if key.kind() != KeyKind::CosignatureV1 {
            return Err(WrongWitness::KeyOfLog);
        }
        let mut url = Url::parse(url.trim()).ok().filter(is_plain).ok_or(WrongWitness::Url)?;
        url.set_path(&format!("{}{ADD_CHECKPOINT_PATH}", url.path().trim_end_matches('/')));
        Ok(Self { key, url })
    }
}

/// Whether a URL has a host and a path alone. It is logged nowhere, and has no secret.
fn is_plain(url: &Url) -> bool {
    let has_more = url.query().is_some() || url.fragment().is_some() || !url.username().is_empty();
    matches!(url.scheme(), "https" | "http") && url.has_host() && url.password().is_none() && !has_more
}

impl WitnessAddress {
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }
}

/// The witnesses of a log, and what is known of them.
pub struct Witnesses {
    client: Client,
    retry_after: Duration,
    witnesses: Vec<Witness>,
}

struct Witness {
    address: WitnessAddress,
    /// The size of the last checkpoint that it has cosigned, as far as is known.
    cosigned_size: u64,
    /// When it is asked again, if it gave no cosignature.
    retry_at: Option<Instant>,
}

impl Witnesses {
    /// `retry_after` is [`WITNESS_RETRY_AFTER`], except in tests.
    pub fn new(client: Client, addresses: Vec<WitnessAddress>, retry_after: Duration) -> Self {
        let witness = |address| Witness { address, cosigned_size: 0, retry_at: None };
        Self { client, retry_after, witnesses: addresses.into_iter().map(witness).collect() }
    }

    pub const fn is_empty(&self) -> bool {
        self.witnesses.is_empty()
    }

    /// When the first of those that gave no cosignature is asked again.
    pub fn due(&self) -> Option<Instant> {
        self.witnesses.iter().filter_map(|witness| witness.retry_at).min()
    }

    /// Asks all witnesses at the same time, except those that have cosigned the checkpoint or are asked again later. Returns whether one
    /// of them cosigned it. The clock is that by which a cosignature may be of the future.
    pub async fn cosign(
        &mut self,
        checkpoint: &mut SignedCheckpoint,
        published: &PublishedLog,
        clock: &dyn Clock,
    ) -> bool {
        let (now, client, asked) = (Instant::now(), &self.client, &*checkpoint);
        let due = self.witnesses.iter_mut().filter(|witness| witness.is_due(asked, now));
        let answers = due.map(|witness| async move {
            let answer = timeout(COSIGN_MAX, witness.ask(client, asked, published)).await;
            (witness, answer.unwrap_or(Err(NotCosigned::TooSlow)))
        });
        let (mut added, size) = (false, asked.unverified().head().size);
        for (witness, answer) in join_all(answers).await {
            let unix_seconds = u64::try_from(clock.now().timestamp()).unwrap_or_default();
            let cosigned = answer.and_then(|signatures| witness.add(checkpoint, &signatures, unix_seconds));
            added |= cosigned.is_ok();
            witness.conclude(cosigned, size, self.retry_after);
        }
        // None is due in the past, also if it was not asked.
        for witness in &mut self.witnesses {
            if witness.retry_at.is_some_and(|retry_at| retry_at <= now) {
                witness.retry_at = Some(now + self.retry_after);
            }
        }
        added
    }
}

impl Witness {
    fn is_due(&self, checkpoint: &SignedCheckpoint, now: Instant) -> bool {
        let may_be_asked = self.retry_at.is_none_or(|retry_at| retry_at <= now);
        let key = std::slice::from_ref(&self.address.key);
        may_be_asked && checkpoint.cosignatures(key).is_ok_and(|cosignatures| cosignatures.is_empty())
    }

    /// Asks for a cosignature, with the proof from the checkpoint that the witness cosigned last. What it says of that one's size is kept
    /// also if it is no longer waited for.
    async fn ask(
        &mut self,
        client: &Client,
        checkpoint: &SignedCheckpoint,
        published: &PublishedLog,
    ) -> Result<Vec<NoteSignature>, NotCosigned> {
        let head = *checkpoint.unverified().head();
        let size = head.size;
        for _ in 0..TRIES_MAX {
            let old_size = self.cosigned_size.min(size);
            let consistency = match old_size {
                0 => Vec::new(),
                old if old == size => Vec::new(),
                old => published.tree(head).consistency_proof(old, size).await?,
            };
            let request = AddCheckpoint { old_size, consistency, checkpoint: checkpoint.clone() };
            match self.post(client, &request).await? {
                Answer::Cosigned(signatures) => return Ok(signatures),
                Answer::OtherSize(cosigned_size) if cosigned_size > size => {
                    return Err(NotCosigned::Ahead { cosigned_size, published_size: size });
                }
                Answer::OtherSize(cosigned_size) => self.cosigned_size = cosigned_size,
                Answer::OtherRoot => return Err(NotCosigned::OtherRoot),
                Answer::UnknownLog => return Err(NotCosigned::UnknownLog),
                Answer::Untrusted => return Err(NotCosigned::Untrusted),
                Answer::Inconsistent => return Err(NotCosigned::Inconsistent),
                Answer::BadRequest => return Err(NotCosigned::BadRequest),
                Answer::Other { status } => return Err(NotCosigned::Status { status }),
            }
        }
        Err(NotCosigned::Moving)
    }

    async fn post(&self, client: &Client, request: &AddCheckpoint) -> Result<Answer, NotCosigned> {
        let sent = client.post(self.address.url.clone()).body(request.to_string()).send().await;
        let mut response = sent.map_err(unreachable)?;
        let content_type = response.headers().get(CONTENT_TYPE).map(HeaderValue::to_str).and_then(Result::ok);
        let content_type = content_type.map(str::to_owned);
        let body = body_of(&mut response).await?;
        Ok(parse_answer(response.status().as_u16(), content_type.as_deref(), &body)?)
    }

    /// Adds its cosignature to the checkpoint, and nothing else of its answer.
    fn add(
        &self,
        checkpoint: &mut SignedCheckpoint,
        signatures: &[NoteSignature],
        now_unix_seconds: u64,
    ) -> Result<(), NotCosigned> {
        let key = std::slice::from_ref(&self.address.key);
        let mut cosigned = checkpoint.clone();
        match cosigned.add_cosignatures(signatures, key)?.first() {
            None => return Err(NotCosigned::NoCosignature),
            Some(cosignature) if cosignature.is_of_the_future(now_unix_seconds) => {
                return Err(NotCosigned::OfTheFuture { unix_seconds: cosignature.unix_seconds });
            }
            Some(_) => {}
        }
        *checkpoint = cosigned;
        Ok(())
    }

    /// Keeps what came of a question for the next one, and logs it if it is news.
    fn conclude(&mut self, cosigned: Result<(), NotCosigned>, size: u64, retry_after: Duration) {
        let (witness, has_failed_before) = (self.address.key.name(), self.retry_at.is_some());
        match cosigned {
            Ok(()) => {
                if has_failed_before {
                    tracing::info!(%witness, "a witness cosigns checkpoints of the log again");
                }
                self.retry_at = None;
                self.cosigned_size = size;
            }
            Err(reason) => {
                if !has_failed_before {
                    tracing::warn!(%witness, %reason, "a witness does not cosign the checkpoint of the log: it is asked again later");
                }
                self.retry_at = Some(Instant::now() + retry_after);
            }
        }
    }
}

/// The body of an answer, up to one byte more than it may have.
async fn body_of(response: &mut Response) -> Result<Vec<u8>, NotCosigned> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX + 1 - body.len())]);
        if body.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(body)
}

fn unreachable(error: reqwest::Error) -> NotCosigned {
    let cause = innermost_cause(&error, CAUSE_CHARS_MAX);
    NotCosigned::Unreachable(cause.unwrap_or_else(|| shown_text(error.without_url(), CAUSE_CHARS_MAX)))
}

#[cfg(test)]
mod tests {
    use events::time::SystemClock;
    use object_storage::{ObjectStoreAddress, Objects};
    use tlog::{Checkpoint, Cosigner, Hash, SIZE_CONTENT_TYPE, Signer, TreeHead};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::*;
    use crate::files::{FOLDER, Files};

    const SIZE: u64 = 3;
    /// The time of one answer. Two of them take longer than a witness may.
    const ANSWER_TIME: Duration = Duration::from_millis(600);
    const TRIES: usize = 20;

    /// Answers the first question with the size of the checkpoint, and each one after it with the cosignature.
    async fn answer_slowly(listener: TcpListener, cosignature: NoteSignature) {
        let mut answer = format!("HTTP/1.1 409 Conflict\r\nContent-Type: {SIZE_CONTENT_TYPE}\r\n\r\n{SIZE}\n");
        loop {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            sleep(ANSWER_TIME).await;
            let _ = connection.read(&mut [0; 65_536]).await;
            let _ = connection.write_all(answer.as_bytes()).await;
            answer = format!("HTTP/1.1 200 OK\r\n\r\n{cosignature}\n");
        }
    }

    #[tokio::test]
    async fn a_witness_that_is_asked_twice_has_no_more_time_than_one_that_is_asked_once() {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.expect("protocols").with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        let folder = tempfile::tempdir().expect("a folder");
        let objects = Objects::open(&ObjectStoreAddress::of_folder(folder.path()), &[FOLDER], |_| None, &tls);
        let published = PublishedLog::new(Files::new(objects.expect("a store")));
        let client = Client::builder().tls_backend_preconfigured(tls).no_proxy().build().expect("a client");

        let log = Signer::from_seed("log.example".parse().expect("a name"), &[7; 32]).expect("a key");
        let checkpoint = Checkpoint::new("log.example", TreeHead { size: SIZE, root: Hash::of_leaf(b"") });
        let mut checkpoint = SignedCheckpoint::sign(checkpoint.expect("a checkpoint"), &log).expect("a note");
        let cosigner = Cosigner::from_seed("w".parse().expect("a name"), &[7; 32]).expect("a key");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let address = format!("{} {url}", cosigner.verifier_key()).parse().expect("an address");
        let mut serving = JoinSet::new();
        serving.spawn(answer_slowly(listener, cosigner.cosign(checkpoint.note().text(), 1)));

        let (mut witnesses, clock) = (Witnesses::new(client, vec![address], Duration::ZERO), SystemClock::new());
        assert!(!witnesses.cosign(&mut checkpoint, &published, &clock).await, "both answers were waited for");
        // The next time, its size is known.
        for _ in 0..TRIES {
            if witnesses.cosign(&mut checkpoint, &published, &clock).await {
                return;
            }
        }
        panic!("not cosigned after {TRIES} more times: {checkpoint}");
    }

    #[test]
    fn an_address_is_a_key_and_a_url() {
        let key = |kind| VerifierKey::new("witness.example/w1".parse().expect("a name"), kind, [7; 32]);
        let witness = key(KeyKind::CosignatureV1);
        for url in ["https://witness.example/", "http://127.0.0.1:8090", "https://witness.example/w1/"] {
            let address: WitnessAddress = format!("{witness} {url}").parse().expect("an address");
            let expected = format!("{}/add-checkpoint", url.trim_end_matches('/'));
            assert_eq!((address.key(), address.url.as_str()), (&witness, expected.as_str()));
        }
        let cosigner = Cosigner::from_seed("w".parse().expect("a name"), &[7; 32]).expect("a key");
        for (text, wrong) in [
            (String::new(), WrongWitness::Form),
            (witness.to_string(), WrongWitness::Form),
            ("w+12345678+AQ https://h".to_owned(), WrongWitness::Key),
            (format!("{} https://h", key(KeyKind::Ed25519)), WrongWitness::KeyOfLog),
            (format!("{} ftp://h", cosigner.verifier_key()), WrongWitness::Url),
            (format!("{} https://", cosigner.verifier_key()), WrongWitness::Url),
            (format!("{} https://user@h", cosigner.verifier_key()), WrongWitness::Url),
            (format!("{} https://h/?a", cosigner.verifier_key()), WrongWitness::Url),
        ] {
            assert_eq!(text.parse::<WitnessAddress>().err(), Some(wrong), "{text}");
        }
    }
}

//! `ledgerway witness`, as the operator of a log sees it: what it cosigns, what it refuses, and what it remembers.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::{Duration, Instant};

use http::Method;
use testing::wire::Wire;
use tlog::{
    AddCheckpoint, Answer, KeyName, NoteSignature, REQUEST_BYTES_MAX, SignedCheckpoint, Signer, VerifierKey,
    parse_answer, verify_consistency,
};
use tokio::task::JoinSet;

use crate::client::{Client, Lost, PositionStatus, Reply};
use crate::configuration::said;
use crate::gateway::ledgerway;
use crate::test_log::{ORIGIN, TestLog, signer};

const NAME: &str = "witness.example/w1";
const LISTENING: &str = "ledgerway witness listening on http://127.0.0.1:";
const KEY: &str = "its key, for the operators of the logs: ";
const READY_MAX: Duration = Duration::from_secs(30);
const END_MAX: Duration = Duration::from_secs(20);
const PATH: &str = "/add-checkpoint";

/// The binary as a witness. It does not outlive its test.
pub struct Witness {
    process: Child,
    port: u16,
    pub key: VerifierKey,
    /// The lines it wrote at its start.
    lines: Vec<String>,
}

/// The arguments of a witness of the test's log.
fn command(folder: &Path) -> Command {
    let mut command = ledgerway();
    command.args(["witness", "--listen", "127.0.0.1:0", "--name", NAME, "--data"]).arg(folder);
    command.args(["--log-key", &signer(1).verifier_key().to_string()]);
    command
}

impl Witness {
    fn start(folder: &Path) -> Self {
        Self::spawn(&mut command(folder))
    }

    /// A witness of another log than the test's.
    pub fn of_log(folder: &Path, log_key: &str) -> Self {
        Self::spawn(command(folder).args(["--log-key", log_key]))
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn spawn(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut output = BufReader::new(process.stdout.take().expect("its output"));
        let mut lines = Vec::new();
        // The line of its last log comes third, or later.
        while lines.len() < 3 {
            let mut line = String::new();
            assert!(output.read_line(&mut line).expect("text") > 0, "it says no more: {lines:?}");
            lines.push(line.trim_end().to_owned());
        }
        let [listening, key] = [LISTENING, KEY].map(|words| lines.iter().find_map(|line| line.strip_prefix(words)));
        let port = listening.and_then(|port| port.parse().ok()).expect("a port");
        let key = key.and_then(|key| key.parse().ok()).expect("its key");
        Self { process, port, key, lines }
    }

    fn client(&self) -> Client {
        Client::new(Arc::new(AtomicU16::new(self.port)), PositionStatus::default(), None).without("content-type")
    }

    async fn wire(&self) -> Wire {
        Wire::open((Ipv4Addr::LOCALHOST, self.port).into()).await.expect("a connection")
    }

    async fn ask(&self, request: &AddCheckpoint) -> Answer {
        answer_of(&self.client().send(Method::POST, PATH, request.to_string()).await.expect("an answer"))
    }

    /// Returns its signature for a checkpoint, which its key must have cosigned.
    async fn cosigned(&self, request: &AddCheckpoint) -> Cosigned {
        match self.ask(request).await {
            Answer::Cosigned(signatures) => self.checked(request, &signatures),
            refused => panic!("not cosigned: {refused:?}"),
        }
    }

    fn checked(&self, request: &AddCheckpoint, signatures: &[NoteSignature]) -> Cosigned {
        let (mut checkpoint, known) = (request.checkpoint.clone(), [self.key.clone()]);
        let added = checkpoint.add_cosignatures(signatures, &known).expect("they are right");
        assert_eq!(added.len(), 1, "{signatures:?}");
        let unix_seconds = added[0].unix_seconds;
        Cosigned { checkpoint, unix_seconds }
    }

    /// `kill -9`.
    fn kill(&mut self) {
        self.process.kill().expect("a process to kill");
        self.process.wait().expect("its end");
    }

    fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success(), "{kill}");
    }

    /// Its exit code, once it has ended.
    fn end(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("its state") {
                return status.code();
            }
            assert!(began.elapsed() < END_MAX, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Cosigned {
    checkpoint: SignedCheckpoint,
    unix_seconds: u64,
}

fn answer_of(reply: &Reply) -> Answer {
    let content_type = reply.headers.get("content-type").map(|value| value.to_str().expect("text"));
    parse_answer(reply.status, content_type, &reply.body).expect("an answer of the specification")
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The cosignature as somebody else checks it: with the crate `signed_note`, and the message and the key as the specification has
/// them, written once more.
fn is_verified_by_others(cosigned: &Cosigned, key: &VerifierKey) -> bool {
    struct TheirVerifier {
        name: String,
        key: ed25519_dalek::VerifyingKey,
    }
    impl signed_note::Verifier for TheirVerifier {
        fn name(&self) -> &str {
            &self.name
        }
        fn key_id(&self) -> u32 {
            signed_note::key_id(&self.name, &[&[4][..], self.key.as_bytes()].concat())
        }
        fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
            let (time, signature) = signature.split_at(8);
            let time = u64::from_be_bytes(time.try_into().expect("8 bytes"));
            let message = [b"cosignature/v1\ntime ", time.to_string().as_bytes(), b"\n", text].concat();
            self.key.verify_strict(&message, &signature.try_into().expect("64 bytes")).is_ok()
        }
    }
    let note = signed_note::Note::from_bytes(cosigned.checkpoint.to_string().as_bytes()).expect("a note");
    let theirs = ed25519_dalek::VerifyingKey::from_bytes(key.public_key()).expect("a key");
    let of_log = signed_note::StandardVerifier::new(&signer(1).verifier_key().to_string()).expect("a key");
    let verifiers: Vec<Box<dyn signed_note::Verifier>> =
        vec![Box::new(TheirVerifier { name: NAME.to_owned(), key: theirs }), Box::new(of_log)];
    note.verify(&signed_note::VerifierList::new(verifiers)).is_ok_and(|(known, _)| known.len() == 2)
}

/// Holds: log.witness
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_cosigns_what_continues_the_last_checkpoint_and_others_can_check_it() {
    let ([folder, folder_of_other], log) = ([temporary(), temporary()], TestLog::new("ours"));
    let witness = Witness::start(folder.path());
    assert_eq!(witness.key.name().as_str(), NAME);
    let now = || std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    let began = now();
    for (old, new) in [(0, 5), (5, 5), (5, 6), (6, 300), (300, 1000)] {
        let cosigned = witness.cosigned(&log.request(old, new)).await;
        assert!(is_verified_by_others(&cosigned, &witness.key), "{new}");
        assert!((began..=now()).contains(&cosigned.unix_seconds), "{}", cosigned.unix_seconds);
    }
    let other = Witness::start(folder_of_other.path());
    let cosigned = other.cosigned(&log.request(0, 5)).await;
    assert!(!is_verified_by_others(&cosigned, &witness.key), "each has its key");
}

/// Holds: log.witness
#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_that_of_the_specification() {
    let (folder, log, forked) = (temporary(), TestLog::new("ours"), TestLog::new("forked"));
    let witness = Witness::start(folder.path());
    let request = log.request(0, 8);
    witness.cosigned(&request).await;
    let stranger = TestLog { signer: signer(2), ..TestLog::new("ours") };
    let elsewhere = request.to_string().replacen(ORIGIN, "other.example/log", 1).replace(ORIGIN, "other.example/log");
    let proof_of = |old, new| log.request(old, new).consistency;
    for (name, body, status) in [
        ("no request", "x".to_owned(), 400),
        ("nothing", String::new(), 400),
        ("no proof line", log.request(8, 9).to_string().replacen('\n', "\nx\n", 1), 400),
        ("an old size with a zero", log.request(8, 9).to_string().replacen("old 8", "old 08", 1), 400),
        ("smaller than the old size", log.request(9, 8).to_string(), 400),
        ("another log", elsewhere, 404),
        ("another key", stranger.request(8, 9).to_string(), 403),
        ("another size than the signed one", log.request(8, 9).to_string().replacen("\n9\n", "\n10\n", 1), 403),
        ("another root of the same size", forked.request(8, 8).to_string(), 409),
        ("a fork", forked.request(8, 9).to_string(), 422),
        ("no proof", AddCheckpoint { consistency: vec![], ..log.request(8, 20) }.to_string(), 422),
        ("another proof", AddCheckpoint { consistency: proof_of(7, 20), ..log.request(8, 20) }.to_string(), 422),
        (
            "a proof of what needs none",
            AddCheckpoint { consistency: proof_of(7, 8), ..log.request(8, 8) }.to_string(),
            422,
        ),
    ] {
        let reply = witness.client().send(Method::POST, PATH, body).await.expect("an answer");
        assert_eq!(reply.status, status, "{name}: {:?}", reply.body);
        assert_ne!(reply.headers["content-type"], "text/x.tlog.size", "{name}");
        assert!(reply.body.ends_with(b"\n") && reply.body.len() > 10, "{name}: {:?}", reply.body);
    }
    for (old, new) in [(0, 8), (0, 9), (7, 9), (9, 9), (1000, 1000)] {
        for history in [&log, &forked] {
            let reply = witness.client().send(Method::POST, PATH, history.request(old, new).to_string()).await;
            let reply = reply.expect("an answer").must(409);
            assert_eq!(reply.headers["content-type"], "text/x.tlog.size", "{old} {new}");
            assert_eq!(&reply.body[..], b"8\n", "{old} {new}");
        }
    }
    // None of that was cosigned.
    witness.cosigned(&log.request(8, 9)).await;
    for (method, path, status) in [(Method::GET, PATH, 405), (Method::POST, "/", 404), (Method::GET, "/metrics", 404)] {
        assert_eq!(witness.client().send(method, path, "").await.expect("an answer").status, status, "{path}");
    }
}

/// Holds: log.witness
#[tokio::test(flavor = "multi_thread")]
async fn a_log_can_change_its_key_and_a_witness_can_have_several_logs() {
    let folder = temporary();
    let [old, new] = [signer(1), signer(2)].map(|key| key.verifier_key().to_string());
    let other = Signer::from_seed("other.example/log".parse().expect("a name"), &[3; 32]).expect("a seed");
    let mut with_both = command(folder.path());
    // As `/v1/log/key` has them.
    with_both.args(["--log-key", &format!("{old}\n{new}\n"), "--log-key", &other.verifier_key().to_string()]);
    let witness = Witness::spawn(&mut with_both);
    assert_eq!(witness.lines[2], format!("{ORIGIN}: nothing cosigned yet"));
    witness.cosigned(&TestLog::new("ours").request(0, 4)).await;
    let later = TestLog { signer: signer(2), ..TestLog::new("ours") };
    witness.cosigned(&later.request(4, 7)).await;
    let checkpoint = tlog::Checkpoint::new("other.example/log", later.head(3)).expect("a checkpoint");
    let checkpoint = SignedCheckpoint::sign(checkpoint, &other).expect("a note");
    witness.cosigned(&AddCheckpoint { old_size: 0, consistency: vec![], checkpoint }).await;
    drop(witness);
    // The first key is no key of the log any more, and what it signed is remembered.
    let mut with_one = ledgerway();
    with_one
        .args(["witness", "--listen", "127.0.0.1:0", "--name", NAME, "--log-key", &new, "--data"])
        .arg(folder.path());
    let witness = Witness::spawn(&mut with_one);
    assert_eq!(witness.lines[2], format!("{ORIGIN}: cosigned up to size 7"));
    assert_eq!(witness.ask(&TestLog::new("ours").request(7, 9)).await, Answer::Untrusted);
    witness.cosigned(&later.request(7, 9)).await;
}

/// Asks for checkpoints of a history, each to continue what the witness has, until the witness is gone. Returns what was cosigned.
async fn ask_on(witness: &Client, log: TestLog) -> Vec<(AddCheckpoint, Vec<NoteSignature>)> {
    let (mut cosigned, mut old) = (Vec::new(), 0);
    loop {
        let request = log.request(old, old + 1);
        let Ok(reply) = witness.send(Method::POST, PATH, request.to_string()).await else { return cosigned };
        match answer_of(&reply) {
            Answer::Cosigned(signatures) => {
                cosigned.push((request, signatures));
                old += 1;
            }
            Answer::OtherSize(size) => old = size,
            Answer::Inconsistent => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Several histories are asked for at the same time, and the witness is killed in the middle of it, again and again.
///
/// Holds: log.witness-fork
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_is_killed_at_any_time_never_cosigns_two_histories() {
    let folder = temporary();
    let mut cosigned = Vec::new();
    let mut key = None;
    for round in 0..12 {
        let mut witness = Witness::start(folder.path());
        assert_eq!(*key.get_or_insert(witness.key.clone()), witness.key, "it keeps its key");
        let client = witness.client();
        let mut asking = JoinSet::new();
        for name in ["ours", "forked", "ours", "third"] {
            let client = client.clone();
            asking.spawn(async move { ask_on(&client, TestLog::new(name)).await });
        }
        tokio::time::sleep(Duration::from_millis(20 + 13 * round)).await;
        witness.kill();
        for (request, signatures) in asking.join_all().await.into_iter().flatten() {
            cosigned.push(*witness.checked(&request, &signatures).checkpoint.unverified().head());
        }
    }
    let histories = ["ours", "forked", "third"].map(TestLog::new);
    let shown: Vec<usize> = (0..histories.len())
        .filter(|number| cosigned.iter().any(|head| head.size > 3 && *head == histories[*number].head(head.size)))
        .collect();
    let largest = cosigned.iter().map(|head| head.size).max().unwrap_or_default();
    assert!(cosigned.len() > 24 && largest > 12, "it was asked: {} up to {largest}", cosigned.len());
    assert_eq!(shown.len(), 1, "cosigned histories: {shown:?}");
    cosigned.sort_by_key(|head| head.size);
    let history = &histories[shown[0]];
    for pair in cosigned.windows(2) {
        let proof = history.request(pair[0].size, pair[1].size).consistency;
        assert_eq!(verify_consistency(&pair[0], &pair[1], &proof), Ok(()));
    }
    // What was answered is remembered.
    let witness = Witness::start(folder.path());
    let Answer::OtherSize(remembered) = witness.ask(&history.request(0, 1000)).await else {
        panic!("it has begun anew")
    };
    assert!(remembered >= largest, "{remembered} of {largest}");
    witness.cosigned(&history.request(remembered, 1000)).await;
}

/// Holds: log.witness-start
#[tokio::test(flavor = "multi_thread")]
async fn two_witnesses_do_not_share_a_folder_and_a_signal_ends_one_well() {
    for signal in ["TERM", "INT"] {
        let (folder, log) = (temporary(), TestLog::new("ours"));
        let mut witness = Witness::start(folder.path());
        witness.cosigned(&log.request(0, 4)).await;
        let (code, words) = said(&mut command(folder.path()));
        let address = format!("http://127.0.0.1:{}", witness.port);
        assert!(code == Some(2) && words.contains(&address) && words.contains("stop it first"), "{code:?} {words}");
        // A request that is being sent is still answered.
        let body = log.request(4, 6).to_string();
        let (first, rest) = body.split_at(body.len() / 2);
        let mut wire = witness.wire().await;
        let head = format!("POST {PATH} HTTP/1.1\r\nhost: w\r\ncontent-length: {}\r\n\r\n{first}", body.len());
        assert!(wire.send(head).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
        witness.signal(signal);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(wire.send(rest).await);
        assert_eq!(wire.response().await.expect("an answer").status, 200, "{signal}");
        assert_eq!(witness.end(), Some(0), "{signal}");
        let again = Witness::start(folder.path());
        assert_eq!((&again.key, &*again.lines[2]), (&witness.key, &*format!("{ORIGIN}: cosigned up to size 6")));
    }
}

/// Holds: log.witness-start
#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_made_once_for_its_owner_alone_and_is_never_shown() {
    let folder = temporary();
    let data = folder.path().join("made/data");
    let (said, log) = (folder.path().join("stderr"), TestLog::new("ours"));
    let witness = Witness::spawn(command(&data).env("RUST_LOG", "trace").stderr(File::create(&said).expect("a file")));
    witness.cosigned(&log.request(0, 4)).await;
    let files: Vec<PathBuf> =
        fs::read_dir(&data).expect("the folder").map(|file| file.expect("a file").path()).collect();
    assert_eq!(files.len(), 3, "the key, the lock and a log: {files:?}");
    for file in &files {
        assert_eq!(fs::metadata(file).expect("a file").permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    let secret = fs::read_to_string(data.join("witness.key")).expect("the key");
    let secret = secret.trim().splitn(5, '+').last().expect("the seed");
    assert_eq!(secret.len(), 44, "a byte and a seed as base64");
    let words = witness.lines.join("\n") + &fs::read_to_string(&said).expect("what it logged");
    assert!(!words.contains(secret) && words.contains(PATH), "{words}");
    // A checkpoint as anybody can check it.
    let kept = files.iter().find(|file| file.extension().is_some_and(|end| end == "checkpoint")).expect("a log");
    let kept = SignedCheckpoint::parse(&fs::read(kept).expect("a file")).expect("a checkpoint");
    assert_eq!(kept.cosignatures(std::slice::from_ref(&witness.key)).map(|found| found.len()), Ok(1));
    assert!(kept.verify(ORIGIN, &[signer(1).verifier_key().clone()]).is_ok());
}

/// Holds: log.witness-start
#[test]
fn what_cannot_start_ends_with_a_sentence_that_says_what_to_do() {
    let folder = temporary();
    let (data, key) = (folder.path().join("data"), signer(1).verifier_key().to_string());
    let file = folder.path().join("a-file");
    fs::write(&file, "no folder").expect("a file");
    let data_text = data.display().to_string();
    let good = ["--listen", "127.0.0.1:0", "--name", NAME, "--data", &data_text, "--log-key", &key];
    let with = |flag: &str, value: &str| {
        let mut arguments = good.map(str::to_owned);
        let at = arguments.iter().position(|argument| argument == flag).expect("a flag");
        value.clone_into(&mut arguments[at + 1]);
        arguments
    };
    let signing = format!("PRIVATE+KEY+{ORIGIN}+12345678+SeEdOfIt");
    let of_witness = VerifierKey::new(NAME.parse::<KeyName>().expect("a name"), tlog::KeyKind::CosignatureV1, [7; 32]);
    for (arguments, hints) in [
        (with("--listen", "nowhere"), ["--listen is", "for example --listen 127.0.0.1:8090"]),
        (with("--listen", "192.0.2.1:1"), ["--listen is 192.0.2.1:1", "for example --listen 192.0.2.1:2"]),
        (with("--name", "a name"), ["--name", "for example --name witness.example/w1"]),
        (with("--data", ""), ["--data must be a folder", "for example --data ./witness-data"]),
        (with("--data", "postgres://u:secret@h/db"), ["--data must be a folder", "for example --data ./witness-data"]),
        (with("--data", &file.display().to_string()), ["cannot use the data folder", "a-file"]),
        (with("--log-key", "x"), ["--log-key is \"x\"", "a line of /v1/log/key"]),
        (with("--log-key", ""), ["--log-key", "a line of /v1/log/key"]),
        (with("--log-key", &signing), ["--log-key is \"PRIVATE\"", "a line of /v1/log/key"]),
        (with("--log-key", &of_witness.to_string()), ["--log-key", "of a witness"]),
    ] {
        let (code, words) = said(ledgerway().arg("witness").args(&arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {words}");
        assert!(hints.iter().all(|hint| words.contains(hint)), "{words}");
        assert!(words.starts_with("ledgerway: ") && words.trim().lines().count() == 1, "{words}");
        assert!(!words.contains("secret") && !words.contains("SeEd"), "{words}");
        assert!(!data.exists(), "{arguments:?} left a folder");
    }
    for missing in ["--name", "--log-key"] {
        let at = good.iter().position(|argument| *argument == missing).expect("a flag");
        let (code, words) = said(ledgerway().arg("witness").args(&good[..at]).args(&good[at + 2..]));
        assert!(code == Some(2) && words.contains(missing), "{words}");
    }
    drop(Witness::start(&data));
    let (code, words) = said(ledgerway().arg("witness").args(with("--name", "witness.example/w2")));
    assert!(code == Some(2) && words.contains("witness.key is that of witness.example/w1"), "{words}");
    fs::write(data.join("witness.key"), "damaged").expect("the key");
    let (code, words) = said(&mut command(&data));
    assert!(code == Some(2) && words.contains("restore it from a copy"), "{words}");
}

/// Holds: log.witness-bounds
#[tokio::test(flavor = "multi_thread")]
async fn slow_and_large_requests_do_not_keep_a_witness_from_answering() {
    const REQUESTS_MAX: usize = 64;
    let (folder, log) = (temporary(), TestLog::new("ours"));
    let witness = Witness::start(folder.path());
    let head = |bytes: usize| format!("POST {PATH} HTTP/1.1\r\nhost: w\r\ncontent-length: {bytes}\r\n\r\n");
    for (bytes, status) in [(REQUEST_BYTES_MAX, 400), (REQUEST_BYTES_MAX + 1, 413), (1 << 40, 413)] {
        let mut wire = witness.wire().await;
        assert!(wire.send(head(bytes)).await);
        if bytes == REQUEST_BYTES_MAX {
            assert!(wire.send(vec![b'x'; bytes]).await);
        }
        assert_eq!(wire.response().await.expect("an answer").status, status, "{bytes} bytes");
    }
    let mut slow = Vec::new();
    // More than there are places: one of the requests above may still have one for a moment.
    for _ in 0..REQUESTS_MAX + 4 {
        let mut wire = witness.wire().await;
        assert!(wire.send(head(100) + "old 0").await);
        slow.push(wire);
    }
    let (began, request) = (Instant::now(), log.request(0, 5));
    while witness.ask(&request).await != (Answer::Other { status: 503 }) {
        assert!(began.elapsed() < READY_MAX, "it takes more requests at a time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut statuses = Vec::new();
    for wire in &mut slow {
        statuses.push(wire.response().await.expect("an answer").status);
    }
    let of = |status| statuses.iter().filter(|answered| **answered == status).count();
    assert_eq!((of(408), of(503)), (REQUESTS_MAX, 4), "{statuses:?}");
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    // They have let go of their places. It may have been answered before all places were taken.
    let old = match witness.ask(&log.request(0, 7)).await {
        Answer::OtherSize(size) => size,
        Answer::Cosigned(_) => 7,
        other => panic!("{other:?}"),
    };
    witness.cosigned(&log.request(old, 9)).await;
    // A connection on which nothing of use is sent is answered as well.
    let mut wire = witness.wire().await;
    assert!(wire.send("nonsense\r\n\r\n").await);
    assert_eq!(wire.response().await.expect("an answer").status, 400);
}

/// Nobody who is gone keeps it from ending.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_go_on_does_not_keep_a_witness_from_ending() {
    let folder = temporary();
    let mut witness = Witness::start(folder.path());
    let mut wire = witness.wire().await;
    assert!(wire.send(format!("POST {PATH} HTTP/1.1\r\nhost: w\r\ncontent-length: 100\r\n\r\nold")).await);
    tokio::time::sleep(Duration::from_millis(200)).await;
    witness.signal("TERM");
    let refused = witness.client().send(Method::POST, PATH, "").await;
    assert!(matches!(refused, Err(Lost) | Ok(Reply { status: 503, .. })), "{refused:?}");
    assert_eq!(witness.end(), Some(0));
}

//! The public log of a ledger within the agent's process: signed, proved, shown, packed and pruned as
//! that of `spanledger serve`, and checked by somebody who has nothing but its key.
#![cfg(feature = "ledger")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use spanledger::access::Tenant;
use spanledger::config::{Config, Overrides};
use spanledger::entry::{Entry, Kind};
use spanledger::layer::{AuditLayer, Decision, Embedded, Handle, Outcome, Receipt, ToolCall};
use spanledger::ledger::checkpoint::{LogKey, SignedCheckpoint, VerifierKey};
use spanledger::ledger::merkle::leaf_hash;
use spanledger::ledger::proof::{verify_consistency, verify_inclusion};
use spanledger::ledger::{Batch, EntryId, Hash, Ledger, NewEntry, Reader, TreeHead};
use spanledger::pipeline::ledger_dir;
use spanledger::protect::Keys;
use spanledger::record;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use support::server::{DEADLINE, look_until};
use tracing::{Instrument as _, info_span};
use tracing_subscriber::layer::SubscriberExt as _;

/// Longer than anything here takes.
const WITHIN: Duration = Duration::from_mins(1);

const TENANT: &str = "acme";

/// An agent with a ledger of its own that can be asked.
struct Agent {
    data: PathBuf,
    handle: Handle,
    subscriber: tracing::Dispatch,
}

impl Agent {
    /// Starts one, with what `further` says beside the defaults.
    fn start(data: &Path, further: impl FnOnce(Embedded) -> Embedded) -> Self {
        let here = "127.0.0.1:0".parse().unwrap();
        let ledger = further(Embedded::new(data).tenant(TENANT).listen_api(here));
        let layer = AuditLayer::builder().service_name("refund-agent").embedded(ledger).unwrap();
        let (data, handle) = (data.to_owned(), layer.handle());
        let subscriber = tracing_subscriber::registry().with(layer).into();
        Self { data, handle, subscriber }
    }

    /// A decision in a run, with its receipt.
    async fn decide(&self, run: &str) -> Receipt {
        let recording = tracing::dispatcher::with_default(&self.subscriber, || {
            let span = info_span!(target: "audit", "invoke_agent", trace_id = run);
            let decision = Decision::new(Outcome::Block).reason("over the limit");
            span.in_scope(|| record(decision)).into_future().instrument(span)
        });
        recording.await.unwrap()
    }

    /// What its API answers.
    async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let address = self.handle.ledger().unwrap().api().unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(format!("http://{address}{path}")).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let address = self.handle.ledger().unwrap().api().unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.post(format!("http://{address}{path}")).json(body).send().await;
        let answer = answer.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// `event.id` of the entry at that place.
    async fn id_of(&self, sequence: u64) -> String {
        let path = format!("/api/v1/entries?q=*&limit=1000&tenant={TENANT}");
        let found = look_until(DEADLINE, async || {
            let entries = self.json(&path).await.1["entries"].take();
            let entry =
                entries.as_array()?.iter().find(|it| it["event"]["sequence"] == sequence)?;
            Some(entry["event"]["id"].as_str()?.to_owned())
        });
        found.await.expect("the entry is found")
    }

    /// The receipt of an entry, when a checkpoint covers it.
    async fn proof_of(&self, id: &str) -> Value {
        let path = format!("/api/v1/entries/{id}/receipt?tenant={TENANT}");
        let proved = look_until(DEADLINE, async || {
            let (status, receipt) = self.json(&path).await;
            assert!([200, 202].contains(&status), "{receipt:#}");
            (status == 200).then_some(receipt)
        });
        proved.await.expect("a checkpoint covers the entry")
    }

    /// The key that an auditor would have got from the operator.
    fn key(&self) -> VerifierKey {
        let text = std::fs::read_to_string(self.data.join("keys/log.pub")).unwrap();
        VerifierKey::parse(&text).unwrap()
    }

    async fn end(self) {
        let delivery = self.handle.shutdown(WITHIN).await;
        assert!(delivery.complete && delivery.stats.last_error.is_none(), "{delivery:?}");
    }
}

fn spanledger(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanledger"));
    command.args(arguments).env_remove("SPANLEDGER_DATA").output().unwrap()
}

/// `verify` with the operator's key, where everything has to be shown.
fn verified(data: &Path, key: &VerifierKey) {
    let key = key.to_string();
    let done = spanledger(&["verify", "--data", data.to_str().unwrap(), "--key", &key, "--strict"]);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.starts_with("ok: "), "{said}");
}

fn hash(text: &Value) -> Hash {
    let text = text.as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..text.len()).step_by(2).map(byte).collect();
    bytes.try_into().unwrap()
}

fn hashes(list: &Value) -> Vec<Hash> {
    list.as_array().unwrap().iter().map(hash).collect()
}

/// Checks what the API says of an entry by the key alone; gives the leaf's hash and the tree.
fn proved(receipt: &Value, key: &VerifierKey) -> (Hash, TreeHead) {
    let note = receipt["checkpoint"].as_str().unwrap();
    let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap();
    signed.verify(std::slice::from_ref(key)).unwrap();
    let record = BASE64.decode(receipt["leaf_record"].as_str().unwrap()).unwrap();
    let (leaf, head) = (leaf_hash(&record), signed.checkpoint.head);
    let index = receipt["sequence"].as_u64().unwrap();
    verify_inclusion(&leaf, index, &head, &hashes(&receipt["inclusion"])).unwrap();
    (leaf, head)
}

#[tokio::test]
async fn what_an_agent_decided_is_proved_over_its_own_api_to_who_has_nothing_but_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let agent = Agent::start(&data, |ledger| ledger);
    let receipt = agent.decide("run-1").await;
    let id = agent.id_of(receipt.sequence).await;
    let proof = agent.proof_of(&id).await;
    let (leaf, first) = proved(&proof, &agent.key());
    assert_eq!(leaf, receipt.leaf_hash, "the agent's receipt and the log's are of one leaf");
    assert_eq!(proof["sequence"], receipt.sequence);

    // By the place in the log, and the log itself.
    let path = format!("/api/v1/log/inclusion?index={}&size={}", receipt.sequence, first.size);
    let (status, inclusion) = agent.json(&path).await;
    assert_eq!((status, hash(&inclusion["root"])), (200, first.root));
    verify_inclusion(&leaf, receipt.sequence, &first, &hashes(&inclusion["proof"])).unwrap();
    let (status, keys) = agent.get("/log/keys").await;
    assert_eq!((status, String::from_utf8(keys).unwrap().trim()), (200, &*agent.key().to_string()));

    // It only grows, also over a restart.
    let second = agent.decide("run-2").await;
    agent.end().await;
    let agent = Agent::start(&data, |ledger| ledger);
    let id = agent.id_of(second.sequence).await;
    let (_, now) = proved(&agent.proof_of(&id).await, &agent.key());
    let path = format!("/api/v1/log/consistency?old={}&new={}", first.size, now.size);
    let (status, grown) = agent.json(&path).await;
    assert_eq!(status, 200, "{grown:#}");
    verify_consistency(&first, &now, &hashes(&grown["proof"])).unwrap();
    let (status, note) = agent.get("/log/checkpoint").await;
    let signed = SignedCheckpoint::parse(&note).unwrap();
    signed.verify(&[agent.key()]).unwrap();
    assert_eq!(status, 200);
    let tile = format!("/log/tile/0/000.p/{}", signed.checkpoint.head.size);
    let (status, tile) = agent.get(&tile).await;
    let place = usize::try_from(receipt.sequence).unwrap() * 32;
    assert_eq!((status, &tile[place..place + 32]), (200, &leaf[..]));

    let key = agent.key();
    agent.end().await;
    verified(&data, &key);
}

#[tokio::test]
async fn a_bundle_of_evidence_is_had_from_the_agent_and_checked_offline() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&folder.path().join("data"), |ledger| ledger);
    agent.decide("run-1").await;
    assert!(agent.handle.delivered(WITHIN).await.complete);
    let (status, mut bundle) = agent.get(&format!("/api/v1/evidence/run-1?tenant={TENANT}")).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&bundle));
    let file = folder.path().join("evidence.zip");
    let check = |bundle: &[u8], key: &VerifierKey| {
        std::fs::write(&file, bundle).unwrap();
        let key = key.to_string();
        let file = file.to_str().unwrap();
        spanledger(&["verify", "--bundle", file, "--key", &key, "--strict"])
    };
    let done = check(&bundle, &agent.key());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    let other = LogKey::generate(agent.key().name()).unwrap();
    assert_eq!(check(&bundle, other.verifier()).status.code(), Some(3));
    let at = bundle.windows(14).position(|it| it == b"over the limit").unwrap();
    bundle[at] ^= 1;
    assert_eq!(check(&bundle, &agent.key()).status.code(), Some(3));
    agent.end().await;
}

/// A call of a tool whose arguments are sealed, and its id.
async fn sealed(agent: &Agent) -> String {
    let call = ToolCall::new("refund").arguments(&json!({ "card": "4929 1234" }));
    let recording = tracing::dispatcher::with_default(&agent.subscriber, || record(call));
    let receipt = recording.await.unwrap();
    agent.id_of(receipt.sequence).await
}

#[tokio::test]
async fn what_is_off_by_default_says_how_it_is_had() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, "audit: {payloads: {mode: full}}\n").unwrap();
    // Nothing listens there: an export that waits.
    let cluster = "http://127.0.0.1:9";
    let agent = Agent::start(&data, |ledger| ledger.config_file(&config).elasticsearch(cluster));
    let id = sealed(&agent).await;
    let path = format!("/api/v1/entries/{id}/payloads?tenant={TENANT}");
    let (status, refused) = agent.json(&path).await;
    assert_eq!(status, 404);
    assert!(refused["detail"].as_str().unwrap().contains("Embedded::show_payloads"), "{refused}");
    let order = json!({ "tenant": TENANT, "actor": "ada", "reason": "request 1" });
    let (status, refused) = agent.post("/api/v1/erasures", &order).await;
    assert_eq!(status, 404);
    assert!(refused["detail"].as_str().unwrap().contains("spanledger erase"), "{refused}");
    // Dead letters are listed, and nothing is done about them.
    let (status, letters) = agent.json("/api/v1/dead-letters").await;
    assert_eq!((status, &letters["open"]), (200, &json!(0)), "{letters}");
    let replay = json!({ "sequences": [1] });
    let (status, refused) = agent.post("/api/v1/dead-letters/replay", &replay).await;
    assert_eq!(status, 503);
    assert!(refused["detail"].as_str().unwrap().contains("spanledger serve"), "{refused}");
    let delivery = agent.handle.shutdown(WITHIN).await;
    assert!(delivery.complete, "{delivery:?}");
    drop(agent);

    let agent = Agent::start(&data, |ledger| ledger.config_file(&config).show_payloads());
    let (status, payloads) = agent.json(&path).await;
    assert_eq!(status, 200, "{payloads:#}");
    let text = payloads["payloads"][0]["text"].as_str().unwrap();
    assert!(text.contains("4929 1234"), "{payloads:#}");
    agent.end().await;
}

/// Received in 2020: older than what is kept.
const OLD_NS: u64 = 1_600_000_000_000_000_000;

const OLD: u64 = 3_000;

/// A data folder in which nobody has worked since 2020, but for a last entry of now: without one the
/// clock would be too far behind to be believed.
async fn old_data(data: &Path, config: &Path) {
    let overrides = Overrides { data: Some(data.to_owned()), ..Overrides::default() };
    let config = Config::load(Some(config), &overrides).unwrap();
    let keys = Keys::open_or_create(&config.keys).unwrap();
    let pseudonym = keys.tenant(&Tenant::new(TENANT).unwrap()).pseudonym();
    let (ledger, _) = Ledger::open(&ledger_dir(data), config.ledger).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_nanos()).unwrap();
    for group in 0..=OLD / 100 {
        let mut batch = Batch::new();
        let is_last = group == OLD / 100;
        for n in group * 100..if is_last { OLD + 1 } else { (group + 1) * 100 } {
            let mut entry = Entry::new(Kind::ToolCall);
            entry.message = Some(format!("canary {n} {}", "x".repeat(900)).into());
            let mut body = Vec::new();
            entry.write(&mut body).unwrap();
            let new = NewEntry {
                id: EntryId(u128::from(n + 1).to_be_bytes()),
                tenant: TENANT,
                tenant_pseudonym: pseudonym,
                retention_class: if is_last { 255 } else { 0 },
                received_ns: if is_last { now } else { OLD_NS + n },
                mapping_version: [0; 8],
                source_key: None,
                commitments: &[],
                sealed: &[],
                body: &body,
            };
            batch.push(&new).unwrap();
        }
        ledger.append(batch).await.unwrap();
    }
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn old_segments_are_packed_and_pruned_in_the_agents_process_and_still_proved() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let config = folder.path().join("config.yaml");
    let text = "ledger: {segment: 1MiB, compress_after: 1ms}\nretention: {every: 1s}\n";
    std::fs::write(&config, text).unwrap();
    old_data(&data, &config).await;
    let agent = Agent::start(&data, |ledger| ledger.config_file(&config));
    let receipt = agent.decide("run-1").await;
    assert!(receipt.sequence > OLD);
    let pruned = look_until(DEADLINE, async || {
        let reader = Reader::open(&ledger_dir(&data)).unwrap();
        reader.get(0).unwrap().filter(|entry| entry.pruned)
    });
    let pruned = pruned.await.expect("the first body goes");
    let is_packed = |name: std::ffi::OsString| name.to_str().unwrap().ends_with(".packed");
    let mut files = ledger_dir(&data).read_dir().unwrap();
    assert!(files.any(|file| is_packed(file.unwrap().file_name())));
    // What went is proved as what is there.
    let path = "/api/v1/log/inclusion?index=0";
    let (status, inclusion) = agent.json(path).await;
    assert_eq!((status, hash(&inclusion["leaf_hash"])), (200, pruned.leaf_hash));
    let head =
        TreeHead { size: inclusion["size"].as_u64().unwrap(), root: hash(&inclusion["root"]) };
    verify_inclusion(&pruned.leaf_hash, 0, &head, &hashes(&inclusion["proof"])).unwrap();
    let id = agent.id_of(receipt.sequence).await;
    proved(&agent.proof_of(&id).await, &agent.key());
    assert_eq!(agent.handle.ledger().unwrap().troubles(), Vec::<String>::new());
    let key = agent.key().to_string();
    agent.end().await;
    let done = spanledger(&["verify", "--data", data.to_str().unwrap(), "--key", &key, "--json"]);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let codes = report["findings"].as_array().unwrap().iter().map(|it| it["code"].clone());
    assert_eq!(codes.collect::<Vec<_>>(), ["retention_trimmed"], "{report:#}");
    assert!(done.status.success());
}

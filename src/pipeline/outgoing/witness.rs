//! Asking a witness: c2sp.org/tlog-witness.

use super::{Changes, RETRY, has_ended, next, pause};
use crate::config::Witness;
use crate::export::chain;
use crate::ledger::PublicLog;
use crate::ledger::checkpoint::{SignedCheckpoint, VerifierKey};
use crate::ledger::proof::consistency;
use crate::pipeline::publish::{Command, PublishStatus};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

/// Largest answer of a witness that is read, bytes: a few lines.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Content type of an answer that says which size a witness signed last.
const SIZE_TYPE: &str = "text/x.tlog.size";

/// What a witness says that signed something else.
const ANOTHER: &str = "it has another tree of that size";

/// Why a witness did not sign.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: String,
    /// Whether it knows another history of this log: that does not pass by itself.
    pub(super) contradicts: bool,
}

impl Refused {
    fn contradiction(why: String) -> Self {
        Self { why, contradicts: true }
    }
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self { why, contradicts: false }
    }
}

impl From<&str> for Refused {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

/// What a witness answered to one request.
enum Answer {
    /// Its signature lines.
    Signed(String),
    /// The size of the tree that it signed last, which is not the one that was said.
    Knows(u64),
}

/// Whether an answer of that content type is the size that a witness signed last. Parameters and case mean
/// nothing (RFC 9110, 8.3.1).
fn says_size(kind: &HeaderValue) -> bool {
    let essence = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(SIZE_TYPE)
}

/// Whether a witness's signature is there already, from before a start.
fn has_signed(key: &VerifierKey, signed: &SignedCheckpoint) -> bool {
    signed.signers().iter().any(|signer| signer.name == key.name() && signer.id == key.id())
}

/// A witness that is asked.
pub(super) struct Asking {
    /// What it is called among the others.
    name: String,
    witness: Witness,
    client: Client,
    log: PublicLog,
    /// Size of the tree that it signed last.
    pub(super) seen: u64,
}

impl Asking {
    pub(super) fn new(name: String, witness: Witness, client: Client, log: PublicLog) -> Self {
        Self { name, witness, client, log, seen: 0 }
    }

    /// Asks for each checkpoint, until nothing more is signed.
    pub(super) async fn run(
        mut self,
        mut changes: Changes,
        status: Arc<PublishStatus>,
        commands: Sender<Command>,
    ) {
        let mut failed = None;
        // What it knows of another history stays in sight until it signs again.
        let mut contradiction = None;
        while let Some(signed) = next(&mut changes, failed.take()).await {
            if has_ended(&changes) {
                // Nobody would keep its signature. It is asked after the next start.
                return;
            }
            let tree = signed.checkpoint.head;
            if has_signed(&self.witness.key, &signed) {
                status.witnesses.took(&self.name, tree);
                continue;
            }
            match self.ask(&signed).await {
                Ok(lines) => {
                    status.cosignatures.fetch_add(1, Ordering::Relaxed);
                    contradiction = None;
                    if status.witnesses.took(&self.name, tree) {
                        tracing::info!(witness = self.name, "a witness signs again");
                    }
                    let key = Box::new(self.witness.key.clone());
                    // The publisher may have ended.
                    let _ = commands.send(Command::Cosigned { of: Box::new(signed), lines, key });
                }
                Err(Refused { why, contradicts }) => {
                    status.witness_failures.fetch_add(1, Ordering::Relaxed);
                    if contradicts {
                        contradiction = Some(why.clone());
                    }
                    let why = contradiction.clone().unwrap_or(why);
                    if status.witnesses.failed(&self.name, &why) {
                        tracing::warn!(witness = self.name, "a witness does not sign: {why}");
                    }
                    failed = Some(signed);
                    pause(&changes, RETRY).await;
                }
            }
        }
    }

    /// Its signature lines for a checkpoint.
    pub(super) async fn ask(&mut self, signed: &SignedCheckpoint) -> Result<String, Refused> {
        let size = signed.checkpoint.head.size;
        // Once more when it says which size it signed last.
        for _ in 0..2 {
            // Smaller than what we remember: then it is asked what it knows.
            self.seen = if self.seen > size { 0 } else { self.seen };
            let old = self.seen;
            let body = self.request(signed).await?;
            let url = format!("{}/add-checkpoint", self.witness.url.as_str().trim_end_matches('/'));
            let answer = self.client.post(url).body(body).send().await;
            let answer = answer.map_err(|error| chain(&error.without_url()))?;
            match self.read(signed, answer).await? {
                Answer::Signed(lines) => {
                    self.seen = size;
                    return Ok(lines);
                }
                Answer::Knows(known) if known == old => {
                    return Err(Refused::contradiction(ANOTHER.to_owned()));
                }
                // Not remembered: when that was a mistake of its own, it is asked again.
                Answer::Knows(known) if known > size => {
                    return Err(Refused::contradiction(format!(
                        "it signed a tree of {known} entries of this log, which has {size}: somebody went \
                         on from an older copy, or it is another log"
                    )));
                }
                Answer::Knows(known) => self.seen = known,
            }
        }
        Err("it said two sizes".into())
    }

    /// The body of a request: the size that it signed last, the proof that this checkpoint continues
    /// that tree, and the checkpoint.
    async fn request(&self, signed: &SignedCheckpoint) -> Result<Vec<u8>, Refused> {
        let (log, old, size) = (self.log.clone(), self.seen, signed.checkpoint.head.size);
        let proof = tokio::task::spawn_blocking(move || consistency(&log, old, size)).await;
        let proof = proof.map_err(|error| error.to_string())?;
        let proof = proof.map_err(|error| chain(&error))?;
        let mut body = format!("old {old}\n").into_bytes();
        for hash in proof {
            body.extend(BASE64_STANDARD.encode(hash).bytes());
            body.push(b'\n');
        }
        body.push(b'\n');
        body.extend(&signed.note);
        Ok(body)
    }

    /// What an answer means. One of its signatures that does not hold is refused here.
    async fn read(
        &self,
        signed: &SignedCheckpoint,
        mut answer: Response,
    ) -> Result<Answer, Refused> {
        let code = answer.status();
        let kind = answer.headers().get(CONTENT_TYPE).cloned();
        let mut text = Vec::new();
        while let Some(some) = answer.chunk().await.map_err(|error| chain(&error.without_url()))? {
            text.extend_from_slice(&some);
            if text.len() > MAX_ANSWER_BYTES {
                return Err("its answer is too long".into());
            }
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        match code {
            StatusCode::OK => {
                let known = std::slice::from_ref(&self.witness.key);
                let with = signed.with_cosignatures(&text, known);
                let with = with.map_err(|error| error.to_string())?;
                if with == *signed {
                    return Err("it did not sign with its key".into());
                }
                Ok(Answer::Signed(text))
            }
            StatusCode::CONFLICT if kind.is_some_and(|kind| says_size(&kind)) => {
                let known = text.trim().parse().ok();
                Ok(Answer::Knows(known.ok_or("it said no size")?))
            }
            StatusCode::CONFLICT => Err(Refused::contradiction(ANOTHER.to_owned())),
            StatusCode::UNPROCESSABLE_ENTITY => Err(Refused::contradiction(format!(
                "it answered {code}: what it signed before is not in this log"
            ))),
            StatusCode::NOT_FOUND => Err("it does not know this log: have it added there".into()),
            StatusCode::FORBIDDEN => {
                Err("it does not know the key that signs this log: have the last \
                                          line of /log/keys added there"
                    .into())
            }
            other => Err(format!("it answered {other}").into()),
        }
    }
}

//! A new key takes over: asked for with a file, done by whoever publishes.

use super::files::{parse, read, remove};
use super::{KEY, LogKeyError, LogKeys, NEXT, OLD};
use crate::ledger::checkpoint::{LogKey, VerifierKey};
use crate::protect::place_private;
use std::fs;
use std::path::Path;

/// A rotation that was asked for.
#[derive(Debug)]
pub(in crate::pipeline) struct Rotation {
    pub(in crate::pipeline) key: LogKey,
    /// Who asked for it.
    pub(in crate::pipeline) actor: String,
    /// When, in nanoseconds since 1970.
    pub(in crate::pipeline) at_ns: u64,
}

impl LogKeys {
    /// Whether a key is there that signs only once more.
    pub(in crate::pipeline) fn is_retiring(&self) -> bool {
        self.retiring.is_some()
    }

    /// A rotation that was asked for. While one key takes over from another it waits.
    pub(in crate::pipeline) fn asked(&self) -> Result<Option<Rotation>, LogKeyError> {
        // IMPORTANT: the old key must sign once more before it goes. Until then the last checkpoint has
        // no signature of the new one, and a third key could never prove that it is the newest.
        if self.is_retiring() {
            return Ok(None);
        }
        let path = self.dir.join(NEXT);
        let Some(text) = read(&path)? else { return Ok(None) };
        let mut lines = text.lines().skip(1);
        let key = parse(&path, &text)?;
        let actor = lines.next().unwrap_or(crate::intake::UNKNOWN_ACTOR).to_owned();
        let at_ns = lines.next().and_then(|line| line.parse().ok()).unwrap_or(0);
        if key.verifier().name() != self.origin() {
            let (found, expected) = (key.verifier().name().to_owned(), self.origin().to_owned());
            return Err(LogKeyError::OtherLog { path, found, expected });
        }
        Ok(Some(Rotation { key, actor, at_ns }))
    }

    /// The statement with which the key in use hands over to another, as a signed note.
    pub(in crate::pipeline) fn statement(&self, next: &VerifierKey) -> String {
        self.current.sign_text(&format!("spanledger key rotation/v1\n{}\n{next}\n", self.origin()))
    }

    /// Puts a key in the place of the one in use, which signs once more. Its statement is on record.
    pub(in crate::pipeline) fn take_over(&mut self, next: LogKey) -> Result<(), LogKeyError> {
        let (key, old) = (self.dir.join(KEY), self.dir.join(OLD));
        remove(&old)?;
        let linked = fs::hard_link(&key, &old);
        linked.map_err(|source| LogKeyError::Io { what: "make", path: old, source })?;
        let renamed = fs::rename(self.dir.join(NEXT), &key);
        renamed.map_err(|source| LogKeyError::Io { what: "replace", path: key, source })?;
        self.sync()?;
        self.retiring = Some(std::mem::replace(&mut self.current, next));
        self.write_public()
    }

    /// The old key signed for the last time.
    pub(in crate::pipeline) fn retire(&mut self) -> Result<(), LogKeyError> {
        if self.retiring.take().is_some() {
            remove(&self.dir.join(OLD))?;
            self.sync()?;
        }
        Ok(())
    }
}

/// Asks for another key of the log whose key is in `keys`: whoever publishes puts it in place, at
/// once if a server runs. Gives its public half.
///
/// # Errors
/// [`LogKeyError`]; nothing is changed then.
pub fn ask_for_rotation(keys: &Path, actor: &str) -> Result<VerifierKey, LogKeyError> {
    let path = keys.join(KEY);
    let text = read(&path)?.ok_or(LogKeyError::None { path: path.clone() })?;
    let current = parse(&path, &text)?;
    let next = keys.join(NEXT);
    if next.exists() {
        return Err(LogKeyError::Asked { path: next });
    }
    let key = LogKey::generate(current.verifier().name());
    let key = key.map_err(|source| LogKeyError::Key { path: next, source })?;
    let text = format!("{}\n{actor}\n{}\n", key.to_private_text(), crate::intake::now_ns());
    place_private(keys, NEXT, text.as_bytes())?;
    Ok(key.verifier().clone())
}

//! Checkpoints: what a log signs, so that others can hold it to it.
//!
//! ```text
//! spanledger/5b0c…e1                      origin: which log
//! 20852163                                size of the tree
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA…    root of the tree
//!
//! — spanledger/5b0c…e1 Az3grlgtzPICa5O…   signature of the log's key
//! — witness.example/w1 jWbPPwAAAABkGFD…   what witnesses signed, if there are any
//! ```
//!
//! Sources: c2sp.org/tlog-checkpoint, c2sp.org/signed-note, c2sp.org/tlog-cosignature.

use super::note::Check;
pub use super::note::{Algorithm, KeyError, LogKey, VerifierKey};
use super::types::{Hash, TreeHead};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use signed_note::{Note, Signature};
use std::fmt;

/// Which log, and its tree at one moment: what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log, for ever the same: `<log.name>/<random number of the ledger>`.
    pub origin: String,
    /// Size and root.
    pub head: TreeHead,
}

/// Why a checkpoint cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is not written like one.
    #[error("this is no checkpoint of a log: {what}")]
    Malformed {
        /// What about it.
        what: &'static str,
    },
    /// There is no signature at all.
    #[error("the checkpoint of {origin} is not signed: it proves nothing")]
    Unsigned {
        /// The log that it names.
        origin: String,
    },
    /// None of the given keys of the log signed it.
    #[error(
        "the checkpoint of {origin} is signed by {signers}, and by none of the keys that were given"
    )]
    UnknownKey {
        /// The log that it names.
        origin: String,
        /// The signers that it names.
        signers: String,
    },
    /// A signature of a given key is not what that key signs.
    #[error(
        "the signature of {signer} on the checkpoint is false: the text was changed, or made up"
    )]
    BadSignature {
        /// Name and id of the key.
        signer: String,
    },
    /// It is another log's.
    #[error("the checkpoint is one of {found}, the key is that of {expected}")]
    WrongOrigin {
        /// The log that it names.
        found: String,
        /// The log that was expected.
        expected: String,
    },
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        let root = BASE64_STANDARD.encode(self.head.root);
        format!("{}\n{}\n{root}\n", self.origin, self.head.size)
    }

    /// Reads such a text; further lines, which other logs may have, are passed over.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = |what| CheckpointError::Malformed { what };
        let body = text.strip_suffix('\n').ok_or(malformed("its text does not end with a line"))?;
        let mut lines = body.split('\n');
        let origin = lines.next().filter(|line| !line.is_empty());
        let origin = origin.ok_or(malformed("the line of its origin is empty"))?;
        let size = lines.next().and_then(decimal).ok_or(malformed("its size is no number"))?;
        let root = lines.next().and_then(hash).ok_or(malformed("its root is no hash in base64"))?;
        if lines.any(str::is_empty) {
            return Err(malformed("it has an empty line"));
        }
        Ok(Self { origin: origin.to_owned(), head: TreeHead { size, root } })
    }
}

/// A decimal number in the only way to write it.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn hash(text: &str) -> Option<Hash> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

/// A key that signed a checkpoint: name and id, and of a witness when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Name of the key.
    pub name: String,
    /// Id of the key.
    pub id: u32,
    /// When a witness signed, in seconds since 1970. A log's signature has no time.
    pub time: Option<u64>,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:08x}", self.name, self.id)
    }
}

/// A checkpoint with its signatures, as it is stored and sent. Whether they hold is told by
/// [`SignedCheckpoint::verify`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What is signed.
    pub checkpoint: Checkpoint,
    /// The whole note, signatures included.
    pub note: Vec<u8>,
}

impl SignedCheckpoint {
    /// Reads a note. A text without any signature is read too: [`SignedCheckpoint::verify`] says
    /// that it is not signed.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`].
    pub fn parse(note: &[u8]) -> Result<Self, CheckpointError> {
        let (text, _) = take_apart(note)?;
        Ok(Self { checkpoint: Checkpoint::parse(text)?, note: note.to_vec() })
    }

    /// Signs a checkpoint with each of those keys: with one, and while a new key takes over with
    /// the old one and the new one.
    ///
    /// # Errors
    /// [`CheckpointError::WrongOrigin`] when a key is that of another log,
    /// [`CheckpointError::Unsigned`] without keys.
    pub fn sign(checkpoint: &Checkpoint, keys: &[&LogKey]) -> Result<Self, CheckpointError> {
        let origin = || checkpoint.origin.clone();
        if let Some(other) = keys.iter().find(|key| key.verifier().name() != checkpoint.origin) {
            let expected = other.verifier().name().to_owned();
            return Err(CheckpointError::WrongOrigin { found: origin(), expected });
        }
        if keys.is_empty() {
            return Err(CheckpointError::Unsigned { origin: origin() });
        }
        let text = checkpoint.text();
        let mut note = format!("{text}\n");
        note.extend(keys.iter().map(|key| key.line(&text)));
        Self::parse(note.as_bytes())
    }

    /// The signers that it names, in their order. Not checked.
    pub fn signers(&self) -> Vec<Signer> {
        let signatures = take_apart(&self.note).map_or_else(|_| Vec::new(), |(_, found)| found);
        let signer = |s: &Signature| Signer { name: s.name().to_owned(), id: s.id(), time: None };
        signatures.iter().map(signer).collect()
    }

    /// Checks it against keys that are trusted. Gives those that signed; at least one of them is a
    /// key of the log that it names. Signatures of other keys count for nothing.
    ///
    /// # Errors
    /// [`CheckpointError`]: do not believe it.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<Vec<Signer>, CheckpointError> {
        let (text, signatures) = take_apart(&self.note)?;
        // What is checked is what the bytes say, whoever filled in the other field.
        let origin = Checkpoint::parse(text)?.origin;
        let mut good: Vec<Signer> = Vec::new();
        let mut by_the_log = false;
        for signature in &signatures {
            let named =
                |key: &&VerifierKey| key.name() == signature.name() && key.id() == signature.id();
            let Some(key) = keys.iter().find(named) else { continue };
            let signer = check(key, text, signature)?;
            by_the_log |= key.algorithm() == Algorithm::Ed25519 && key.name() == origin;
            if !good.iter().any(|known| known.name == key.name() && known.id == key.id()) {
                good.push(signer);
            }
        }
        if by_the_log {
            return Ok(good);
        }
        let mut logs = keys.iter().filter(|key| key.algorithm() == Algorithm::Ed25519);
        match logs.clone().next() {
            Some(other) if !logs.any(|key| key.name() == origin) => {
                let expected = other.name().to_owned();
                Err(CheckpointError::WrongOrigin { found: origin, expected })
            }
            _ if signatures.is_empty() => Err(CheckpointError::Unsigned { origin }),
            _ => {
                let signers: Vec<_> = self.signers().iter().map(Signer::to_string).collect();
                Err(CheckpointError::UnknownKey { origin, signers: signers.join(", ") })
            }
        }
    }

    /// Those of these keys whose signature under it holds. Says nothing of whether its log signed it.
    pub fn signed_by(&self, keys: &[VerifierKey]) -> Vec<Signer> {
        let Ok((text, signatures)) = take_apart(&self.note) else { return Vec::new() };
        let holds = |key: &VerifierKey| {
            let named = |s: &&Signature| s.name() == key.name() && s.id() == key.id();
            signatures.iter().filter(named).find_map(|signature| check(key, text, signature).ok())
        };
        keys.iter().filter_map(holds).collect()
    }

    /// The same checkpoint with more signature lines, as a witness answers them. Lines of keys
    /// that are not among `keys` are left out, and so are those that it has.
    ///
    /// # Errors
    /// [`CheckpointError::BadSignature`] when a line of a known key is false,
    /// [`CheckpointError::Malformed`] when the lines are none.
    pub fn with_cosignatures(
        &self,
        lines: &str,
        keys: &[VerifierKey],
    ) -> Result<Self, CheckpointError> {
        let (text, mut signatures) = take_apart(&self.note)?;
        let mut note = self.note.clone();
        for line in lines.lines() {
            let signature = read_line(line)?;
            let named =
                |key: &&VerifierKey| key.name() == signature.name() && key.id() == signature.id();
            let Some(key) = keys.iter().find(named) else { continue };
            check(key, text, &signature)?;
            let same = |s: &Signature| s.name() == key.name() && s.id() == key.id();
            if !signatures.iter().any(same) {
                note.extend(signature.to_bytes());
                signatures.push(signature);
            }
        }
        Self::parse(&note)
    }
}

/// The text of a note and its signatures.
fn take_apart(note: &[u8]) -> Result<(&str, Vec<Signature>), CheckpointError> {
    let malformed = |what| CheckpointError::Malformed { what };
    let whole = std::str::from_utf8(note).map_err(|_| malformed("it is not text"))?;
    let Some(at) = whole.rfind("\n\n") else {
        return Ok((whole, Vec::new()));
    };
    let (text, rest) = whole.split_at(at.saturating_add(1));
    let lines = rest.strip_prefix('\n').unwrap_or_default();
    if lines.is_empty() {
        return Ok((text, Vec::new()));
    }
    Note::from_bytes(note).map_err(|_| malformed("it is no signed note"))?;
    let signatures = lines.lines().map(read_line).collect::<Result<_, _>>()?;
    Ok((text, signatures))
}

/// Checks one signature of a key that is trusted.
fn check(key: &VerifierKey, text: &str, signature: &Signature) -> Result<Signer, CheckpointError> {
    let signer = |time| Signer { name: key.name().to_owned(), id: key.id(), time };
    match key.check(text, signature.signature()) {
        Check::Holds => Ok(signer(None)),
        Check::HoldsSince(time) => Ok(signer(Some(time))),
        Check::False => Err(CheckpointError::BadSignature { signer: signer(None).to_string() }),
    }
}

/// The text of a signed note that one of these keys signed: for statements about a log, such as the
/// one with which a key hands over to the next.
pub fn signed_text<'n>(note: &'n [u8], keys: &[VerifierKey]) -> Option<&'n str> {
    let (text, signatures) = take_apart(note).ok()?;
    let holds = |signature: &Signature| {
        let named =
            |key: &&VerifierKey| key.name() == signature.name() && key.id() == signature.id();
        keys.iter().filter(named).any(|key| check(key, text, signature).is_ok())
    };
    signatures.iter().any(holds).then_some(text)
}

fn read_line(line: &str) -> Result<Signature, CheckpointError> {
    let what = "a line of signature is not one";
    Signature::from_bytes(line.as_bytes()).map_err(|_| CheckpointError::Malformed { what })
}

impl LogKey {
    /// Signs any text, whose last line ends, as a note: for statements about the log.
    pub fn sign_text(&self, text: &str) -> String {
        format!("{text}\n{}", self.line(text))
    }

    /// Its signature of a text, as a line of a note.
    fn line(&self, text: &str) -> String {
        let (name, id) = (self.verifier().name(), self.verifier().id());
        // A key's name can stand in a note: it was checked when the key was made.
        let line = Signature::new(name.to_owned(), id, self.signature(text));
        let line = line.map(|line| line.to_bytes()).unwrap_or_default();
        String::from_utf8_lossy(&line).into_owned()
    }

    /// Signs a checkpoint of the log that this key is of.
    ///
    /// ```
    /// use spanledger::ledger::TreeHead;
    /// use spanledger::ledger::checkpoint::{Checkpoint, LogKey, SignedCheckpoint};
    /// let key = LogKey::generate("spanledger/0123")?;
    /// let head = TreeHead { size: 7, root: [1; 32] };
    /// let signed = key.sign(&Checkpoint { origin: "spanledger/0123".into(), head })?;
    /// let received = SignedCheckpoint::parse(&signed.note)?;
    /// let signers = received.verify(&[key.verifier().clone()])?;
    /// assert_eq!(signers[0].name, "spanledger/0123");
    /// assert_eq!(received.checkpoint.head, head);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CheckpointError::WrongOrigin`] when it is another log's.
    pub fn sign(&self, checkpoint: &Checkpoint) -> Result<SignedCheckpoint, CheckpointError> {
        SignedCheckpoint::sign(checkpoint, &[self])
    }
}

#[cfg(test)]
mod tests {
    use super::super::note::TestWitness;
    use super::*;
    use signed_note::{StandardSigner, StandardVerifier, VerifierList};

    const ORIGIN: &str = "spanledger/00112233445566778899aabbccddeeff";

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: ORIGIN.to_owned(), head: TreeHead { size: 7, root: [3; 32] } }
    }

    fn key() -> LogKey {
        LogKey::generate(ORIGIN).unwrap()
    }

    #[test]
    fn another_implementation_verifies_what_we_sign_and_we_what_it_signs() {
        let key = key();
        let signed = key.sign(&checkpoint()).unwrap();
        let theirs = StandardVerifier::new(&key.verifier().to_string()).unwrap();
        let note = Note::from_bytes(&signed.note).unwrap();
        note.verify(&VerifierList::new(vec![Box::new(theirs)])).unwrap();

        let mut note = Note::new(checkpoint().text().as_bytes(), &[]).unwrap();
        let theirs = StandardSigner::new(&key.to_private_text()).unwrap();
        note.add_sigs(&[&theirs]).unwrap();
        let received = SignedCheckpoint::parse(&note.to_bytes()).unwrap();
        assert_eq!(received, signed);
        assert_eq!(received.verify(&[key.verifier().clone()]).unwrap().len(), 1);
    }

    #[test]
    fn no_byte_of_a_signed_checkpoint_can_be_changed() {
        let key = key();
        let signed = key.sign(&checkpoint()).unwrap();
        let keys = [key.verifier().clone()];
        for at in 0..signed.note.len() {
            for bit in 0..8 {
                let mut changed = signed.note.clone();
                changed[at] ^= 1 << bit;
                let believed = SignedCheckpoint::parse(&changed).and_then(|c| c.verify(&keys));
                assert!(believed.is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_checkpoint_is_told_apart() {
        let (ours, other) = (key(), LogKey::generate("spanledger/other").unwrap());
        let signed = ours.sign(&checkpoint()).unwrap();
        let verify = |key: &LogKey| signed.verify(&[key.verifier().clone()]);
        assert!(matches!(verify(&key()), Err(CheckpointError::UnknownKey { .. })));
        assert!(matches!(verify(&other), Err(CheckpointError::WrongOrigin { .. })));
        assert!(matches!(signed.verify(&[]), Err(CheckpointError::UnknownKey { .. })));
        for unsigned in [checkpoint().text(), format!("{}\n", checkpoint().text())] {
            let unsigned = SignedCheckpoint::parse(unsigned.as_bytes()).unwrap();
            let refused = unsigned.verify(&[ours.verifier().clone()]);
            assert!(matches!(refused, Err(CheckpointError::Unsigned { .. })));
        }
        let text = String::from_utf8(signed.note).unwrap().replace("\n7\n", "\n8\n");
        let changed = SignedCheckpoint::parse(text.as_bytes()).unwrap();
        let refused = changed.verify(&[ours.verifier().clone()]);
        assert!(matches!(refused, Err(CheckpointError::BadSignature { .. })));
        assert!(matches!(other.sign(&checkpoint()), Err(CheckpointError::WrongOrigin { .. })));
    }

    #[test]
    fn two_keys_sign_while_one_takes_over_from_the_other() {
        let (old, new) = (key(), key());
        let signed = SignedCheckpoint::sign(&checkpoint(), &[&old, &new]).unwrap();
        for one in [&old, &new] {
            assert_eq!(signed.verify(&[one.verifier().clone()]).unwrap().len(), 1);
        }
        let both = [old.verifier().clone(), new.verifier().clone()];
        assert_eq!(signed.verify(&both).unwrap().len(), 2);
    }

    #[test]
    fn a_cosignature_is_kept_when_it_holds_and_never_stands_for_the_log() {
        let (key, witness) = (key(), TestWitness::new("witness.example/w1"));
        let signed = key.sign(&checkpoint()).unwrap();
        let known = [witness.verifier().clone()];
        let line = witness.line(&checkpoint().text(), 1_679_315_147);
        let cosigned = signed.with_cosignatures(&line, &known).unwrap();
        assert_eq!(cosigned.with_cosignatures(&line, &known).unwrap(), cosigned, "once");
        let all = [key.verifier().clone(), witness.verifier().clone()];
        assert_eq!(cosigned.signed_by(&known).len(), 1);
        assert_eq!(signed.signed_by(&known), []);
        let signers = cosigned.verify(&all).unwrap();
        assert_eq!(signers[1].time, Some(1_679_315_147));
        assert!(matches!(cosigned.verify(&known), Err(CheckpointError::UnknownKey { .. })));
        assert_eq!(signed.with_cosignatures(&line, &[]).unwrap(), signed, "of a stranger");
        let other = witness.line("spanledger/x\n1\n\n", 5);
        assert!(signed.with_cosignatures(&other, &known).is_err());
        assert!(signed.with_cosignatures("nonsense", &known).is_err());
    }

    #[test]
    fn a_text_that_is_written_in_another_way_is_no_checkpoint() {
        let root = BASE64_STANDARD.encode([3; 32]);
        for text in [
            String::new(),
            format!("a\n7\n{root}"),
            format!("\n7\n{root}\n"),
            format!("a\n07\n{root}\n"),
            format!("a\n+7\n{root}\n"),
            format!("a\n99999999999999999999\n{root}\n"),
            format!("a\n7\n{root}=\n"),
            "a\n7\nAAAA\n".to_owned(),
            format!("a\n7\n{root}\n\nb\n"),
        ] {
            assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
        }
        let extended = Checkpoint::parse(&format!("a\n{}\n{root}\nmore\n", u64::MAX)).unwrap();
        assert_eq!(extended.head.size, u64::MAX);
    }
}

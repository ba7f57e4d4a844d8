//! Keys of the log and of its witnesses, as [signed notes](https://c2sp.org/signed-note) name them.
//!
//! ```text
//! verifier key   <name>+<id, 8 hex digits>+<base64(algorithm 1 ‖ public key 32)>
//! private key    PRIVATE+KEY+<name>+<id>+<base64(algorithm 1 ‖ seed 32)>
//! id             first 4 bytes of SHA-256(name ‖ "\n" ‖ algorithm ‖ public key)
//! algorithm      1 Ed25519, signs the text; 4 cosignature/v1, signs the text and the time
//! ```

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// A log's: Ed25519 over the text of the note.
    Ed25519,
    /// A witness's: Ed25519 over the time and the text (c2sp.org/tlog-cosignature, `cosignature/v1`).
    Cosignature,
}

impl Algorithm {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Cosignature => 4,
        }
    }
}

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not written like one.
    #[error("a verifier key reads `name+id+base64`, as the line in the log's `log.pub`")]
    Format,
    /// It is not written like a private one.
    #[error("a private key reads `PRIVATE+KEY+name+id+base64`; it is not shown here")]
    PrivateFormat,
    /// It is of a kind that is not known here.
    #[error(
        "key {name:?} has algorithm {found}: only 1 (Ed25519) and 4 (cosignature/v1) are known"
    )]
    Algorithm {
        /// Name in the key.
        name: String,
        /// The algorithm's number.
        found: u8,
    },
    /// Name, id and key do not belong together.
    #[error(
        "the id of key {name:?} is not that of its name and contents: a part of it was changed"
    )]
    Id {
        /// Name in the key.
        name: String,
    },
    /// A name with spaces, control characters or plus signs, or none.
    #[error("{name:?} cannot name a key: it needs at least one character, no space and no `+`")]
    Name {
        /// The name.
        name: String,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a new key: {0}")]
    Random(String),
}

/// Whether a key may have that name.
fn is_name(name: &str) -> bool {
    signed_note::is_key_name_valid(name) && !name.chars().any(char::is_control)
}

fn id_of(name: &str, algorithm: u8, public: &[u8]) -> u32 {
    let digest = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', algorithm])
        .chain_update(public)
        .finalize();
    digest.first_chunk().copied().map_or(0, u32::from_be_bytes)
}

/// The parts of `name+id+base64(algorithm ‖ 32 bytes)`.
fn parts(text: &str) -> Option<(&str, u32, u8, [u8; 32])> {
    let (name, rest) = text.split_once('+')?;
    let (id, key) = rest.split_once('+')?;
    let plain = id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let id = u32::from_str_radix(id, 16).ok().filter(|_| plain && is_name(name))?;
    let key = BASE64_STANDARD.decode(key).ok()?;
    let (algorithm, key) = key.split_first()?;
    Some((name, id, *algorithm, key.try_into().ok()?))
}

/// The public half of a key: who has it can check signatures. As text `name+id+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    algorithm: Algorithm,
    key: VerifyingKey,
}

impl VerifierKey {
    /// Reads `name+id+base64`; white space around it is nothing.
    ///
    /// # Errors
    /// [`KeyError`] when it is no key, or not all of one.
    ///
    /// ```
    /// use spanledger::ledger::checkpoint::VerifierKey;
    /// let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    /// let key = VerifierKey::parse(text)?;
    /// assert_eq!((key.name(), key.to_string().as_str()), ("PeterNeumann", text));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, found, bytes) = parts(text.trim()).ok_or(KeyError::Format)?;
        let algorithm = match found {
            1 => Algorithm::Ed25519,
            4 => Algorithm::Cosignature,
            found => return Err(KeyError::Algorithm { name: name.to_owned(), found }),
        };
        if id != id_of(name, found, &bytes) {
            return Err(KeyError::Id { name: name.to_owned() });
        }
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Format)?;
        Ok(Self { name: name.to_owned(), id, algorithm, key })
    }

    /// Who signs with it: of a log, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells it from other keys of the same name.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it signs.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Checks the signature of a note with that text.
    pub(super) fn check(&self, text: &str, signature: &[u8]) -> Check {
        let Algorithm::Cosignature = self.algorithm else {
            let holds = self.holds(text.as_bytes(), signature);
            return if holds { Check::Holds } else { Check::False };
        };
        let Some((time, signature)) = signature.split_first_chunk() else { return Check::False };
        let time = u64::from_be_bytes(*time);
        let stated = i64::try_from(time).is_ok();
        let holds = stated && self.holds(cosigned(time, text).as_bytes(), signature);
        if holds { Check::HoldsSince(time) } else { Check::False }
    }

    fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = ed25519_dalek::Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

/// What a signature turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Not this key's signature of that text.
    False,
    /// It holds.
    Holds,
    /// It holds and states when it was made, in seconds since 1970.
    HoldsSince(u64),
}

/// What a witness signs.
fn cosigned(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.algorithm.byte()];
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, self.id, BASE64_STANDARD.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text)
    }
}

/// The private key of a log. Its memory is overwritten when it goes.
#[derive(Clone)]
pub struct LogKey {
    key: SigningKey,
    verifier: VerifierKey,
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogKey({}+{:08x}, secret)", self.verifier.name, self.verifier.id)
    }
}

impl LogKey {
    /// A new key of that name, which is the origin of the log that it signs.
    ///
    /// # Errors
    /// [`KeyError::Name`], [`KeyError::Random`].
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| KeyError::Random(error.to_string()))?;
        let key = SigningKey::from_bytes(&seed);
        seed.fill(0);
        std::hint::black_box(&mut seed);
        Self::new(name, key, Algorithm::Ed25519)
    }

    fn new(name: &str, key: SigningKey, algorithm: Algorithm) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name { name: name.to_owned() });
        }
        let public = key.verifying_key();
        let id = id_of(name, algorithm.byte(), public.as_bytes());
        let verifier = VerifierKey { name: name.to_owned(), id, algorithm, key: public };
        Ok(Self { key, verifier })
    }

    /// Reads `PRIVATE+KEY+name+id+base64`; white space around it is nothing.
    ///
    /// # Errors
    /// [`KeyError`], which shows nothing of the key.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let rest = text.trim().strip_prefix("PRIVATE+KEY+").ok_or(KeyError::PrivateFormat)?;
        let (name, id, found, seed) = parts(rest).ok_or(KeyError::PrivateFormat)?;
        if found != Algorithm::Ed25519.byte() {
            return Err(KeyError::Algorithm { name: name.to_owned(), found });
        }
        let key = Self::new(name, SigningKey::from_bytes(&seed), Algorithm::Ed25519)?;
        if key.verifier.id == id { Ok(key) } else { Err(KeyError::Id { name: name.to_owned() }) }
    }

    /// The key as it is stored: a secret.
    pub fn to_private_text(&self) -> String {
        let VerifierKey { name, id, .. } = &self.verifier;
        let mut key = vec![Algorithm::Ed25519.byte()];
        key.extend_from_slice(self.key.as_bytes());
        let text = format!("PRIVATE+KEY+{name}+{id:08x}+{}", BASE64_STANDARD.encode(&key));
        key.fill(0);
        std::hint::black_box(&mut key);
        text
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The signature of a text, for a note.
    pub(super) fn signature(&self, text: &str) -> Vec<u8> {
        self.key.sign(text.as_bytes()).to_bytes().to_vec()
    }
}

/// A witness that signs whatever it is given, for tests.
#[cfg(test)]
pub(crate) struct TestWitness(LogKey);

#[cfg(test)]
impl TestWitness {
    pub(crate) fn new(name: &str) -> Self {
        let seed: [u8; 32] = Sha256::digest(name).into();
        Self(LogKey::new(name, SigningKey::from_bytes(&seed), Algorithm::Cosignature).unwrap())
    }

    pub(crate) fn verifier(&self) -> &VerifierKey {
        self.0.verifier()
    }

    /// Its signature line for a checkpoint of that text.
    pub(crate) fn line(&self, text: &str, time: u64) -> String {
        let mut signature = time.to_be_bytes().to_vec();
        signature.extend(self.0.signature(&cosigned(time, text)));
        let VerifierKey { name, id, .. } = self.verifier();
        let line = signed_note::Signature::new(name.clone(), *id, signature).unwrap();
        String::from_utf8(line.to_bytes()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Go implementation.
    const PRIVATE: &str =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn keys_are_written_as_other_programs_write_them() {
        let key = LogKey::parse(PRIVATE).unwrap();
        assert_eq!(key.verifier().to_string(), PUBLIC);
        assert_eq!(key.to_private_text(), PRIVATE);
        assert_eq!(VerifierKey::parse(&format!(" {PUBLIC}\n")).as_ref(), Ok(key.verifier()));
    }

    #[test]
    fn a_new_key_reads_back_and_no_two_are_the_same() {
        let one = LogKey::generate("spanledger/0").unwrap();
        let two = LogKey::generate("spanledger/0").unwrap();
        assert_ne!(one.verifier(), two.verifier());
        let again = LogKey::parse(&one.to_private_text()).unwrap();
        assert_eq!(again.verifier(), one.verifier());
        signed_note::StandardSigner::new(&one.to_private_text()).unwrap();
        signed_note::StandardVerifier::new(&one.verifier().to_string()).unwrap();
    }

    #[test]
    fn a_key_with_a_changed_letter_is_refused_and_a_secret_is_never_repeated() {
        for (text, other) in [("PeterNeumann", "PeterNewmann"), ("c74f20a3", "c74f20a4")] {
            assert!(VerifierKey::parse(&PUBLIC.replace(text, other)).is_err());
            let error = LogKey::parse(&PRIVATE.replace(text, other)).unwrap_err().to_string();
            assert!(!error.contains("AYEK"), "{error}");
        }
        for text in ["", "a", "a+b", "a+c74f20a3+", "a b+c74f20a3+AA==", "+c74f20a3+AQ=="] {
            assert_eq!(VerifierKey::parse(text), Err(KeyError::Format), "{text:?}");
        }
        assert!(matches!(LogKey::generate("two words"), Err(KeyError::Name { .. })));
        assert!(!format!("{:?}", LogKey::parse(PRIVATE).unwrap()).contains("AYEK"));
    }
}

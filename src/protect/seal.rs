//! Payloads sealed for one subject: what mode `full` keeps of what it takes out of a body.
//!
//! ```text
//!  0         1         17       33      57
//!  ├ version ┼ subject ┼ key id ┼ nonce ┼ XChaCha20-Poly1305(length u32 ‖ zstd(texts)) ┤
//!
//! associated data: version … nonce ‖ entry id ‖ tenant pseudonym
//! texts:  count u32, then of each  kind u8 ‖ flags u8 ‖ place ‖ original ‖ [redacted] ‖ [salt 32]
//!         flags: bit 0 a redacted form follows, bit 1 a salt follows; a text is length u32 ‖ UTF-8
//! ```
//!
//! Integers are little-endian. The associated data ties the bytes to their entry: copied to
//! another one, or to another tenant's, they do not open. What they say is tied to the ledger by
//! the commitments in the leaf and the keyed hashes in the body. Texts are compressed before they
//! are sealed, because nothing can do so afterwards, and a redacted form is nearly its original.

use super::originals::{OriginalsList, original_mark};
use super::settings::payload_kind;
use super::subject_key::{KeyId, Pseudonym, SubjectKey};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

/// Version of the layout, its first byte.
const VERSION: u8 = 1;

/// Bytes before what is encrypted.
const HEADER_LEN: usize = 57;

/// Length of a nonce, bytes: long enough to be drawn at random for as long as a key lives.
const NONCE_LEN: usize = 24;

/// Most bytes of texts that are unpacked, 64 MiB: an entry's payloads came in one request, and
/// none is larger. It keeps damage from asking for more memory.
const MAX_TEXTS: usize = 64 * 1024 * 1024;

/// Level of compression: the fastest, as it is paid for each entry.
const LEVEL: i32 = 1;

const REDACTED: u8 = 1;
const SALT: u8 = 2;

/// A text that was taken out of a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// [`commitment_kind`](super::commitment_kind) of the payload; 0 for a text that was taken
    /// because it holds one.
    pub kind: u8,
    /// Where it stood in the entry: `audit.payload[0]`, `attributes.input.value`.
    pub place: String,
    /// The exact text.
    pub original: String,
    /// The text after redaction, when that is another one.
    pub redacted: Option<String>,
    /// The salt of its mark in the list that the leaf commits to, and of its own commitment when it has
    /// one; `None` in what was sealed before there was that list, for a text without one of its own.
    pub salt: Option<[u8; 32]>,
}

impl Taken {
    /// Whether it is a text of the entry, and not the salt that several payloads share.
    pub fn is_original(&self) -> bool {
        payload_kind(self.kind).is_some() || !self.original.is_empty()
    }
}

/// What the leaf commits to of these texts: see `originals.rs`. `None` when there are
/// none, or one of them has no salt, as before there was such a commitment.
pub fn originals_value(texts: &[Taken]) -> Option<[u8; 32]> {
    let mut list = None::<OriginalsList>;
    for text in texts.iter().filter(|text| text.is_original()) {
        let mark = original_mark(text.salt.as_ref()?, &text.original);
        list.get_or_insert_default().add(text.kind, &text.place, &mark);
    }
    list.map(OriginalsList::value)
}

/// Whose sealed bytes are: the part of them that anybody can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedFor {
    /// Stands for the subject.
    pub subject: Pseudonym,
    /// The key that opens it.
    pub key: KeyId,
}

/// Why sealed bytes cannot be made or read. Nothing of a payload is in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealedBytesError {
    /// The bytes are of another version, or no sealed bytes.
    #[error("the sealed bytes are of a version that this program does not know")]
    Version,
    /// The bytes do not open with their key.
    #[error("the sealed bytes are not what was sealed for this entry: they were changed or moved")]
    Forged,
    /// The bytes open, and what is in them makes no sense.
    #[error("the sealed payloads were written by another program")]
    Layout,
    /// The payloads are too large.
    #[error("the payloads of the entry are larger than {MAX_TEXTS} bytes: send less in one record")]
    TooLarge,
    /// They cannot be compressed.
    #[error("the payloads of the entry cannot be compressed: memory is short")]
    Compress,
}

/// Seals texts for the entry with that id, of the tenant with that pseudonym.
///
/// # Errors
/// [`SealedBytesError::TooLarge`], [`SealedBytesError::Compress`].
pub(super) fn seal(
    texts: &[Taken],
    subject: &Pseudonym,
    key: &SubjectKey,
    nonce: [u8; NONCE_LEN],
    id: &[u8; 16],
    tenant: &[u8; 16],
) -> Result<Vec<u8>, SealedBytesError> {
    let plain = encode(texts);
    let length = u32::try_from(plain.len()).ok().filter(|_| plain.len() <= MAX_TEXTS);
    let length = length.ok_or(SealedBytesError::TooLarge)?;
    let packed = zstd::bulk::compress(&plain, LEVEL).map_err(|_| SealedBytesError::Compress)?;
    let message = [&length.to_le_bytes()[..], &packed].concat();
    let mut out = Vec::with_capacity(message.len().saturating_add(HEADER_LEN).saturating_add(16));
    out.push(VERSION);
    out.extend_from_slice(&subject.0);
    out.extend_from_slice(&key.id().0);
    out.extend_from_slice(&nonce);
    let aad = [&out[..], id, tenant].concat();
    let cipher = XChaCha20Poly1305::new(&(*key.secret()).into());
    let sealed = cipher.encrypt(&XNonce::from(nonce), Payload { msg: &message, aad: &aad });
    out.extend_from_slice(&sealed.map_err(|_| SealedBytesError::TooLarge)?);
    Ok(out)
}

/// Whose sealed bytes are.
///
/// # Errors
/// [`SealedBytesError::Version`].
pub(super) fn sealed_for(sealed: &[u8]) -> Result<SealedFor, SealedBytesError> {
    let header = sealed.first_chunk::<HEADER_LEN>().ok_or(SealedBytesError::Version)?;
    let mut input = Input(header);
    let known = input.byte() == Some(VERSION);
    match (known, input.array(), input.array()) {
        (true, Some(subject), Some(key)) => {
            Ok(SealedFor { subject: Pseudonym(subject), key: KeyId(key) })
        }
        _ => Err(SealedBytesError::Version),
    }
}

/// The texts in sealed bytes.
///
/// # Errors
/// [`SealedBytesError`]: these are not the bytes that were sealed with this key for this entry.
pub(super) fn open(
    sealed: &[u8],
    key: &SubjectKey,
    id: &[u8; 16],
    tenant: &[u8; 16],
) -> Result<Vec<Taken>, SealedBytesError> {
    sealed_for(sealed)?;
    let (header, body) = sealed.split_at_checked(HEADER_LEN).ok_or(SealedBytesError::Version)?;
    let nonce = header.last_chunk::<NONCE_LEN>().ok_or(SealedBytesError::Version)?;
    let aad = [header, id, tenant].concat();
    let cipher = XChaCha20Poly1305::new(&(*key.secret()).into());
    let message = cipher
        .decrypt(&XNonce::from(*nonce), Payload { msg: body, aad: &aad })
        .map_err(|_| SealedBytesError::Forged)?;
    let (length, packed) = message.split_first_chunk::<4>().ok_or(SealedBytesError::Layout)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > MAX_TEXTS {
        return Err(SealedBytesError::Layout);
    }
    let plain = zstd::bulk::decompress(packed, length).map_err(|_| SealedBytesError::Layout)?;
    decode(&plain).ok_or(SealedBytesError::Layout)
}

fn encode(texts: &[Taken]) -> Vec<u8> {
    let mut out = Vec::new();
    put_length(texts.len(), &mut out);
    for text in texts {
        let redacted = if text.redacted.is_some() { REDACTED } else { 0 };
        let salt = if text.salt.is_some() { SALT } else { 0 };
        out.extend_from_slice(&[text.kind, redacted | salt]);
        let texts = [Some(&text.place), Some(&text.original), text.redacted.as_ref()];
        for text in texts.into_iter().flatten() {
            put_length(text.len(), &mut out);
            out.extend_from_slice(text.as_bytes());
        }
        out.extend(text.salt.into_iter().flatten());
    }
    out
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

fn decode(plain: &[u8]) -> Option<Vec<Taken>> {
    let mut input = Input(plain);
    let count = input.length()?;
    let mut texts = Vec::new();
    for _ in 0..count {
        let (kind, flags) = (input.byte()?, input.byte()?);
        let (place, original) = (input.text()?, input.text()?);
        let redacted = if flags & REDACTED == 0 { None } else { Some(input.text()?) };
        let salt = if flags & SALT == 0 { None } else { Some(input.array()?) };
        texts.push(Taken { kind, place, original, redacted, salt });
    }
    input.0.is_empty().then_some(texts)
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SUBJECT: Pseudonym = Pseudonym([1; 16]);
    const ID: [u8; 16] = [2; 16];
    const TENANT: [u8; 16] = [3; 16];

    fn key(byte: u8) -> SubjectKey {
        SubjectKey::new(KeyId([byte; 16]), [byte; 32])
    }

    fn taken(original: &str) -> Taken {
        Taken {
            kind: 1,
            place: "audit.payload[0]".to_owned(),
            original: original.to_owned(),
            redacted: Some(original.replace("secret", "[REDACTED]")),
            salt: Some([9; 32]),
        }
    }

    fn sealed(texts: &[Taken]) -> Vec<u8> {
        seal(texts, &SUBJECT, &key(7), [4; 24], &ID, &TENANT).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_and_shows_nothing_without() {
        let text = "refund order 1042, the secret word is canary".repeat(50);
        let sealed = sealed(&[taken(&text), Taken::default()]);
        assert!(memchr::memmem::find(&sealed, b"canary").is_none());
        assert!(sealed.len() < text.len(), "it is compressed: {}", sealed.len());
        let whose = SealedFor { subject: SUBJECT, key: KeyId([7; 16]) };
        assert_eq!(sealed_for(&sealed), Ok(whose));
        assert_eq!(open(&sealed, &key(7), &ID, &TENANT), Ok(vec![taken(&text), Taken::default()]));
        let other = SubjectKey::new(KeyId([7; 16]), [8; 32]);
        assert_eq!(open(&sealed, &other, &ID, &TENANT), Err(SealedBytesError::Forged));
    }

    #[test]
    fn bytes_of_another_entry_or_tenant_do_not_open() {
        let sealed = sealed(&[taken("a")]);
        assert_eq!(open(&sealed, &key(7), &[0; 16], &TENANT), Err(SealedBytesError::Forged));
        assert_eq!(open(&sealed, &key(7), &ID, &[0; 16]), Err(SealedBytesError::Forged));
    }

    #[test]
    fn each_byte_counts() {
        let sealed = sealed(&[taken("abc")]);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&changed, &key(7), &ID, &TENANT).is_err(), "byte {at}");
            assert!(open(&sealed[..at], &key(7), &ID, &TENANT).is_err(), "{at} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_texts_come_back(
            kinds in proptest::collection::vec((any::<u8>(), ".*", any::<Option<String>>()), 0..8),
        ) {
            let texts: Vec<_> = kinds
                .into_iter()
                .map(|(kind, original, redacted)| Taken {
                    kind,
                    place: original.chars().rev().collect(),
                    original,
                    redacted,
                    salt: (kind % 2 == 0).then_some([kind; 32]),
                })
                .collect();
            prop_assert_eq!(open(&sealed(&texts), &key(7), &ID, &TENANT), Ok(texts));
        }

        #[test]
        fn any_bytes_are_refused_and_never_panic(bytes: Vec<u8>) {
            prop_assert!(open(&bytes, &key(7), &ID, &TENANT).is_err());
            let _ = decode(&bytes);
        }
    }
}

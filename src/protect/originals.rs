//! The commitment to the exact originals of an entry, which somebody without any key can check.
//!
//! ```text
//! of each original   mark = HMAC-SHA256(salt, text)         the salt is random, and sealed with the text
//! in the leaf        a commitment of the kind 254:
//!                    SHA-256("spanledger originals/v1\n" ‖ of each  kind u8 ‖ length of place u32 ‖ place ‖ mark)
//! ```
//!
//! Integers are little-endian, a place is UTF-8. The keyed hashes in the body prove a text to who has
//! the tenant's key, and that key would let him guess all others; this proves it to who was given the
//! text and its salt. Who was given some of the originals, and the marks of the others, can check as much.
//! Without its salt a mark says nothing of a text, and the salt goes with the key when it is erased.

use super::keys::keyed;
use super::salt::SALT_LEN;
use hmac::Mac as _;
use sha2::{Digest as _, Sha256};

/// Kind of the commitment. Part of the ledger's format.
pub const ORIGINALS_KIND: u8 = 254;

/// What the list begins with, so that its hash is never one of something else.
const DOMAIN: &[u8] = b"spanledger originals/v1\n";

/// The mark of an original.
pub fn original_mark(salt: &[u8; SALT_LEN], text: &str) -> [u8; 32] {
    let mut mac = keyed(salt);
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// The value of the commitment, built from the originals in the order in which they are sealed.
///
/// ```
/// use spanledger::protect::{OriginalsList, original_mark};
/// let mut list = OriginalsList::default();
/// list.add(1, "audit.payload[0]", &original_mark(&[7; 32], "refund order 1042"));
/// let value = list.value();
/// let mut other = OriginalsList::default();
/// other.add(1, "audit.payload[0]", &original_mark(&[7; 32], "refund order 1043"));
/// assert_ne!(value, other.value());
/// ```
#[derive(Debug, Clone)]
pub struct OriginalsList(Sha256);

impl Default for OriginalsList {
    fn default() -> Self {
        Self(Sha256::new_with_prefix(DOMAIN))
    }
}

impl OriginalsList {
    /// Adds the next original: its [`commitment_kind`](super::commitment_kind) or 0, where it stood in
    /// the entry, and its mark.
    pub fn add(&mut self, kind: u8, place: &str, mark: &[u8; 32]) {
        let length = u32::try_from(place.len()).unwrap_or(u32::MAX);
        self.0.update([kind]);
        self.0.update(length.to_le_bytes());
        self.0.update(place.as_bytes());
        self.0.update(mark);
    }

    /// What the leaf has of the list.
    pub fn value(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of one original.
    fn value(kind: u8, place: &str, salt: [u8; 32], text: &str) -> [u8; 32] {
        let mut list = OriginalsList::default();
        list.add(kind, place, &original_mark(&salt, text));
        list.value()
    }

    #[test]
    fn everything_that_is_said_of_an_original_counts() {
        let stated = value(1, "audit.payload[0]", [7; 32], "text");
        for other in [
            value(2, "audit.payload[0]", [7; 32], "text"),
            value(1, "audit.payload[1]", [7; 32], "text"),
            value(1, "audit.payload[0]", [8; 32], "text"),
            value(1, "audit.payload[0]", [7; 32], "tex"),
            value(1, "audit.payload[0]", [7; 32], ""),
        ] {
            assert_ne!(other, stated);
        }
    }

    #[test]
    fn the_order_and_the_number_of_originals_count() {
        let list = |texts: &[&str]| {
            let mut list = OriginalsList::default();
            for text in texts {
                list.add(1, "a", &original_mark(&[7; 32], text));
            }
            list.value()
        };
        let all = [list(&[]), list(&["a"]), list(&["b"]), list(&["a", "b"]), list(&["b", "a"])];
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn a_mark_is_the_hmac_that_others_compute() {
        // python3 -c 'import hmac; print(hmac.digest(b"\x0b" * 32, b"Hi There", "sha256").hex())'
        let mark = original_mark(&[0x0b; 32], "Hi There");
        let number = |half: usize| u128::from_be_bytes(mark[half..half + 16].try_into().unwrap());
        let shown = format!("{:032x}{:032x}", number(0), number(16));
        assert_eq!(shown, "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7");
    }
}

//! The 64-bit key under which an index lists an id.
//!
//! A key is SipHash-1-3 over tenant, namespace and the canonical id, under a secret of the index:
//! nobody who chooses ids can make many of them fall together. Two ids that do by chance cost one
//! look at an entry, since every hit is checked against the entry itself.

use super::id::TraceReading;
use super::{Id, Namespace};

/// Where an index lists an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u64);

/// Makes keys. The secret belongs to the index and is kept with it.
#[derive(Debug, Clone, Copy)]
pub struct KeyMaker {
    secret: (u64, u64),
}

/// Tells the kinds of canonical ids apart in what is hashed.
const TEXT: u8 = 0;
const FULL: u8 = 1;
const LOW: u8 = 2;

impl KeyMaker {
    /// A maker of keys under that secret.
    pub fn new(secret: [u8; 16]) -> Self {
        let [a, b] = [first_half(&secret), second_half(&secret)];
        Self { secret: (a, b) }
    }

    /// Every key of an id, once: one for nearly all ids, two for sixteen decimal digits, which
    /// can be read as hexadecimal too. Two spellings of one id have a key in common.
    ///
    /// ```
    /// use spanledger::correlate::{Id, KeyMaker, Namespace};
    /// let keys = KeyMaker::new([7; 16]);
    /// let of = |text| keys.keys("acme", &Id::new(Namespace::Trace, text)).next();
    /// assert_eq!(of("4bf92f3577b34da6a3ce929d0e0e4736"), of("11803532876627986230"));
    /// ```
    pub fn keys(&self, tenant: &str, id: &Id<'_>) -> impl Iterator<Item = Key> + use<> {
        let reading = match id.namespace {
            Namespace::Trace => TraceReading::of(&id.text),
            _ => TraceReading::default(),
        };
        // A 128-bit id is listed under its low half alone: whoever knows all of it finds it there
        // too, and the entry says the rest.
        let first = match (reading.low_hex, reading.full) {
            (Some(low), _) => Some(self.key(tenant, id.namespace, LOW, &low.to_le_bytes())),
            (None, Some(full)) => Some(self.key(tenant, id.namespace, FULL, &full.to_le_bytes())),
            (None, None) => None,
        };
        let second =
            reading.low_decimal.map(|low| self.key(tenant, id.namespace, LOW, &low.to_le_bytes()));
        let verbatim = (first.is_none() && second.is_none())
            .then(|| self.key(tenant, id.namespace, TEXT, id.text.as_bytes()));
        first.into_iter().chain(second).chain(verbatim)
    }

    /// The key of bytes that are not an id but are listed like one. `code` is outside those of
    /// [`Namespace::code`].
    pub fn other(&self, tenant: &str, code: u8, bytes: &[u8]) -> Key {
        self.hash(&[tenant.as_bytes(), &[0, code, TEXT], bytes])
    }

    fn key(&self, tenant: &str, namespace: Namespace, kind: u8, bytes: &[u8]) -> Key {
        self.hash(&[tenant.as_bytes(), &[0, namespace.code(), kind], bytes])
    }

    fn hash(&self, parts: &[&[u8]]) -> Key {
        let mut sip = Sip13::new(self.secret);
        for part in parts {
            sip.write(part);
        }
        Key(sip.finish())
    }
}

fn first_half(secret: &[u8; 16]) -> u64 {
    secret.first_chunk().map_or(0, |half| u64::from_le_bytes(*half))
}

fn second_half(secret: &[u8; 16]) -> u64 {
    secret.last_chunk().map_or(0, |half| u64::from_le_bytes(*half))
}

/// SipHash-1-3. The standard library has it too, but promises neither keys nor the same result in
/// the next version; keys on disk need both.
///
/// Source: Aumasson and Bernstein, "`SipHash`: a fast short-input PRF".
struct Sip13 {
    state: [u64; 4],
    /// Bytes that do not fill a word yet, and how many they are.
    tail: u64,
    tail_len: u32,
    length: u8,
}

impl Sip13 {
    fn new((k0, k1): (u64, u64)) -> Self {
        Self {
            state: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
            tail: 0,
            tail_len: 0,
            length: 0,
        }
    }

    fn write(&mut self, mut bytes: &[u8]) {
        // Only the low eight bits of the length are hashed.
        self.length = self.length.wrapping_add(u8::try_from(bytes.len() & 0xff).unwrap_or(0));
        while self.tail_len != 0 {
            let Some((byte, rest)) = bytes.split_first() else { return };
            self.push(*byte);
            bytes = rest;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.push(*byte);
        }
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.tail |= u64::from(byte) << self.tail_len.wrapping_mul(8);
        self.tail_len = self.tail_len.wrapping_add(1);
        if self.tail_len == 8 {
            let word = std::mem::take(&mut self.tail);
            self.tail_len = 0;
            self.word(word);
        }
    }

    #[inline]
    fn word(&mut self, word: u64) {
        let [_, _, _, v3] = &mut self.state;
        *v3 ^= word;
        self.round();
        let [v0, ..] = &mut self.state;
        *v0 ^= word;
    }

    #[inline]
    fn round(&mut self) {
        let [v0, v1, v2, v3] = &mut self.state;
        *v0 = v0.wrapping_add(*v1);
        *v1 = v1.rotate_left(13) ^ *v0;
        *v0 = v0.rotate_left(32);
        *v2 = v2.wrapping_add(*v3);
        *v3 = v3.rotate_left(16) ^ *v2;
        *v0 = v0.wrapping_add(*v3);
        *v3 = v3.rotate_left(21) ^ *v0;
        *v2 = v2.wrapping_add(*v1);
        *v1 = v1.rotate_left(17) ^ *v2;
        *v2 = v2.rotate_left(32);
    }

    fn finish(mut self) -> u64 {
        let last = self.tail | (u64::from(self.length) << 56);
        self.word(last);
        let [_, _, v2, _] = &mut self.state;
        *v2 ^= 0xff;
        for _ in 0..3 {
            self.round();
        }
        self.state.iter().fold(0, |all, v| all ^ v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::{DefaultHasher, Hasher};

    proptest! {
        // The standard library's hasher is SipHash-1-3 with a key of zeros today: an oracle, not
        // a dependency.
        #[test]
        fn it_is_siphash_1_3(parts: Vec<Vec<u8>>) {
            let mut oracle = DefaultHasher::new();
            let mut sip = Sip13::new((0, 0));
            for part in &parts {
                oracle.write(part);
                sip.write(part);
            }
            prop_assert_eq!(sip.finish(), oracle.finish());
        }

        #[test]
        fn two_spellings_of_one_id_have_a_key_in_common(id: u128, small in 0..100_u128) {
            let keys = KeyMaker::new([3; 16]);
            for id in [id, small] {
                let low = u64::try_from(id & u128::from(u64::MAX)).unwrap();
                let spellings =
                    [format!("{id:032x}"), format!("{id:032X}"), format!("{low:016x}"), low.to_string()];
                for a in &spellings {
                    for b in &spellings {
                        if super::super::same_id(Namespace::Trace, a, b) {
                            let of = |text: &String| -> Vec<Key> {
                                keys.keys("t", &Id::new(Namespace::Trace, text.as_str())).collect()
                            };
                            prop_assert!(of(a).iter().any(|key| of(b).contains(key)), "{a} {b}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn tenant_namespace_and_secret_all_count() {
        let key = |secret, tenant, namespace| {
            KeyMaker::new([secret; 16]).keys(tenant, &Id::new(namespace, "1")).next().unwrap()
        };
        let all = [
            key(1, "a", Namespace::Run),
            key(2, "a", Namespace::Run),
            key(1, "b", Namespace::Run),
            key(1, "a", Namespace::Job),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|other| other != one));
        }
        assert_eq!(key(1, "a", Namespace::Run), all[0], "and nothing else does");
    }
}

//! The frames of a segment, changed by somebody who mends every checksum and length: what only a hash
//! in the leaf finds. A second implementation of the layout at the head of `src/ledger/mod.rs`.
#![allow(dead_code, reason = "each test file uses its part of it")]

use std::ops::Range;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 4] = [0xF7, b'S', b'L', 0xFE];

/// Places of the fields of a frame.
const CRC: usize = 4;
const KIND: usize = 8;
const FLAGS: usize = 10;
const LENGTH: usize = 12;
const SEQUENCE: usize = 16;
const BODY_CRC: usize = 64;
const GROUP_BYTES: usize = 64;
const TENANT_LEN: usize = 169;
const SEALED_LEN: usize = 172;
const HEAD_LEN: usize = 176;

/// What the kind of an entry's frame is.
const ENTRY: u8 = 1;

/// Bytes of a stored commitment.
const COMMITMENT_LEN: usize = 65;

/// The flag of an entry that was pruned.
const PRUNED: u8 = 4;

/// Where each frame of a segment is.
pub(crate) fn places(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = bytes.windows(4).position(|window| window == MAGIC).unwrap();
    while at < bytes.len() {
        let length = number(bytes, at + LENGTH);
        found.push(at..at + length);
        at += length;
    }
    assert_eq!(at, bytes.len());
    found
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn put(bytes: &mut [u8], at: usize, number: usize) {
    bytes[at..at + 4].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
}

/// CRC-32C (RFC 3720, appendix B.4), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 * (crc & 1)))
    })
}

/// The frames of a segment file.
#[derive(Clone)]
pub(crate) struct Frames {
    path: PathBuf,
    header: Vec<u8>,
    all: Vec<Vec<u8>>,
}

impl Frames {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let places = places(&bytes);
        let header = bytes[..places[0].start].to_vec();
        let frames = places.into_iter().map(|place| bytes[place].to_vec()).collect();
        Self { path: path.to_owned(), header, all: frames }
    }

    /// Name of the file.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// Places of the entries among the frames.
    pub(crate) fn entries(&self) -> Vec<usize> {
        (0..self.all.len()).filter(|nth| self.all[*nth][KIND] == ENTRY).collect()
    }

    /// Sequence of the entry at that place.
    pub(crate) fn sequence(&self, nth: usize) -> u64 {
        u64::from_le_bytes(self.all[nth][SEQUENCE..SEQUENCE + 8].try_into().unwrap())
    }

    /// What is sealed beside the entry at that place.
    pub(crate) fn sealed(&self, nth: usize) -> Vec<u8> {
        self.all[nth][self.place(nth)].to_vec()
    }

    /// Seals something else beside the entry at that place.
    pub(crate) fn set_sealed(&mut self, nth: usize, sealed: &[u8]) {
        let place = self.place(nth);
        self.all[nth].splice(place, sealed.iter().copied());
        put(&mut self.all[nth], SEALED_LEN, sealed.len());
    }

    /// Takes sealed bytes and body of the entry at that place out as retention does.
    pub(crate) fn prune(&mut self, nth: usize) {
        let head = self.place(nth).start;
        self.all[nth][head..].fill(0);
        self.all[nth][FLAGS] |= PRUNED;
    }

    /// Writes the segment, with every length and checksum as it belongs.
    pub(crate) fn write(mut self) {
        let mut group = 0_u64;
        for nth in 0..self.all.len() {
            let is_entry = self.all[nth][KIND] == ENTRY;
            let head = if is_entry { self.place(nth).start } else { self.all[nth].len() };
            let frame = &mut self.all[nth];
            let length = frame.len();
            put(frame, LENGTH, length);
            if is_entry {
                let crc = crc32c(&frame[head..]);
                put(frame, BODY_CRC, crc as usize);
                group += length as u64;
            } else {
                frame[GROUP_BYTES..GROUP_BYTES + 8].copy_from_slice(&group.to_le_bytes());
                group = 0;
            }
            let crc = crc32c(&frame[KIND..head]);
            put(frame, CRC, crc as usize);
        }
        std::fs::write(&self.path, [self.header, self.all.concat()].concat()).unwrap();
    }

    /// Where the sealed bytes are in the frame at that place.
    fn place(&self, nth: usize) -> Range<usize> {
        let frame = &self.all[nth];
        let commitments = usize::from(frame[TENANT_LEN + 1]) * COMMITMENT_LEN;
        let start = HEAD_LEN + usize::from(frame[TENANT_LEN]) + commitments;
        start..start + number(frame, SEALED_LEN)
    }
}

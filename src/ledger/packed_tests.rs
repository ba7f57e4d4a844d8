use super::*;
use proptest::prelude::*;

/// Packs those bytes behind a header of zeros.
fn pack(path: &Path, bytes: &[u8]) -> Vec<u8> {
    let header = [0; HEADER_LEN];
    let mut packer = Packer::begin(path, &header).unwrap();
    for part in bytes.chunks(70_000) {
        packer.push(part).unwrap();
    }
    let length = packer.finish().unwrap();
    assert_eq!(path.metadata().unwrap().len(), length);
    [&header[..], bytes].concat()
}

fn open(path: &Path) -> Packed {
    Packed::open(File::open(path).unwrap()).unwrap().unwrap()
}

/// Bytes that do not compress to nothing.
fn noise(length: usize) -> Vec<u8> {
    let next = |n: u64| n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    std::iter::successors(Some(7), |n| Some(next(*n)))
        .map(|n| n.to_be_bytes()[0] & 0x3F)
        .take(length)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_packed_is_read_again_from_everywhere(
        length in prop_oneof![0..3_usize, BLOCK_BYTES - 1..BLOCK_BYTES + 2, 0..900_000_usize],
        reads in prop::collection::vec((any::<prop::sample::Index>(), 0..700_000_usize), 1..8),
        once: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let all = pack(&path, &noise(length));
        let packed = open(&path);
        prop_assert_eq!(packed.logical(), all.len() as u64);
        for (from, most) in reads {
            let from = from.index(all.len() + 1);
            let mut buffer = vec![0; most];
            let n = packed.read(&mut buffer, from as u64, once).unwrap();
            prop_assert!(buffer[..n] == all[from..(from + most).min(all.len())]);
        }
    }
}

#[test]
fn damage_to_a_block_reads_as_damage_in_its_place_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let all = pack(&path, &noise(3 * BLOCK_BYTES));
    let mut file = std::fs::read(&path).unwrap();
    let second = HEADER_LEN + to_usize(open(&path).blocks[0].end);
    file[second] ^= 1;
    std::fs::write(&path, file).unwrap();
    let mut found = vec![0; all.len()];
    assert_eq!(open(&path).read(&mut found, 0, false).unwrap(), all.len());
    let (start, end) = (HEADER_LEN + BLOCK_BYTES, HEADER_LEN + 2 * BLOCK_BYTES);
    assert!(found[..start] == all[..start] && found[end..] == all[end..]);
    assert!(found[start..end].iter().all(|byte| *byte == DAMAGED));
}

#[test]
fn no_flipped_byte_of_the_tables_goes_unnoticed_and_none_makes_it_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    pack(&path, &noise(2 * BLOCK_BYTES + 5));
    let file = std::fs::read(&path).unwrap();
    for at in to_usize(open(&path).blocks[2].end)..file.len() {
        let mut flipped = file.clone();
        flipped[at] ^= 0x80;
        std::fs::write(&path, flipped).unwrap();
        assert!(Packed::open(File::open(&path).unwrap()).unwrap().is_err(), "byte {at}");
    }
    for length in 0..60 {
        std::fs::write(&path, &file[..length]).unwrap();
        assert!(Packed::open(File::open(&path).unwrap()).unwrap().is_err(), "{length} bytes");
    }
}

/// A file with tables and a footer that agree with each other, and that many bytes between them and
/// the header.
fn forged(path: &Path, packed: usize, logical: u64, classes: u32) {
    let blocks = u32::try_from((logical - HEADER_LEN as u64).div_ceil(BLOCK.into())).unwrap();
    let mut file = vec![0; HEADER_LEN + packed];
    let end = file.len() as u64;
    let mut tables = Vec::new();
    for _ in 0..blocks {
        tables.extend_from_slice(&end.to_le_bytes());
        tables.extend_from_slice(&[0; 4]);
    }
    tables.resize(tables.len() + classes as usize * CLASS_ENTRY, 0);
    let mut footer = [0; FOOTER_LEN];
    put(&mut footer, 0, &MAGIC);
    put(&mut footer, 8, &FORMAT_VERSION.to_le_bytes());
    put(&mut footer, 12, &BLOCK.to_le_bytes());
    put(&mut footer, 16, &blocks.to_le_bytes());
    put(&mut footer, 20, &classes.to_le_bytes());
    put(&mut footer, 24, &logical.to_le_bytes());
    put(&mut footer, 32, &crc32c(&tables).to_le_bytes());
    let crc = crc32c(&footer[..36]);
    put(&mut footer, 36, &crc.to_le_bytes());
    file.extend_from_slice(&tables);
    file.extend_from_slice(&footer);
    std::fs::write(path, file).unwrap();
}

#[test]
fn lengths_that_no_segment_has_are_refused_although_their_checksums_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let longest = zstd::zstd_safe::compress_bound(BLOCK_BYTES);
    let one = (HEADER_LEN + BLOCK_BYTES) as u64;
    for (packed, logical, classes, is_taken) in [
        (longest, one, 256, true),
        (longest + 1, one, 0, false),
        (longest, one, 257, false),
        (longest, MAX_LOGICAL, 0, true),
        (longest, MAX_LOGICAL + 1, 0, false),
    ] {
        forged(&path, packed, logical, classes);
        let opened = Packed::open(File::open(&path).unwrap()).unwrap();
        assert_eq!(opened.is_ok(), is_taken, "{packed} {logical} {classes}");
    }
}

use super::*;
use crate::ledger::sealed::{SEALED_KIND, SealedState};
use crate::ledger::types::Commitment;
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Given {
    id: [u8; 16],
    tenant: String,
    source_key: Option<[u8; 16]>,
    commitments: Vec<Commitment>,
    sealed: Vec<u8>,
    body: Vec<u8>,
    place: (u64, u64, bool),
}

fn given() -> impl Strategy<Value = Given> {
    let commitment = (0..SEALED_KIND, any::<[u8; 32]>(), any::<[u8; 32]>())
        .prop_map(|(kind, value, salt)| Commitment { kind, value, salt });
    (
        any::<[u8; 16]>(),
        "[a-z]{1,64}",
        any::<Option<[u8; 16]>>(),
        prop::collection::vec(commitment, 0..4),
        prop::collection::vec(any::<u8>(), 0..60),
        prop::collection::vec(any::<u8>(), 0..300),
        any::<(u64, u64, bool)>(),
    )
        .prop_map(|(id, tenant, source_key, commitments, sealed, body, place)| Given {
            id,
            tenant,
            source_key,
            commitments,
            sealed,
            body,
            place,
        })
}

impl Given {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let entry = NewEntry {
            id: EntryId(self.id),
            tenant: &self.tenant,
            tenant_pseudonym: [7; 16],
            retention_class: 3,
            received_ns: 5,
            mapping_version: [6; 8],
            source_key: self.source_key,
            commitments: &self.commitments,
            sealed: &self.sealed,
            body: &self.body,
        };
        lay_out(&entry, &mut bytes);
        assert_eq!(bytes.len(), length_of(&entry));
        let (sequence, tenant_sequence, conflict) = self.place;
        place(&mut bytes, sequence, tenant_sequence, conflict, &mut Vec::new()).expect("laid out");
        bytes
    }
}

fn a_seal() -> Seal {
    let head = TreeHead { size: 9, root: [4; 32] };
    Seal { close: false, first: 7, head, bytes: 1234, time_ns: 5 }
}

proptest! {
    #[test]
    fn what_is_laid_out_and_placed_decodes_to_itself(given in given(), after: Vec<u8>) {
        let mut bytes = given.encode();
        let length = bytes.len();
        bytes.extend_from_slice(&after);
        let (frame, found) = decode(&bytes).unwrap();
        prop_assert_eq!(found, length);
        let Frame::Entry(entry) = frame else { panic!("a seal") };
        prop_assert_eq!((entry.id.0, entry.tenant), (given.id, given.tenant.as_str()));
        prop_assert_eq!(entry.source_key, given.source_key);
        let commitments: Vec<_> = entry.commitments.iter().collect();
        let own = sealed::commitment(&given.sealed);
        let expected: Vec<_> = given.commitments.iter().copied().chain(own).collect();
        prop_assert_eq!(commitments, expected);
        let bound = if given.sealed.is_empty() { SealedState::Absent } else { SealedState::Bound };
        prop_assert_eq!(entry.sealed_state(), bound);
        prop_assert_eq!((entry.sealed, entry.body), (&given.sealed[..], &given.body[..]));
        prop_assert_eq!(entry.body_hash, Hash::from(Sha256::digest(&given.body)));
        let place = (entry.sequence, entry.tenant_sequence, entry.conflict);
        prop_assert_eq!(place, given.place);
        prop_assert_eq!(entry.leaf_hash, crate::ledger::merkle::leaf_hash(&entry.leaf_record()));
        let stored = entry.to_stored();
        prop_assert_eq!(stored.as_ref(), entry);
        prop_assert_eq!(decode_head(&bytes), Ok((Some(given.place.0), length)));
        prop_assert_eq!(entry_again(&bytes), Some(entry));
    }

    #[test]
    fn a_pruned_frame_has_its_length_and_leaf_and_nothing_of_its_contents(given in given()) {
        let mut bytes = given.encode();
        let before = bytes.clone();
        prop_assert_eq!(prune(&mut bytes), Ok(given.sealed.len() + given.body.len()));
        prop_assert_eq!(prune(&mut bytes), Ok(0));
        let (Frame::Entry(old), Frame::Entry(new)) =
            (decode(&before).unwrap().0, decode(&bytes).unwrap().0)
        else { panic!("a seal") };
        prop_assert_eq!(before.len(), bytes.len());
        prop_assert_eq!(old.leaf_record(), new.leaf_record());
        prop_assert_eq!(new.sealed_state(), SealedState::Absent);
        prop_assert!(new.pruned && new.body.is_empty() && new.sealed.is_empty());
        prop_assert!(new.commitments.iter().all(|commitment| commitment.salt == [0; 32]));
        let same = EntryRef { pruned: true, sealed: b"", body: b"", commitments: new.commitments, ..old };
        prop_assert_eq!(same, new);
        let contents = bytes.len() - given.sealed.len() - given.body.len();
        prop_assert!(bytes[contents..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_frame_cut_short_is_incomplete_never_damaged(
        given in given(),
        cut: prop::sample::Index,
    ) {
        let bytes = given.encode();
        let kept = &bytes[..cut.index(bytes.len())];
        let incomplete = matches!(decode(kept), Err(FrameError::Incomplete { .. }));
        prop_assert!(incomplete);
    }

    #[test]
    fn a_flipped_bit_never_goes_unnoticed(
        given in given(),
        bit: prop::sample::Index,
        pruned: bool,
    ) {
        let mut bytes = given.encode();
        if pruned {
            prune(&mut bytes).unwrap();
        }
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn no_input_makes_it_panic(mut input: Vec<u8>, given in given(), at: prop::sample::Index) {
        let _ = decode(&input);
        let frame = given.encode();
        input.splice(0..0, frame[..at.index(frame.len())].iter().copied());
        let _ = (decode(&input), decode_head(&input));
    }
}

#[test]
fn a_seal_reads_back_and_no_flipped_bit_of_it_goes_unnoticed() {
    for close in [false, true] {
        let seal = Seal { close, ..a_seal() };
        let bytes = seal.encode();
        assert_eq!(decode(&bytes), Ok((Frame::Seal(seal), SEAL_LEN)));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn the_bytes_of_version_1_do_not_change() {
    let given = Given {
        id: [1; 16],
        tenant: "default".into(),
        source_key: Some([2; 16]),
        commitments: vec![Commitment { kind: 3, value: [4; 32], salt: [5; 32] }],
        sealed: Vec::new(),
        body: b"{}".to_vec(),
        place: (6, 7, true),
    };
    let hash = |bytes: &[u8]| crate::ledger::bytes::Hex(&Sha256::digest(bytes)[..8]).to_string();
    assert_eq!(hash(&given.encode()), "bc7a3731ebb243d1");
    assert_eq!(hash(&a_seal().encode()), "cd29e7eced90ee11");
}

#[test]
fn a_frame_of_a_later_version_is_named_not_called_damage() {
    let mut bytes = a_seal().encode();
    bytes[KIND + 1] = VERSION + 1;
    close_head(&mut bytes, SEAL_LEN);
    assert_eq!(decode(&bytes), Err(FrameError::Layout));
}

#[test]
fn no_text_looks_like_a_frame() {
    assert!([0, 3].iter().all(|at| String::from_utf8(MAGIC[*at..=*at].to_vec()).is_err()));
}

//! What witnesses sign, put together: one checkpoint with the signatures of as many of them as possible.
//!
//! ```text
//! signature of a checkpoint ─► with the last checkpoint, while it is that one   (log/checkpoint)
//!                           └► with what others signed of it ─► the one that most have signed (log/cosigned)
//! ```
//!
//! Witnesses answer at their own pace, and meanwhile the log goes on. So the last few checkpoints that they
//! were given are remembered, and the one with the most signatures stands for all: who asks for a quorum
//! finds it under one note.

use crate::ledger::checkpoint::{CheckpointError, SignedCheckpoint, VerifierKey};
use crate::ledger::{PublicLog, PublicLogError};
use std::collections::VecDeque;

/// Checkpoints that are remembered: a slow witness may answer the ninth after the one that it was asked for,
/// since one a second is given and a request takes ten at most.
const MAX_REMEMBERED: usize = 16;

/// Why a signature is not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum CosignError {
    #[error(transparent)]
    Log(#[from] PublicLogError),
    #[error(transparent)]
    Signature(#[from] CheckpointError),
}

/// The last checkpoints that witnesses signed.
#[derive(Debug, Default)]
pub(super) struct Cosigning(VecDeque<SignedCheckpoint>);

impl Cosigning {
    /// Keeps what a witness signed.
    pub(super) fn keep(
        &mut self,
        log: &PublicLog,
        of: &SignedCheckpoint,
        lines: &str,
        key: &VerifierKey,
    ) -> Result<(), CosignError> {
        let keys = std::slice::from_ref(key);
        let same = |other: &SignedCheckpoint| other.checkpoint == of.checkpoint;
        if let Some(last) = log.checkpoint()?.filter(same) {
            log.publish(&last.with_cosignatures(lines, keys)?)?;
        }
        let at = self.0.iter().position(same);
        let before = at.and_then(|at| self.0.remove(at));
        let with = before.as_ref().unwrap_or(of).with_cosignatures(lines, keys)?;
        if self.0.len() >= MAX_REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(with);
        // Of those with as many signatures the one of the largest tree.
        let weight = |it: &&SignedCheckpoint| (witnesses(it), it.checkpoint.head.size);
        if let Some(best) = self.0.iter().max_by_key(weight) {
            log.publish_cosigned(best)?;
        }
        Ok(())
    }
}

/// How many signed it beside the log.
fn witnesses(signed: &SignedCheckpoint) -> usize {
    signed.signers().iter().filter(|signer| signer.name != signed.checkpoint.origin).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::checkpoint::{Checkpoint, LogKey};
    use crate::ledger::{TestWitness, TreeHead};

    #[test]
    fn a_checkpoint_that_more_have_signed_stays_until_another_has_as_many() {
        let dir = tempfile::tempdir().unwrap();
        let log = PublicLog::open(dir.path());
        let key = LogKey::generate("spanledger/0").unwrap();
        let [one, two] = ["a.example/w", "b.example/w"].map(TestWitness::new);
        let signed = |size| {
            let head = TreeHead { size, root: [1; 32] };
            let origin = "spanledger/0".to_owned();
            SignedCheckpoint::sign(&Checkpoint { origin, head }, &[&key]).unwrap()
        };
        let mut cosigning = Cosigning::default();
        let mut keep = |witness: &TestWitness, size: u64| {
            let of = signed(size);
            let line = witness.line(&of.checkpoint.text(), 1_700_000_000);
            cosigning.keep(&log, &of, &line, witness.verifier()).unwrap();
            let kept = log.cosigned().unwrap().unwrap();
            (kept.checkpoint.head.size, witnesses(&kept))
        };
        log.publish(&signed(3)).unwrap();
        assert_eq!(keep(&one, 3), (3, 1));
        assert_eq!(witnesses(&log.checkpoint().unwrap().unwrap()), 1, "it is the last one");
        log.publish(&signed(5)).unwrap();
        assert_eq!(keep(&two, 3), (3, 2));
        assert_eq!(witnesses(&log.checkpoint().unwrap().unwrap()), 0, "it is another");
        assert_eq!(keep(&one, 5), (3, 2));
        assert_eq!(keep(&two, 5), (5, 2));
        // One that is no longer there keeps nobody from being seen for ever.
        for size in 6..22 {
            keep(&one, size);
        }
        assert_eq!(keep(&one, 22), (22, 1));
    }
}

//! What witnesses sign, put together: one checkpoint with the signatures of as many of them as possible.
//!
//! ```text
//! signature of a checkpoint ─► with the last checkpoint, while it is that one      (log/checkpoint)
//!                           └► with what others signed of it ─┬► the one that most ever signed   (log/cosigned)
//!                                                             └► the one that most signed lately (log/cosigned.latest)
//! ```
//!
//! Witnesses answer at their own pace, and meanwhile the log goes on. So the last few checkpoints that they
//! were given are remembered. The one with the most signatures of the witnesses that are configured stands for
//! all, and gives way only to one with as many: who asks for a quorum finds it under one note, whoever is away
//! and however often the log is started. Who asks for fewer finds a newer one beside it.

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

/// The last checkpoints that witnesses signed, and the one that most of them did.
#[derive(Debug)]
pub(super) struct Cosigning {
    /// The witnesses that count, each once.
    witnesses: Vec<VerifierKey>,
    recent: VecDeque<SignedCheckpoint>,
}

impl Cosigning {
    /// With those witnesses.
    pub(super) fn by<'a>(witnesses: impl IntoIterator<Item = &'a VerifierKey>) -> Self {
        let mut all = Vec::new();
        for key in witnesses {
            if !all.contains(key) {
                all.push(key.clone());
            }
        }
        Self { witnesses: all, recent: VecDeque::new() }
    }

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
        let kept = kept(log, of)?;
        let at = self.recent.iter().position(same);
        let before = at.and_then(|at| self.recent.remove(at));
        // From before a start, when it is no longer remembered here.
        let before = before.or_else(|| kept.clone().filter(same));
        let with = before.as_ref().unwrap_or(of).with_cosignatures(lines, keys)?;
        if self.recent.len() >= MAX_REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(with);
        let Some(best) = self.recent.iter().max_by_key(|it| self.weight(it)) else { return Ok(()) };
        if kept.as_ref().is_none_or(|kept| self.weight(kept) <= self.weight(best)) {
            log.publish_cosigned(best)?;
        }
        Ok(log.publish_latest_cosigned(best)?)
    }

    /// How many of the witnesses signed it; of those with as many the largest tree counts.
    fn weight(&self, signed: &SignedCheckpoint) -> (usize, u64) {
        (signed.signed_by(&self.witnesses).len(), signed.checkpoint.head.size)
    }
}

/// What is kept of the log of that checkpoint. A file that is no checkpoint keeps nothing.
fn kept(log: &PublicLog, of: &SignedCheckpoint) -> Result<Option<SignedCheckpoint>, CosignError> {
    match log.cosigned() {
        Ok(kept) => Ok(kept.filter(|it| it.checkpoint.origin == of.checkpoint.origin)),
        Err(PublicLogError::Checkpoint { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::checkpoint::{Checkpoint, LogKey};
    use crate::ledger::{TestWitness, TreeHead};

    fn names(signed: Option<SignedCheckpoint>) -> (u64, usize) {
        let signed = signed.unwrap();
        (signed.checkpoint.head.size, signed.signers().len() - 1)
    }

    #[test]
    fn the_checkpoint_that_most_witnesses_signed_stays_until_another_has_as_many() {
        let dir = tempfile::tempdir().unwrap();
        let log = PublicLog::open(dir.path());
        let key = LogKey::generate("spanledger/0").unwrap();
        let [one, two] = ["a.example/w", "b.example/w"].map(TestWitness::new);
        let signed = |size| {
            let head = TreeHead { size, root: [1; 32] };
            let origin = "spanledger/0".to_owned();
            SignedCheckpoint::sign(&Checkpoint { origin, head }, &[&key]).unwrap()
        };
        let both = [one.verifier(), two.verifier(), one.verifier()];
        let mut cosigning = Cosigning::by(both);
        let keep = |cosigning: &mut Cosigning, witness: &TestWitness, size: u64| {
            let of = signed(size);
            let line = witness.line(&of.checkpoint.text(), 1_700_000_000);
            cosigning.keep(&log, &of, &line, witness.verifier()).unwrap();
            (names(log.cosigned().unwrap()), names(log.latest_cosigned().unwrap()))
        };
        log.publish(&signed(3)).unwrap();
        assert_eq!(keep(&mut cosigning, &one, 3), ((3, 1), (3, 1)));
        assert_eq!(names(log.checkpoint().unwrap()), (3, 1), "it is the last one");
        log.publish(&signed(5)).unwrap();
        // A start in between forgets nothing.
        cosigning = Cosigning::by(both);
        assert_eq!(keep(&mut cosigning, &two, 3), ((3, 2), (3, 2)));
        assert_eq!(names(log.checkpoint().unwrap()), (5, 0), "it is another");
        assert_eq!(keep(&mut cosigning, &one, 5), ((3, 2), (3, 2)));
        assert_eq!(keep(&mut cosigning, &two, 5), ((5, 2), (5, 2)));
        // One is away for long: who wants both finds both, and who wants one finds what is new.
        for size in 6..22 {
            keep(&mut cosigning, &one, size);
        }
        assert_eq!(keep(&mut cosigning, &one, 22), ((5, 2), (22, 1)));
        cosigning = Cosigning::by(both);
        assert_eq!(keep(&mut cosigning, &one, 23), ((5, 2), (23, 1)));
        assert_eq!(keep(&mut cosigning, &two, 23), ((23, 2), (23, 2)));
        // One that is configured no longer counts for nothing.
        cosigning = Cosigning::by([one.verifier()]);
        assert_eq!(keep(&mut cosigning, &one, 24), ((24, 1), (24, 1)));
        // What somebody broke keeps nothing from being kept.
        std::fs::write(dir.path().join(crate::ledger::COSIGNED_FILE), "rubbish").unwrap();
        assert_eq!(keep(&mut cosigning, &one, 25), ((25, 1), (25, 1)));
    }
}

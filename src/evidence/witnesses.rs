//! Whether those signed whom somebody trusts to have seen the log grow.

use super::folder::Kept;
use super::verdict::{Code, Findings, Place};
use crate::ledger::checkpoint::{Signer, VerifierKey};
use std::fmt;

/// Witnesses that somebody trusts, and how many of them have to have signed.
#[derive(Debug, Clone)]
pub struct Witnesses {
    /// Their keys.
    pub keys: Vec<VerifierKey>,
    /// How many of them.
    pub quorum: usize,
}

/// A checkpoint that enough witnesses signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// Size of its tree: so many entries nobody can take back any more.
    pub size: u64,
    /// Who signed it, and when.
    pub by: Vec<Signer>,
}

impl fmt::Display for Witnessed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries, by ", self.size)?;
        for (at, signer) in self.by.iter().enumerate() {
            let time = jiff::Timestamp::from_second(
                signer.time.and_then(|time| i64::try_from(time).ok()).unwrap_or(0),
            );
            let time = time.map_or_else(|_| "?".to_owned(), |time| time.to_string());
            write!(f, "{}{signer} at {time}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Witnesses {
    /// The largest of these checkpoints that enough of them signed; a finding when there is none.
    /// Whether the log contains it is told by who compares it with the log.
    pub fn check(&self, checkpoints: &[Kept], findings: &mut Findings) -> Option<Witnessed> {
        let signed = checkpoints.iter().map(|kept| Witnessed {
            size: kept.signed.checkpoint.head.size,
            by: kept.signed.signed_by(&self.keys),
        });
        let signed: Vec<Witnessed> = signed.collect();
        let most = signed.iter().map(|it| it.by.len()).max().unwrap_or(0);
        let enough = signed.into_iter().filter(|it| it.by.len() >= self.quorum);
        let found = enough.max_by_key(|it| it.size);
        if found.is_none() {
            let text = format!(
                "{most} of the {} witnesses that were given signed one checkpoint, and {} have to",
                self.keys.len(),
                self.quorum
            );
            findings.add(Code::Unwitnessed, Place::default(), text);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use crate::ledger::checkpoint::{Checkpoint, LogKey, SignedCheckpoint};
    use crate::ledger::{TestWitness, TreeHead};

    #[test]
    fn the_largest_checkpoint_that_enough_of_the_given_witnesses_signed_counts() {
        let key = LogKey::generate("spanledger/0").unwrap();
        let all = ["a.example/w", "b.example/w", "c.example/w"].map(TestWitness::new);
        let kept = |size: u64, by: &[&TestWitness]| {
            let head = TreeHead { size, root: [1; 32] };
            let checkpoint = Checkpoint { origin: "spanledger/0".to_owned(), head };
            let mut signed = SignedCheckpoint::sign(&checkpoint, &[&key]).unwrap();
            for witness in by {
                let line = witness.line(&checkpoint.text(), 1_700_000_000 + size);
                let keys = [witness.verifier().clone()];
                signed = signed.with_cosignatures(&line, &keys).unwrap();
            }
            Kept { name: size.to_string(), signed }
        };
        let [a, b, c] = &all;
        // Twice the same witness is one.
        let checkpoints = [kept(9, &[a, a]), kept(5, &[a, b]), kept(3, &[a, b, c])];
        let keys: Vec<_> = all.iter().map(|witness| witness.verifier().clone()).collect();
        for (given, quorum, wanted) in
            [(3, 1, Some(9)), (3, 2, Some(5)), (3, 3, Some(3)), (1, 1, Some(9)), (2, 2, Some(5))]
        {
            let mut findings = Findings::default();
            let witnesses = Witnesses { keys: keys[..given].to_vec(), quorum };
            let found = witnesses.check(&checkpoints, &mut findings);
            assert_eq!(found.map(|it| it.size), wanted, "{quorum} of {given}");
            assert_eq!(findings.verdict(), Verdict::Ok);
        }
        let mut findings = Findings::default();
        let only = Witnesses { keys: vec![keys[2].clone()], quorum: 1 };
        assert_eq!(only.check(&checkpoints[..2], &mut findings), None);
        assert!(findings.has(Code::Unwitnessed) && findings.verdict() == Verdict::Compromised);
        let mut findings = Findings::default();
        let all = Witnesses { keys, quorum: 3 };
        let shown = all.check(&checkpoints, &mut findings).unwrap().to_string();
        assert!(shown.starts_with("3 entries, by a.example/w+"), "{shown}");
        assert!(shown.contains(" at 2023-11-14T22:13:23Z"), "{shown}");
    }
}

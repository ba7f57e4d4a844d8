//! What entries, acts and a checkpoint come to: for who makes a bundle and for who checks one.

use super::acts::{Acts, Handover};
use super::check::{
    KeySource, Trust, check_bodiless, check_item, check_newest, check_order, signers,
};
use super::format::{Brief, CHECKPOINT, Item, MANIFEST, Manifest, hex, proof_name};
use super::verdict::{Code, Findings, Place, Verdict};
use crate::access::Tenant;
use crate::ledger::TreeHead;
use crate::ledger::checkpoint::{CheckpointError, SignedCheckpoint};
use std::collections::BTreeSet;

/// Entries as they go by: what is found of them, and what stays.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Those of the story, in its order.
    pub(super) entries: Vec<Brief>,
    /// What was found of single ones.
    findings: Findings,
    /// Versions of the mappings that made the bodies.
    versions: BTreeSet<[u8; 8]>,
}

impl Seen {
    /// Looks at an entry of the story, whose body stands there in the bundle.
    pub(super) fn look(&mut self, item: &Item, brief: Brief, head: Option<&TreeHead>) {
        check_item(item, head, &mut self.findings);
        self.versions.insert(item.leaf.mapping_version);
        self.entries.push(brief);
    }

    /// Versions of the mappings that made the bodies.
    pub(super) fn mapping_versions(&self) -> Vec<String> {
        self.versions.iter().map(|version| hex(version)).collect()
    }

    /// Entries without a body.
    pub(super) fn bodiless(&self) -> impl Iterator<Item = &Brief> {
        self.entries.iter().filter(|entry| entry.body.is_none())
    }
}

/// Everything that a signature is to cover.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) seen: &'a Seen,
    /// Entries of the log about itself.
    pub(super) acts: &'a [Item],
    pub(super) checkpoint: Option<&'a SignedCheckpoint>,
}

/// What it comes to.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) findings: Findings,
    /// Who signed the checkpoint, of those that are known.
    pub(super) signers: Vec<String>,
    /// The hand-overs by which a key was reached that was not known.
    pub(super) handovers: Vec<Handover>,
    /// The keys that are known then.
    pub(super) trust: Option<Trust>,
}

impl Case<'_> {
    /// Judges it with these keys.
    pub(super) fn judge(&self, trust: &Trust) -> Judged {
        let mut judged = Judged::default();
        let mut about = Findings::default();
        let acts = self.acts(&mut about);
        self.signature(&acts, trust, &mut judged);
        let findings = &mut judged.findings;
        let manifest = self.manifest;
        if self.seen.entries.is_empty() && manifest.elsewhere.is_empty() {
            findings.add(Code::Missing, Place::file(MANIFEST), "the bundle has no entry");
        }
        findings.append(self.seen.findings.clone());
        check_order(&self.seen.entries, findings);
        findings.append(about);
        check_bodiless(&self.seen.entries, &acts, findings);
        for id in &manifest.elsewhere {
            let text = format!("entry {id} of the story is in another ledger");
            findings.weigh(Code::Missing, Verdict::Partial, Place::default(), text);
        }
        if manifest.truncated {
            let text = "the story has more entries than the bundle";
            findings.weigh(Code::Missing, Verdict::Partial, Place::default(), text);
        }
        judged
    }

    /// The entries of the log about itself: proved as all others, and of one tenant, the
    /// installation's own.
    fn acts(&self, findings: &mut Findings) -> Acts {
        let head = self.checkpoint.map(|it| &it.checkpoint.head);
        for item in self.acts {
            check_item(item, head, findings);
        }
        let briefs: Vec<Brief> = self.acts.iter().map(|item| item.brief(None)).collect();
        check_order(&briefs, findings);
        let stories = self.seen.entries.first().map(|it| it.leaf.tenant_pseudonym);
        let is_own = self.manifest.tenant == Tenant::system().name();
        for act in briefs.iter().filter(|act| !is_own && Some(act.leaf.tenant_pseudonym) == stories)
        {
            let place = Place::file(proof_name(act.sequence)).of_entry(act.sequence);
            findings.add(Code::FieldMismatch, place, "a tenant cannot speak for the log");
        }
        Acts::read(self.acts, findings)
    }

    fn signature(&self, acts: &Acts, trust: &Trust, judged: &mut Judged) {
        let (place, findings) = (Place::file(CHECKPOINT), &mut judged.findings);
        let Some(signed) = self.checkpoint else {
            if trust.from == KeySource::Given {
                let text = "a key was given, and the bundle has no signed checkpoint";
                findings.weigh(Code::Unsigned, Verdict::Compromised, place, text);
            } else {
                findings.add(Code::Unsigned, place, "there is no signed checkpoint");
            }
            return;
        };
        let mut reached = trust.clone();
        let handovers = acts.follow(&mut reached.keys);
        // Who signed is known by a hand-over only where no key that was given signed itself.
        let is_handed =
            matches!(signed.verify(&trust.keys), Err(CheckpointError::UnknownKey { .. }))
                && signed.verify(&reached.keys).is_ok();
        judged.signers =
            signers(signed, if is_handed { &reached } else { trust }, &place, findings);
        let last = handovers.last().filter(|_| !judged.signers.is_empty());
        if let (Some(last), Some(newest)) = (last, reached.keys.last()) {
            match signed.verify(&reached.keys) {
                // Also that of a key between the two.
                Err(error @ CheckpointError::BadSignature { .. }) => {
                    findings.add(Code::BadSignature, place.clone(), error.to_string());
                }
                _ => check_newest(signed, newest, &last.to_string(), &place, findings),
            }
        }
        if is_handed {
            judged.handovers = handovers;
        }
        judged.trust = Some(reached);
        if signed.checkpoint.origin != self.manifest.origin {
            let text = format!("it is of the log {:?}", signed.checkpoint.origin);
            findings.add(Code::WrongOrigin, place, text);
        }
    }
}

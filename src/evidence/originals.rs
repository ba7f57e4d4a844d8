//! Originals in a bundle: what mode `full` sealed, opened for who reads the bundle to check.
//!
//! ```text
//! payloads/N.json   {"sequence": N, "payloads": [{kind, place, salt, commitment, text}, …]}
//!                   {"sequence": N, "withheld": "erased", "payloads": []}
//!
//! text ─ HMAC-SHA256(salt) ─► commitment ─ list of all ─► SHA-256 ─► kind 254 in the leaf record
//! ```
//!
//! They are there only when they were asked for, and the manifest says that they were: a file that is
//! missing then is told. What is withheld is told, whatever the reason: nothing in a bundle proves one,
//! so leaving out an original can never look like a bundle that is whole. The list is of every original of an entry, so one that
//! is left out, added, moved or changed is found; what was changed is named.

use super::format::{Item, hex, unhex};
use super::verdict::{Code, Finding, Findings, Place, Verdict};
use crate::intake::Opener;
use crate::ledger::{EntryRef, Hash};
use crate::protect::{ORIGINALS_KIND, OriginalsList, SealError, commitment_kind, original_mark};
use serde::{Deserialize, Serialize};

/// Where they stand in a bundle.
const FOLDER: &str = "payloads/";

/// The file with the originals of an entry.
pub(super) fn originals_name(sequence: u64) -> String {
    format!("{FOLDER}{sequence:020}.json")
}

/// Whether a finding is about the originals in a bundle.
pub fn is_about_originals(finding: &Finding) -> bool {
    finding.place.file.as_ref().is_some_and(|file| file.starts_with(FOLDER))
}

/// The originals of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Originals {
    /// Its place in the ledger.
    sequence: u64,
    /// Why they are not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    withheld: Option<Withheld>,
    /// In the order in which they were sealed.
    payloads: Vec<Original>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Original {
    /// Kind of the payload as commitments have it; 0 for a text that was taken because it holds one.
    kind: u8,
    /// Where it stood in the entry.
    place: String,
    /// Its salt, 64 hexadecimal digits.
    salt: String,
    /// HMAC-SHA256(salt, text), 64 hexadecimal digits.
    commitment: String,
    /// The exact text.
    text: String,
}

/// Why originals are not in a bundle that was to have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Withheld {
    /// They were erased.
    Erased,
    /// Their key is not in the folder of keys.
    KeyMissing,
    /// They do not open, or are not what the leaf commits to: the server's log says why.
    NotOpened,
    /// A version sealed them whose leaves have nothing to check them against.
    EarlierVersion,
}

impl Originals {
    /// The originals that are sealed beside an entry; `None` when none are. Blocks.
    pub(super) fn of(entry: &EntryRef<'_>, opener: &Opener) -> Option<Self> {
        let sequence = entry.sequence;
        let withheld = |why| Some(Self { sequence, withheld: Some(why), payloads: Vec::new() });
        let texts = match opener.open(entry) {
            Ok(texts) if texts.is_empty() => return None,
            Ok(texts) => texts,
            Err(SealError::Pruned) => return None,
            Err(SealError::Erased { .. }) => return withheld(Withheld::Erased),
            Err(SealError::Missing { .. }) => return withheld(Withheld::KeyMissing),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, sequence, "sealed payloads could not be opened");
                return withheld(Withheld::NotOpened);
            }
        };
        if entry.commitments.iter().all(|it| it.kind != ORIGINALS_KIND) {
            return withheld(Withheld::EarlierVersion);
        }
        let payloads = texts.into_iter().filter_map(|it| {
            let salt = it.salt?;
            Some(Original {
                kind: it.kind.map_or(0, commitment_kind),
                place: it.place,
                salt: hex(&salt),
                commitment: hex(&original_mark(&salt, &it.original)),
                text: it.original,
            })
        });
        Some(Self { sequence, withheld: None, payloads: payloads.collect() })
    }
}

/// What a bundle has of originals, while it is checked.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Entries whose originals are there.
    entries: usize,
    /// Entries of which there is a file that says why they are not there.
    withheld: usize,
    /// Whether they were asked for.
    asked: bool,
    /// Entries that have originals, of which the bundle has no file.
    without: Vec<u64>,
}

impl Shown {
    /// Nothing of a bundle yet, which says whether originals were asked for.
    pub(super) fn new(asked: bool) -> Self {
        Self { asked, ..Self::default() }
    }

    /// Checks the originals of an entry against its leaf. `file` is `None` when there is no such file.
    pub(super) fn look(&mut self, item: &Item, file: Option<&[u8]>, findings: &mut Findings) {
        let sequence = item.proof.sequence;
        let stated = item.leaf.commitments.iter().find(|(kind, _)| *kind == ORIGINALS_KIND);
        let Some(file) = file else {
            if stated.is_some() && !item.proof.pruned {
                self.without.push(sequence);
            }
            return;
        };
        let place = || Place::file(originals_name(sequence)).of_entry(sequence);
        let read = serde_json::from_slice::<Originals>(file);
        let is_withheld = read.as_ref().is_ok_and(|found| found.withheld.is_some());
        let count = if is_withheld { &mut self.withheld } else { &mut self.entries };
        *count = count.saturating_add(1);
        match read {
            Ok(found) if item.proof.pruned && !found.payloads.is_empty() => {
                findings.add(Code::Missing, place(), "there are originals of a pruned entry");
            }
            Ok(found) if found.sequence != sequence => {
                findings.add(Code::OutOfOrder, place(), "the originals are of another entry");
            }
            Ok(found) => check(&found, stated.map(|(_, value)| value), &place, findings),
            Err(_) => findings.add(Code::HashMismatch, place(), "the originals cannot be read"),
        }
    }

    /// Tells of originals that a bundle leaves out for which they were asked, or which has those of other
    /// entries. Gives the number of entries whose originals are there.
    pub(super) fn finish(self, findings: &mut Findings) -> usize {
        let has_some = self.asked || self.entries > 0 || self.withheld > 0;
        if let Some(first) = self.without.first().filter(|_| has_some) {
            let text = format!(
                "the bundle is one with originals, and has none of {} entries whose leaves commit to some",
                self.without.len()
            );
            let place = Place::file(originals_name(*first)).of_entry(*first);
            findings.weigh(Code::Missing, Verdict::Partial, place, text);
        }
        self.entries
    }
}

/// The originals against the list that the leaf commits to.
fn check(
    found: &Originals,
    stated: Option<&Hash>,
    place: &dyn Fn() -> Place,
    findings: &mut Findings,
) {
    if let Some(why) = found.withheld {
        if !found.payloads.is_empty() {
            let text = "it says that the originals are withheld, and has some";
            findings.add(Code::FieldMismatch, place(), text);
        }
        let (code, text) = match why {
            Withheld::Erased => {
                let text = "they were erased, which an entry of kind erasure in the ledger would show and \
                            nothing in the bundle does";
                (Code::Erased, text)
            }
            Withheld::KeyMissing => (Code::Missing, "their key was missing"),
            Withheld::NotOpened => (Code::Missing, "they could not be opened"),
            Withheld::EarlierVersion => (
                Code::Missing,
                "an earlier version sealed them, with nothing to check them against",
            ),
        };
        let text = format!("the bundle has no originals of this entry; it says that {text}");
        findings.weigh(code, Verdict::Partial, place(), text);
        return;
    }
    let Some(stated) = stated else {
        findings.add(Code::FieldMismatch, place(), "the leaf commits to no originals");
        return;
    };
    let mut list = OriginalsList::default();
    for original in &found.payloads {
        let (salt, mark) = (unhex(&original.salt), unhex(&original.commitment));
        let (Some(salt), Some(mark)) = (salt, mark) else {
            findings.add(Code::HashMismatch, place(), "a salt or commitment is not one");
            return;
        };
        if original_mark(&salt, &original.text) != mark {
            let text = format!("{} is not the text that its commitment is to", original.place);
            findings.add(Code::HashMismatch, place(), text);
        }
        list.add(original.kind, &original.place, &mark);
    }
    if list.value() != *stated {
        let text = "these are not the originals, in kind, place, number or order, that the leaf commits to";
        findings.add(Code::HashMismatch, place(), text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::Proof;
    use super::*;
    use crate::ledger::{EntryId, LeafRecord};

    fn original(kind: u8, place: &str, text: &str) -> Original {
        let (salt, text) = ([kind; 32], text.to_owned());
        let commitment = hex(&original_mark(&salt, &text));
        Original { kind, place: place.to_owned(), salt: hex(&salt), commitment, text }
    }

    fn originals() -> Originals {
        let payloads =
            vec![original(1, "audit.payload[0]", "a prompt"), original(3, "audit.payload[1]", "")];
        Originals { sequence: 7, withheld: None, payloads }
    }

    /// An entry whose leaf commits to [`originals`].
    fn item() -> Item {
        let mut list = OriginalsList::default();
        for it in &originals().payloads {
            list.add(it.kind, &it.place, &unhex(&it.commitment).unwrap());
        }
        let leaf = LeafRecord {
            id: EntryId([1; 16]),
            tenant_pseudonym: [2; 16],
            tenant_sequence: 0,
            received_ns: 0,
            mapping_version: [0; 8],
            retention_class: 0,
            conflict: false,
            body_hash: [0; 32],
            commitments: vec![(1, [9; 32]), (ORIGINALS_KIND, list.value())],
        };
        let proof = Proof { sequence: 7, ..Proof::default() };
        Item { proof, leaf, leaf_hash: [0; 32], body: None }
    }

    fn found(item: &Item, file: &Originals) -> Findings {
        let mut findings = Findings::default();
        let mut shown = Shown::new(true);
        shown.look(item, Some(&serde_json::to_vec(file).unwrap()), &mut findings);
        let is_there = file.withheld.is_none();
        assert_eq!(
            shown.finish(&mut findings),
            usize::from(is_there),
            "what is withheld is not there"
        );
        findings
    }

    #[test]
    fn originals_are_those_that_the_leaf_commits_to_and_no_others() {
        assert_eq!(found(&item(), &originals()).listed(), []);
        let forgeries: [&dyn Fn(&mut Originals); 9] = [
            &|it| it.payloads[0].text.push('.'),
            &|it| it.payloads[0] = original(1, "audit.payload[0]", "another prompt"),
            &|it| it.payloads[0].kind = 2,
            &|it| it.payloads[0].place = "audit.payload[2]".to_owned(),
            &|it| it.payloads[0].salt = "salt".to_owned(),
            &|it| it.payloads.swap(0, 1),
            &|it| drop(it.payloads.pop()),
            &|it| it.payloads.clear(),
            &|it| it.sequence = 8,
        ];
        for (nth, change) in forgeries.iter().enumerate() {
            let mut changed = originals();
            change(&mut changed);
            let findings = found(&item(), &changed);
            assert_eq!(findings.verdict(), Verdict::Compromised, "change {nth}");
            let place = &findings.listed()[0].place;
            assert_eq!(place.file, Some(originals_name(7)), "change {nth}");
        }
        let mut changed = originals();
        changed.payloads[0].text.push('.');
        let findings = found(&item(), &changed);
        let message = &findings.listed()[0].message;
        assert!(message.starts_with("audit.payload[0] "), "the false one is named: {message}");
    }

    #[test]
    fn an_entry_without_the_commitment_has_no_originals_that_could_be_checked() {
        let mut item = item();
        item.leaf.commitments.pop();
        assert_eq!(found(&item, &originals()).verdict(), Verdict::Compromised);
        let withheld = Some(Withheld::EarlierVersion);
        let told = Originals { withheld, payloads: Vec::new(), ..originals() };
        assert_eq!(found(&item, &told).verdict(), Verdict::Partial);
    }

    #[test]
    fn what_was_erased_is_told_and_what_is_left_out_is_noticed() {
        let erased =
            Originals { withheld: Some(Withheld::Erased), payloads: Vec::new(), ..originals() };
        let findings = found(&item(), &erased);
        assert_eq!(
            (findings.verdict(), findings.has(Code::Erased)),
            (Verdict::Partial, true),
            "the bundle's word alone does not excuse an original that is left out"
        );
        let both = Originals { withheld: Some(Withheld::Erased), ..originals() };
        assert_eq!(found(&item(), &both).verdict(), Verdict::Compromised);

        let (mut shown, mut findings) = (Shown::default(), Findings::default());
        shown.look(&item(), None, &mut findings);
        assert_eq!(shown.finish(&mut findings), 0);
        assert_eq!(findings.listed(), [], "a bundle without originals was asked for without");
        let mut shown = Shown::new(true);
        shown.look(&item(), None, &mut findings);
        assert_eq!(shown.finish(&mut findings), 0);
        assert_eq!(findings.verdict(), Verdict::Partial, "they were asked for");

        let mut pruned = item();
        pruned.proof.pruned = true;
        assert_eq!(found(&pruned, &originals()).verdict(), Verdict::Compromised);
        assert_eq!(found(&pruned, &erased).verdict(), Verdict::Partial);

        let mut findings = Findings::default();
        let (mut shown, file) = (Shown::default(), serde_json::to_vec(&originals()).unwrap());
        shown.look(&item(), Some(&file), &mut findings);
        shown.look(&item(), None, &mut findings);
        assert_eq!(shown.finish(&mut findings), 1);
        assert_eq!(findings.verdict(), Verdict::Partial);
    }
}

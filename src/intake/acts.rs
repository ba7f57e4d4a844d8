//! Entries about what was done to the ledger itself: bodies pruned, segments repaired.

use super::own::{UNKNOWN_ACTOR, append};
use super::{Intake, IntakeError};
use crate::access::Tenant;
use crate::entry::{Entry, EventPart, Json, Kind, format_ns};
use std::borrow::Cow;

/// Who says again what an entry of kind `prune` said that a repair cut off.
const REPAIR: &str = "spanledger:repair";

/// Something that was done to the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerAct {
    /// [`Kind::Prune`], [`Kind::Repair`].
    pub kind: Kind,
    /// When, nanoseconds since 1970.
    pub at_ns: u64,
    /// Who had it done: `os:<user>`, or the name of the part of the program that does it by itself.
    pub actor: String,
    /// Whether a person had it done.
    pub by_person: bool,
    /// Why, in the words of whoever had it done. Of an act of kind [`Kind::Prune`] it is put on record
    /// only when the program itself had it done: those travel in the bundles of every tenant whose bodies
    /// they are about.
    pub reason: Option<String>,
    /// What was done, as `event.action` has it: `ledger.pruned`.
    pub action: &'static str,
    /// To what: the name of a segment.
    pub target: String,
    /// The same in words.
    pub message: String,
    /// The same for programs: attributes with their values.
    pub facts: Vec<(&'static str, Fact)>,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

impl Intake {
    /// Puts on record what was done to the ledger: the installation's own evidence. The same act put
    /// on record twice is one entry.
    ///
    /// # Errors
    /// [`IntakeError`]; then it is not on record, and must not be done.
    pub async fn record_act(&self, act: &LedgerAct) -> Result<(), IntakeError> {
        append(self, &Tenant::system(), entry(act), act.at_ns).await
    }
}

fn entry(act: &LedgerAct) -> Entry<'_> {
    // A person's name and words stay with the installation: the entry of kind `repair` has them.
    let is_anonymous = act.kind == Kind::Prune && act.by_person;
    let actor = if is_anonymous { REPAIR } else { act.actor.as_str() };
    let reason = act.reason.as_deref().filter(|_| !is_anonymous);
    let mut entry = Entry::new(act.kind);
    entry.timestamp = Cow::Owned(format_ns(act.at_ns));
    entry.message = Some(act.message.as_str().into());
    entry.event = EventPart {
        action: Some(act.action.into()),
        outcome: Some("success".into()),
        reason: reason.map(Cow::Borrowed),
        dataset: Some("spanledger".into()),
        ..EventPart::default()
    };
    entry.audit.actor.id = Some(actor.into());
    if actor != UNKNOWN_ACTOR {
        let is_person = act.by_person && !is_anonymous;
        entry.audit.actor.kind = Some(if is_person { "user" } else { "system" }.into());
        entry.audit.actor.source = Some("authenticated".into());
    }
    entry.audit.target.id = Some(act.target.as_str().into());
    entry.audit.target.kind = Some("ledger".into());
    for (name, fact) in &act.facts {
        let value = match fact {
            Fact::Number(number) => Json::UInt(*number),
            Fact::Text(text) => Json::Text(text.as_str().into()),
        };
        entry.attributes.push((*name).into(), value);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_travels_in_bundles_of_tenants_has_no_persons_name_and_words() {
        let act = |kind, by_person| LedgerAct {
            kind,
            at_ns: 1,
            actor: "os:ada".to_owned(),
            by_person,
            reason: Some("mallory broke the disk".to_owned()),
            action: "ledger.pruned",
            target: "entries 0 to 9".to_owned(),
            message: "bodies are gone".to_owned(),
            facts: Vec::new(),
        };
        let written = |kind, by_person| {
            let act = act(kind, by_person);
            let mut body = Vec::new();
            entry(&act).write(&mut body).unwrap();
            String::from_utf8(body).unwrap()
        };
        let told_again = written(Kind::Prune, true);
        assert!(!told_again.contains("ada") && !told_again.contains("mallory"), "{told_again}");
        assert!(told_again.contains(REPAIR) && told_again.contains("system"), "{told_again}");
        for stays in [written(Kind::Repair, true), written(Kind::Prune, false)] {
            assert!(stays.contains("os:ada") && stays.contains("mallory"), "{stays}");
        }
    }
}

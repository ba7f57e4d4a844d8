//! Entries about what was done to the ledger itself: bodies pruned, segments repaired.

use super::own::{UNKNOWN_ACTOR, append};
use super::{Intake, IntakeError};
use crate::access::Tenant;
use crate::entry::{Entry, EventPart, Json, Kind, format_ns};
use std::borrow::Cow;

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
    /// Why, in the words of whoever had it done.
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
    let mut entry = Entry::new(act.kind);
    entry.timestamp = Cow::Owned(format_ns(act.at_ns));
    entry.message = Some(act.message.as_str().into());
    entry.event = EventPart {
        action: Some(act.action.into()),
        outcome: Some("success".into()),
        reason: act.reason.as_deref().map(Cow::Borrowed),
        dataset: Some("spanledger".into()),
        ..EventPart::default()
    };
    entry.audit.actor.id = Some(act.actor.as_str().into());
    if act.actor != UNKNOWN_ACTOR {
        entry.audit.actor.kind = Some(if act.by_person { "user" } else { "system" }.into());
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

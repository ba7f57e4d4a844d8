//! Decide, record, then act: an action that cannot be had before its decision is on record.
//!
//! ```
//! use spanledger::layer::{Approval, ApprovalStatus, Cleared, Decision, Outcome, gate};
//!
//! struct Refund { euro: u32 }
//!
//! // Whoever sends money asks for a cleared refund, so no other can come here.
//! fn send(refund: Cleared<Refund>) -> u32 {
//!     refund.act().euro
//! }
//!
//! # async fn agent() -> Result<(), Box<dyn std::error::Error>> {
//! let decision = Decision::new(Outcome::RequireApproval).id("d-1").action("refund");
//! let held = match gate(Refund { euro: 740 }).decide(decision).await {
//!     Ok(cleared) => return Ok(println!("{}", send(cleared))),
//!     Err(held) if held.needs_approval() => held,
//!     Err(held) => return Err(held.into()),
//! };
//! // … somebody is asked …
//! let answer = Approval::new(ApprovalStatus::Approved).decision_id("d-1").resolved_by("ops-lead");
//! println!("{}", send(held.answered(answer).await?));
//! # Ok(()) }
//! ```
//!
//! Without a decision there is nothing to act with:
//!
//! ```compile_fail
//! # use spanledger::layer::{Cleared, gate};
//! fn send(refund: Cleared<u32>) {}
//! send(gate(740));
//! ```
//!
//! ```compile_fail
//! # use spanledger::layer::Cleared;
//! let refund: Cleared<u32> = Cleared { action: 740 };
//! ```

use super::event::{Approval, ApprovalStatus, Decision};
use super::outbox::Receipt;
use super::recording::{DEFAULT_WITHIN, RecordError, record};
use crate::entry::Outcome;
use std::fmt;
use std::time::Duration;

/// Puts an action behind a decision.
pub fn gate<A>(action: A) -> Gate<A> {
    Gate { action, within: DEFAULT_WITHIN }
}

/// An action that waits for its decision.
#[must_use = "the action is inside: decide about it"]
pub struct Gate<A> {
    action: A,
    within: Duration,
}

/// An action that a recorded decision allows. Only [`Gate::decide`] and [`Held::answered`] make one.
#[must_use = "the action is allowed and on record: act, or put on record that it was left"]
pub struct Cleared<A> {
    action: A,
    receipt: Receipt,
    outcome: Outcome,
}

/// An action that may not be done, and why.
pub struct Held<A> {
    action: A,
    within: Duration,
    why: Why,
}

/// Why an action is held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The decision is on record, and it does not allow the action as it is.
    #[error("the decision is {}, on record as {}", .0.as_str(), .1.sequence)]
    Decided(Outcome, Receipt),
    /// The decision is not known to be on record, whatever it says.
    #[error("the decision is not known to be on record")]
    NotRecorded(#[source] RecordError),
    /// The answer is on record, and it is no approval.
    #[error("the answer is {}, on record as {}", .0, .1.sequence)]
    Answered(&'static str, Receipt),
}

impl<A> Gate<A> {
    /// How long the receipt is waited for. Default: [`DEFAULT_WITHIN`].
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Puts the decision on record, and clears the action if it says allow, allow with constraints
    /// or warn.
    ///
    /// # Errors
    /// [`Held`], with the action in it: the decision says something else, or there is no receipt.
    pub async fn decide(self, decision: Decision) -> Result<Cleared<A>, Held<A>> {
        let Self { action, within } = self;
        let outcome = decision.decided().unwrap_or(Outcome::Error);
        match record(decision).within(within).await {
            Ok(receipt) if allows(outcome) => Ok(Cleared { action, receipt, outcome }),
            Ok(receipt) => Err(Held { action, within, why: Why::Decided(outcome, receipt) }),
            Err(error) => Err(Held { action, within, why: Why::NotRecorded(error) }),
        }
    }
}

/// The action as it is may be done.
const fn allows(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Allow | Outcome::AllowWithConstraints | Outcome::Warn)
}

impl<A> Cleared<A> {
    /// The action.
    pub fn act(self) -> A {
        self.action
    }

    /// Where the decision, or the approval, is on record.
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// What was decided.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }
}

impl<A> Held<A> {
    /// Why it is held.
    pub fn why(&self) -> &Why {
        &self.why
    }

    /// Whether somebody's approval would clear it: the decision is on record and asks for one.
    pub fn needs_approval(&self) -> bool {
        matches!(self.why, Why::Decided(Outcome::RequireApproval, _))
    }

    /// Puts an answer on record, and clears the action if it is an approval that was asked for.
    ///
    /// # Errors
    /// [`Held`]: the answer is another, nobody had asked for it, or there is no receipt.
    pub async fn answered(self, answer: Approval) -> Result<Cleared<A>, Self> {
        let asked = self.needs_approval();
        let Self { action, within, why } = self;
        let status = answer.status();
        match record(answer).within(within).await {
            Ok(receipt) if asked && status == Some(ApprovalStatus::Approved) => {
                Ok(Cleared { action, receipt, outcome: Outcome::Allow })
            }
            Ok(receipt) if asked => {
                let word = status.map_or("unknown", ApprovalStatus::as_str);
                Err(Self { action, within, why: Why::Answered(word, receipt) })
            }
            Ok(_) => Err(Self { action, within, why }),
            Err(error) => Err(Self { action, within, why: Why::NotRecorded(error) }),
        }
    }

    /// The action, undone: to be tried again through another [`gate`], or dropped.
    pub fn into_action(self) -> A {
        self.action
    }
}

impl<A> fmt::Debug for Gate<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl<A> fmt::Debug for Cleared<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cleared").field("receipt", &self.receipt).finish_non_exhaustive()
    }
}

impl<A> fmt::Debug for Held<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<A> fmt::Display for Held<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the action is held: {}", self.why)
    }
}

impl<A> std::error::Error for Held<A> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.why {
            Why::NotRecorded(error) => Some(error),
            Why::Decided(..) | Why::Answered(..) => None,
        }
    }
}

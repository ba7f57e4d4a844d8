//! Retention classes: which number an entry carries for how long its body is kept.

use crate::access::Tenant;
use crate::entry::Kind;
use std::sync::Arc;

/// The class of what no rule names.
pub const DEFAULT_CLASS: u8 = 0;

/// The class of what is kept for ever, such as our own entries about what is missing and why.
pub const PERMANENT_CLASS: u8 = 255;

/// Which entries are of a class. What is not named is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassRule {
    /// Whose entries; none: everybody's.
    pub tenants: Vec<Tenant>,
    /// Entries of which kinds; none: of any.
    pub kinds: Vec<Kind>,
    /// Their class.
    pub class: u8,
}

impl ClassRule {
    fn fits(&self, tenant: &Tenant, kind: Kind) -> bool {
        (self.tenants.is_empty() || self.tenants.contains(tenant))
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }
}

/// The rules, in order: the first one that fits an entry decides. Cheap to clone.
///
/// ```
/// use spanledger::access::Tenant;
/// use spanledger::entry::Kind;
/// use spanledger::intake::{ClassRule, Classes};
/// let approvals = ClassRule { kinds: vec![Kind::Approval], class: 7, ..ClassRule::default() };
/// let classes = Classes::new(vec![approvals]);
/// assert_eq!(classes.of(&Tenant::default(), Kind::Approval), 7);
/// assert_eq!(classes.of(&Tenant::default(), Kind::Span), 0);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Classes(Arc<[ClassRule]>);

impl Classes {
    /// These rules.
    pub fn new(rules: Vec<ClassRule>) -> Self {
        Self(rules.into())
    }

    /// The class of an entry that somebody sent.
    pub fn of(&self, tenant: &Tenant, kind: Kind) -> u8 {
        let rule = self.0.iter().find(|rule| rule.fits(tenant, kind));
        rule.map_or(DEFAULT_CLASS, |rule| rule.class)
    }

    /// The class of an entry of ours: what tells that something is missing, and why, stays. So does
    /// what operators did: with it whoever has an old key of the log follows it to the present one.
    pub(super) fn of_own(&self, tenant: &Tenant, kind: Kind) -> u8 {
        match kind {
            Kind::Gap | Kind::Prune | Kind::Erasure | Kind::Repair | Kind::OperatorAction => {
                PERMANENT_CLASS
            }
            _ => self.of(tenant, kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides() {
        let acme = Tenant::new("acme").unwrap();
        let rule = |tenants: &[&Tenant], kinds: &[Kind], class| ClassRule {
            tenants: tenants.iter().copied().cloned().collect(),
            kinds: kinds.to_vec(),
            class,
        };
        let classes = Classes::new(vec![
            rule(&[&acme], &[Kind::Decision, Kind::Approval], 3),
            rule(&[&acme], &[], 2),
            rule(&[], &[Kind::Decision], 1),
        ]);
        assert_eq!(classes.of(&acme, Kind::Decision), 3);
        assert_eq!(classes.of(&acme, Kind::Span), 2);
        assert_eq!(classes.of(&Tenant::default(), Kind::Decision), 1);
        assert_eq!(classes.of(&Tenant::default(), Kind::Span), DEFAULT_CLASS);
        assert_eq!(classes.of_own(&acme, Kind::Prune), PERMANENT_CLASS);
        assert_eq!(classes.of_own(&acme, Kind::OperatorAction), PERMANENT_CLASS);
        assert_eq!(classes.of(&acme, Kind::OperatorAction), 2, "what somebody sent is not ours");
        assert_eq!(classes.of_own(&acme, Kind::Rejection), 2);
    }
}

//! `retention:` as it is written, and what it means.

use super::{ConfigError, Period, value};
use crate::access::Tenant;
use crate::entry::Kind;
use crate::intake::{ClassRule, Classes, DEFAULT_CLASS, PERMANENT_CLASS};
use std::collections::BTreeMap;
use std::time::Duration;

/// Name of the class of what no rule names.
const DEFAULT: &str = "default";

/// Name of the class of what is kept for ever.
const PERMANENT: &str = "permanent";

super::raw::section! {
    /// `retention:`
    RawRetention {
        /// Whether bodies whose time is over are taken out of the ledger.
        prune: bool = true,
        /// Time between two looks for such bodies.
        every: Period = Period::seconds(24 * 60 * 60),
        /// Classes beside `default` and `permanent`, by name.
        classes: BTreeMap<String, RawClass> = BTreeMap::new(),
        /// Which entries are of which class.
        rules: Vec<RawRule> = Vec::new(),
    }
}

super::raw::section! {
    /// One of `retention.classes`
    RawClass {
        /// The number that entries carry.
        id: u8 = 0,
        /// Days that bodies are kept; absent: for ever.
        days: Option<u32> = None,
    }
}

super::raw::section! {
    /// One of `retention.rules`
    RawRule {
        /// Whose entries.
        tenants: Vec<Tenant> = Vec::new(),
        /// Entries of which kinds.
        kinds: Vec<Kind> = Vec::new(),
        /// Name of their class.
        class: String = String::new(),
    }
}

/// How long bodies are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Whether bodies whose time is over are taken out of the ledger.
    pub prune: bool,
    /// Time between two looks for such bodies.
    pub every: Duration,
    /// The classes, by their numbers.
    pub classes: BTreeMap<u8, RetentionClass>,
    /// Which entries are of which class.
    pub rules: Classes,
}

/// How long the bodies of one class are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionClass {
    /// Its name.
    pub name: String,
    /// Days; `None` is for ever.
    pub days: Option<u32>,
}

impl RawRetention {
    /// What the section says; `days` is `audit.retention_days`, that of the class `default`.
    pub(super) fn resolve(self, days: u32) -> Result<Retention, ConfigError> {
        if self.every.duration() < Duration::from_secs(1) {
            return Err(value("retention.every", "must be at least 1s; a day is often enough"));
        }
        let known = |name: &str, days| RetentionClass { name: name.to_owned(), days };
        let mut classes = BTreeMap::from([
            (DEFAULT_CLASS, known(DEFAULT, Some(days))),
            (PERMANENT_CLASS, known(PERMANENT, None)),
        ]);
        for (name, RawClass { id, days }) in self.classes {
            let taken = if classes.values().any(|class| class.name == name) {
                Some("name")
            } else {
                classes.contains_key(&id).then_some("id")
            };
            if let Some(what) = taken {
                let problem = format!(
                    "{name:?} has the {what} of another class; the id is from 1 to 254, stands in each \
                     entry for ever, and must never be given to another class (default has 0 and \
                     audit.retention_days, permanent has 255)"
                );
                return Err(ConfigError::Value { key: "retention.classes", problem });
            }
            if days == Some(0) {
                return Err(value(
                    "retention.classes",
                    "days must be at least 1; absent is for ever",
                ));
            }
            classes.insert(id, RetentionClass { name, days });
        }
        let rule = |raw: RawRule| {
            let RawRule { tenants, kinds, class } = raw;
            let found = classes.iter().find(|(_, known)| known.name == class);
            found.map(|(id, _)| ClassRule { tenants, kinds, class: *id }).ok_or_else(|| {
                let names: Vec<_> = classes.values().map(|class| class.name.as_str()).collect();
                let problem = format!("{class:?} is no class; there are {}", names.join(", "));
                ConfigError::Value { key: "retention.rules", problem }
            })
        };
        let rules = self.rules.into_iter().map(rule).collect::<Result<Vec<_>, _>>()?;
        let rules = Classes::new(rules);
        Ok(Retention { prune: self.prune, every: self.every.duration(), classes, rules })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Retention, String> {
        let raw: RawRetention =
            crate::config::yaml::parse("test", text).map_err(|error| error.to_string())?;
        raw.resolve(184).map_err(|error| error.to_string())
    }

    #[test]
    fn classes_and_rules_say_how_long_which_entries_are_kept() {
        let retention = resolve(
            "classes:\n  short: {id: 1, days: 30}\n  legal: {id: 2}\nrules:\n  - {tenants: [acme], kinds: [llm_call], class: short}\n  - {kinds: [decision, approval], class: legal}\n  - {tenants: [keep], class: permanent}\n",
        )
        .unwrap();
        let days: Vec<_> = retention.classes.iter().map(|(id, it)| (*id, it.days)).collect();
        assert_eq!(days, [(0, Some(184)), (1, Some(30)), (2, None), (255, None)]);
        let of = |tenant: &str, kind| retention.rules.of(&Tenant::new(tenant).unwrap(), kind);
        assert_eq!((of("acme", Kind::LlmCall), of("acme", Kind::Decision)), (1, 2));
        assert_eq!((of("keep", Kind::Span), of("b", Kind::Span)), (255, 0));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_write() {
        for (text, told) in [
            ("classes: {a: {id: 0, days: 1}}", "audit.retention_days"),
            ("classes: {a: {id: 1}, b: {id: 1}}", "the id of another class"),
            ("classes: {permanent: {id: 9}}", "the name of another class"),
            ("classes: {a: {id: 1, days: 0}}", "at least 1"),
            ("rules: [{class: x}]", "there are default, permanent"),
            ("rules: [{class: default, kinds: [nothing]}]", "nothing"),
            ("every: 10ms", "at least 1s"),
            ("classes: {a: {id: 300}}", "u8"),
        ] {
            let error = resolve(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}

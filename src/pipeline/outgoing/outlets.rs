//! How it goes with each witness and each sink: for `/readyz`, metrics and the log.

use crate::ledger::TreeHead;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How it goes with one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlet {
    /// Why it did not take the last checkpoint that it was offered, in a sentence.
    pub trouble: Option<String>,
    /// Size of the tree of the last checkpoint that it took since the start.
    pub entries: u64,
}

/// How it goes with witnesses, or with sinks, by name.
#[derive(Debug, Default)]
pub struct Outlets(Mutex<BTreeMap<String, Outlet>>);

impl Outlets {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Outlet>> {
        // A thread that panicked while it held this lock left plain values.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one known, under a name that no other has.
    pub(super) fn add(&self, name: &str) -> String {
        let mut all = self.all();
        let others = (2_u32..).map(|number| format!("{name} #{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(others);
        let free = names.find(|name| !all.contains_key(name)).unwrap_or_default();
        all.insert(free.clone(), Outlet::default());
        free
    }

    /// It took a checkpoint. Whether it had not taken the one before.
    pub(super) fn took(&self, name: &str, tree: TreeHead) -> bool {
        let mut all = self.all();
        let outlet = all.entry(name.to_owned()).or_default();
        outlet.entries = tree.size;
        outlet.trouble.take().is_some()
    }

    /// It did not take a checkpoint. Whether that is another trouble than before.
    pub(super) fn failed(&self, name: &str, why: &str) -> bool {
        let mut all = self.all();
        let outlet = all.entry(name.to_owned()).or_default();
        let before = outlet.trouble.replace(why.to_owned());
        before.as_deref() != Some(why)
    }

    /// Which of them do not take checkpoints, and why; `None` when all do.
    pub fn trouble(&self) -> Option<String> {
        let all = self.all();
        let troubles = all.iter().filter_map(|(name, outlet)| {
            outlet.trouble.as_ref().map(|why| format!("{name}: {why}"))
        });
        let troubles: Vec<_> = troubles.collect();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }

    /// All of them, by name.
    pub fn list(&self) -> BTreeMap<String, Outlet> {
        self.all().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own_and_all_troubles_are_told_until_they_end() {
        let outlets = Outlets::default();
        let names = [(); 3].map(|()| outlets.add("webhook"));
        assert_eq!(names, ["webhook", "webhook #2", "webhook #3"]);
        assert_eq!(outlets.trouble(), None);
        assert!(outlets.failed("webhook", "it answered 500"));
        assert!(!outlets.failed("webhook", "it answered 500"), "logged once");
        assert!(outlets.failed("webhook #3", "it is away"));
        let told = outlets.trouble().unwrap();
        assert_eq!(told, "webhook: it answered 500; webhook #3: it is away");
        let tree = TreeHead { size: 7, root: [0; 32] };
        assert!(outlets.took("webhook", tree) && outlets.took("webhook #3", tree));
        assert!(!outlets.took("webhook", tree));
        assert_eq!(outlets.trouble(), None);
        let taken: Vec<u64> = outlets.list().values().map(|outlet| outlet.entries).collect();
        assert_eq!(taken, [7, 0, 7]);
    }
}

//! What spans hand down: a child asks when it ends, so that it has what its parents learned late.

use super::callsite::{Callsite, Role};
use super::fields::Fields;
use super::names::INHERITED;
use super::protobuf::{Value, key_field};
use super::record::owned;
use crate::protect::AttributeProtector;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Values that stand for a span and everything below it.
#[derive(Debug, Default)]
pub(super) struct Scope {
    parent: Option<Arc<Self>>,
    own: Mutex<Vec<(u8, Owned)>>,
}

/// A value that outlives the macro that gave it, after protection.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Owned {
    Text(String),
    Bool(bool),
    Int(i64),
    Double(f64),
}

impl Owned {
    pub(super) fn of(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Text(text) => Some(Self::Text(text.to_owned())),
            Value::Bool(truth) => Some(Self::Bool(truth)),
            Value::Int(int) => Some(Self::Int(int)),
            Value::Double(double) => Some(Self::Double(double)),
            Value::Bytes(_) | Value::Texts(_) => None,
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Int(int) => Value::Int(*int),
            Self::Double(double) => Value::Double(*double),
        }
    }
}

/// Encoded keys of [`INHERITED`].
static KEYS: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| INHERITED.iter().map(|key| key_field(key)).collect());

impl Scope {
    pub(super) fn below(parent: Option<Arc<Self>>) -> Self {
        Self { parent, own: Mutex::default() }
    }

    /// Takes what the values of a span hand down.
    pub(super) fn take(
        &self,
        protector: &AttributeProtector,
        callsite: &Callsite,
        fields: &Fields,
    ) {
        for (index, value) in fields.iter() {
            let Some(info) = callsite.fields.get(index) else { continue };
            if let Role::Inherited(slot) = info.role
                && let Some(value) = owned(protector, info, value, fields.suspects(protector))
            {
                self.set(slot, value);
            }
        }
    }

    fn set(&self, slot: u8, value: Owned) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        match own.iter_mut().find(|(known, _)| *known == slot) {
            Some((_, old)) => *old = value,
            None => own.push((slot, value)),
        }
    }

    /// Calls `visit` with the encoded key and the value of each slot that is not in `seen`, nearest
    /// first, and notes it there.
    pub(super) fn each(&self, seen: &mut u32, mut visit: impl FnMut(&[u8], Value<'_>)) {
        let mut scope = Some(self);
        while let Some(this) = scope {
            for (slot, value) in this.own.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let bit = 1_u32.checked_shl((*slot).into()).unwrap_or(0);
                if *seen & bit == 0
                    && let Some(key) = KEYS.get(usize::from(*slot))
                {
                    *seen |= bit;
                    visit(key, value.value());
                }
            }
            scope = this.parent.as_deref();
        }
    }

    /// The nearest value of a slot, in words.
    pub(super) fn text(&self, slot: usize) -> Option<String> {
        let mut scope = Some(self);
        while let Some(this) = scope {
            let own = this.own.lock().unwrap_or_else(PoisonError::into_inner);
            let found = own.iter().find(|(known, _)| usize::from(*known) == slot);
            if let Some((_, value)) = found {
                return Some(match value {
                    Owned::Text(text) => text.clone(),
                    Owned::Bool(truth) => truth.to_string(),
                    Owned::Int(int) => int.to_string(),
                    Owned::Double(double) => double.to_string(),
                });
            }
            drop(own);
            scope = this.parent.as_deref();
        }
        None
    }
}

/// One after the other: a program that nests a million spans must not end on the stack.
impl Drop for Scope {
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut last) = parent.and_then(Arc::into_inner) {
            parent = last.parent.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen_by(scope: &Scope) -> Vec<Owned> {
        let mut all = Vec::new();
        scope.each(&mut 0, |_, value| all.extend(Owned::of(value)));
        all
    }

    #[test]
    fn a_child_sees_what_its_parent_learns_later_and_its_own_first() {
        let parent = Arc::new(Scope::below(None));
        let child = Scope::below(Some(Arc::clone(&parent)));
        parent.set(0, Owned::Text("late".into()));
        parent.set(1, Owned::Int(1));
        child.set(1, Owned::Int(2));
        assert_eq!(seen_by(&child), [Owned::Int(2), Owned::Text("late".into())]);
        assert_eq!(child.text(0).as_deref(), Some("late"));
        assert_eq!(child.text(1).as_deref(), Some("2"), "the nearest, also when it is a number");
        assert_eq!(seen_by(&parent).len(), 2);
    }

    #[test]
    fn a_million_nested_spans_end() {
        let mut scope = Arc::new(Scope::below(None));
        for _ in 0..1_000_000 {
            scope = Arc::new(Scope::below(Some(scope)));
        }
        drop(scope);
    }
}

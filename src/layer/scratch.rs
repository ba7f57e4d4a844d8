//! Memory that a thread uses again: a span that is captured asks the allocator for little.

use super::fields::Fields;
use std::cell::Cell;

/// Field buffers that a thread keeps.
const KEPT: usize = 16;

/// Largest buffer that is kept, bytes: a large prompt is not paid for until the thread ends.
const MAX_KEPT_BYTES: usize = 16 * 1024;

thread_local! {
    static FIELDS: Cell<Vec<Fields>> = const { Cell::new(Vec::new()) };
    static BYTES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Takes what is in the cell while it is worked with: who comes here again meanwhile finds nothing
/// and begins anew, and nobody waits.
pub(super) fn fields() -> Fields {
    let taken = FIELDS.try_with(|cell| {
        let mut kept = cell.take();
        let fields = kept.pop();
        cell.set(kept);
        fields
    });
    taken.ok().flatten().unwrap_or_default()
}

/// Gives a buffer back.
pub(super) fn give_back(mut fields: Fields) {
    if fields.capacity() > MAX_KEPT_BYTES {
        return;
    }
    fields.clear();
    let _ = FIELDS.try_with(|cell| {
        let mut kept = cell.take();
        if kept.len() < KEPT {
            kept.push(fields);
        }
        cell.set(kept);
    });
}

/// Calls `work` with an empty buffer.
pub(super) fn with_bytes<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut bytes = BYTES.try_with(Cell::take).unwrap_or_default();
    bytes.clear();
    let result = work(&mut bytes);
    if bytes.capacity() <= MAX_KEPT_BYTES {
        let _ = BYTES.try_with(|cell| cell.set(bytes));
    }
    result
}

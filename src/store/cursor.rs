//! Where the next page starts.
//!
//! ```text
//!  n<sequence>          newest first: below this sequence number
//!  l<sequence>          ledger order: above this sequence number
//!  s<event ns>.<id>     story order: after this entry
//! ```
//!
//! The text is opaque to callers and holds no secret: whoever changes it asks another question of
//! his own tenant.

use std::fmt;
use std::str::FromStr;

/// Where the next page starts. Stable while entries are appended: each entry that was there when
/// the first page was asked for comes once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cursor {
    /// Newest first: entries below this sequence number follow.
    Below(u64),
    /// Ledger order: entries above this sequence number follow.
    Above(u64),
    /// Story order: entries after this one follow.
    After {
        /// Time of its event.
        event_ns: u64,
        /// Its id.
        id: [u8; 16],
    },
}

/// A text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Not one of ours.
    #[error("this is not a cursor of spanledger; leave it out to start at the first page")]
    Unreadable,
    /// Of a question in another order.
    #[error("this cursor belongs to another order; leave it out to start at the first page")]
    OtherOrder,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cursor::Below(sequence) => write!(f, "n{sequence}"),
            Cursor::Above(sequence) => write!(f, "l{sequence}"),
            Cursor::After { event_ns, id } => {
                write!(f, "s{event_ns}.{:032x}", u128::from_be_bytes(*id))
            }
        }
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let number = |text: &str| text.parse().map_err(|_| CursorError::Unreadable);
        if let Some(sequence) = text.strip_prefix('n') {
            return Ok(Cursor::Below(number(sequence)?));
        }
        if let Some(sequence) = text.strip_prefix('l') {
            return Ok(Cursor::Above(number(sequence)?));
        }
        let (event_ns, id) = text
            .strip_prefix('s')
            .and_then(|rest| rest.split_once('.'))
            .ok_or(CursorError::Unreadable)?;
        let id = u128::from_str_radix(id, 16).map_err(|_| CursorError::Unreadable)?;
        Ok(Cursor::After { event_ns: number(event_ns)?, id: id.to_be_bytes() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back_as_itself(sequence: u64, event_ns: u64, id: [u8; 16]) {
            for cursor in
                [Cursor::Below(sequence), Cursor::Above(sequence), Cursor::After { event_ns, id }]
            {
                prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = text.parse::<Cursor>();
        }
    }
}

//! Where the next page starts.
//!
//! ```text
//!  n<sequence>          newest first: below this sequence number
//!  l<sequence>          ledger order: above this sequence number
//!  s<event ns>.<id>     story order: after this entry
//!  cn…, cl…             newest first and ledger order where several ledgers write one store:
//!                       <received ns>.<sequence>.<handle>.<origin>
//! ```
//!
//! The text is opaque to callers and holds no secret: whoever changes it asks another question of
//! his own tenant.

use std::fmt;
use std::str::FromStr;

/// Where the next page starts. Stable while entries are appended: each entry that was there when
/// the first page was asked for comes once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// In a store that several ledgers write: what follows this place.
    Shared {
        /// The last entry that was looked at.
        place: Place,
        /// Whether the newest comes first, or ledger order.
        newest: bool,
        /// A number for what the store keeps for the next page; 0 for nothing. It may be gone
        /// then, which changes no answer.
        handle: u64,
    },
}

/// Where an entry stands among those of several ledgers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// When it was received, nanoseconds since 1970.
    pub received_ns: u64,
    /// Name of its ledger.
    pub origin: String,
    /// Its sequence number there.
    pub sequence: u64,
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
            Cursor::Shared { place: Place { received_ns, origin, sequence }, newest, handle } => {
                let order = if *newest { 'n' } else { 'l' };
                write!(f, "c{order}{received_ns}.{sequence}.{handle:x}.")?;
                origin.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        if let Some(rest) = text.strip_prefix('c') {
            return shared(rest).ok_or(CursorError::Unreadable);
        }
        let (event_ns, id) = text
            .strip_prefix('s')
            .and_then(|rest| rest.split_once('.'))
            .ok_or(CursorError::Unreadable)?;
        let id = u128::from_str_radix(id, 16).map_err(|_| CursorError::Unreadable)?;
        Ok(Cursor::After { event_ns: number(event_ns)?, id: id.to_be_bytes() })
    }
}

fn shared(text: &str) -> Option<Cursor> {
    let newest = text.starts_with('n');
    let mut parts = text.strip_prefix(['n', 'l'])?.split('.');
    let received_ns = parts.next()?.parse().ok()?;
    let sequence = parts.next()?.parse().ok()?;
    let handle = u64::from_str_radix(parts.next()?, 16).ok()?;
    let digits = parts.next()?;
    parts.next().is_none().then_some(())?;
    let pairs = digits.as_bytes().chunks(2);
    let origin = pairs.map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    let origin = String::from_utf8(origin.collect::<Option<_>>()?).ok()?;
    Some(Cursor::Shared { place: Place { received_ns, origin, sequence }, newest, handle })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back_as_itself(sequence: u64, event_ns: u64, id: [u8; 16], origin: String, newest: bool, handle: u64) {
            let place = Place { received_ns: event_ns, origin, sequence };
            let shared = Cursor::Shared { place, newest, handle };
            prop_assert_eq!(shared.to_string().parse(), Ok(shared));
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

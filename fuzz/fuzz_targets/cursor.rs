//! Cursors of pages: what is read is written the same way and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanledger::store::Cursor;

fuzz_target!(|text: &str| {
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
});

//! A request that becomes more than one batch of the ledger can hold.

use spanledger::access::{Tenant, Tenants};
use spanledger::convert::Mappings;
use spanledger::intake::{Intake, IntakeError};
use spanledger::ledger::{Ledger, Options};
use spanledger::protect::{Keys, Protector, Settings};
use spanledger::span::{Attribute, LogRecord, Record, Sink, Value};

#[tokio::test]
async fn after_the_first_record_that_has_no_room_nothing_is_converted_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&folder.path().join("ledger"), Options::default()).unwrap();
    let keys = Keys::open_or_create(&folder.path().join("keys")).unwrap();
    let protector = Protector::new(&Settings::default(), keys).unwrap();
    let intake = Intake::new(Mappings::builtin().unwrap(), protector, ledger);
    let mut draft = intake.draft(&Tenants::One(Tenant::default()));
    let bytes = Value::Bytes(vec![7; 11 << 20].into());
    let long = LogRecord { attributes: vec![Attribute::new("b", bytes)], ..LogRecord::default() };
    for _ in 0..5 {
        draft.record(Record::Log(&long));
    }
    let before = draft.bytes();
    for _ in 0..100 {
        draft.record(Record::Log(&LogRecord::default()));
    }
    assert_eq!(draft.bytes(), before);
    let refused = intake.commit(draft).await;
    assert!(matches!(refused, Err(IntakeError::TooLarge { .. })), "{refused:?}");
}

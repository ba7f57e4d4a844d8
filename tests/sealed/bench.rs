//! A data folder whose payloads are sealed.

use super::{TENANT, full, protector};
use spanledger::access::{Tenant, Tenants};
use spanledger::convert::Mappings;
use spanledger::intake::{
    ErasureError, ErasureRequest, Intake, IntakeError, OpenedPayload, Opener,
};
use spanledger::ledger::{Ledger, Options, StoredEntry};
use spanledger::protect::{OrderedBy, SealError};
use spanledger::span::{Attribute, LogRecord, Record, Resource, Scope, Sink as _, Value};

/// A ledger, what writes to it, and what opens what it holds.
pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) ledger: Ledger,
    pub(super) intake: Intake,
    pub(super) opener: Opener,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    pub(super) fn on(folder: tempfile::TempDir) -> Self {
        let protector = protector(folder.path(), &full());
        let opener = Opener::new(protector.keys().clone());
        let (ledger, _) = Ledger::open(&folder.path().join("ledger"), Options::default()).unwrap();
        let intake = Intake::new(Mappings::builtin().unwrap(), protector, ledger.clone());
        Self { folder, ledger, intake, opener }
    }

    /// Closes everything and opens it again.
    pub(super) async fn restart(self) -> Self {
        let Self { folder, ledger, intake, opener } = self;
        ledger.close().await.unwrap();
        drop((ledger, intake, opener));
        Self::on(folder)
    }

    /// A log record of a user with a prompt.
    pub(super) async fn send(&self, user: &str, prompt: &str) {
        self.try_send(user, prompt).await.unwrap();
    }

    pub(super) async fn try_send(&self, user: &str, prompt: &str) -> Result<(), IntakeError> {
        let mut draft = self.intake.draft(&Tenants::One(Tenant::new(TENANT).unwrap()));
        draft.resource(&Resource::default());
        draft.scope(&Scope::default());
        let text = |key, value: &str| Attribute::new(key, Value::Text(value.to_owned().into()));
        let mut attributes = vec![text("input.value", prompt)];
        if !user.is_empty() {
            attributes.push(text("user.id", user));
        }
        draft.record(Record::Log(&LogRecord { attributes, ..LogRecord::default() }));
        self.intake.commit(draft).await.map(drop)
    }

    pub(super) fn entry(&self, sequence: u64) -> StoredEntry {
        self.ledger.reader().get(sequence).unwrap().unwrap()
    }

    pub(super) fn open(&self, sequence: u64) -> Result<Vec<OpenedPayload>, SealError> {
        self.opener.open(&self.entry(sequence).as_ref())
    }

    pub(super) fn text(&self, sequence: u64) -> String {
        let opened = self.open(sequence).unwrap();
        assert!(opened.iter().all(|it| it.proven), "{opened:?}");
        opened[0].original.clone()
    }

    pub(super) fn is_erased(&self, sequence: u64) -> bool {
        matches!(self.open(sequence), Err(SealError::Erased { by, .. }) if by == "local" || by.starts_with("os:"))
    }

    pub(super) async fn erase(&self, subject: Option<&str>) -> Result<usize, ErasureError> {
        self.intake.erase(request(subject, 7)).await.map(|order| order.keys.len())
    }
}

pub(super) fn request(subject: Option<&str>, at_ns: u64) -> ErasureRequest {
    ErasureRequest {
        tenant: Tenant::new(TENANT).unwrap(),
        subject: subject.map(ToOwned::to_owned),
        at_ns,
        by: OrderedBy { actor: "local".to_owned(), authenticated: false, name: "ada".to_owned() },
        reason: "request 17 of 2026".to_owned(),
    }
}

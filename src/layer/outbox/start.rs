//! Putting an outbox together, and saying hello.

use super::destination::Destination;
use super::handover::Handover;
use super::memory::Slot;
use super::pending::Pending;
use super::records;
use super::settings::{Policy, Settings};
use super::shared::{Place, Progress, Shared};
use super::spool::instance::{Framing, Instance};
use super::spool::live::LiveReader;
use super::spool::shelf::Shelf;
use super::spool::writer::SpoolWriter;
use super::stats::Counters;
use super::sync::{AtomicBool, Mutex, Notify, watch};
use super::writer::{self, Store};
use super::{Inner, OutboxError, sender};
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;

const WRITER: &str = "spanledger-outbox";
const SENDER: &str = "spanledger-sender";

pub(super) fn start(
    settings: Settings,
    resource: impl FnOnce(&str) -> Vec<u8>,
    destination: Arc<dyn Destination>,
) -> Result<Inner, OutboxError> {
    settings.check()?;
    let id = random_id()?;
    let framing = Framing { resource: resource(&id).into(), scope: records::scope().into() };
    let (place, mut store, reader, instance) = match &settings.policy {
        Policy::Memory(_) => {
            (Place::Memory(Slot::default()), Store::Memory(<_>::default()), None, None)
        }
        Policy::Spool(spool) => {
            let instance = Instance::create(&spool.folder, &id, framing.clone())?;
            let shelf = Arc::new(Shelf::default());
            let writer = SpoolWriter::new(&instance, shelf.clone(), spool.max_spool_bytes);
            let reader = LiveReader::new(&instance, shelf.clone());
            let place = Place::Spool { shelf, root: spool.folder.clone() };
            (place, Store::Spool(writer), Some(reader), Some(instance))
        }
    };
    let shared = Arc::new(Shared {
        handover: Handover::new(&settings),
        hello: records::hello(&id),
        id,
        settings,
        framing,
        destination,
        place,
        counters: Counters::default(),
        progress: watch::Sender::new(Progress::default()),
        pending: Pending::default(),
        data: Notify::new(),
        again: Notify::new(),
        halt: Notify::new(),
        closing: AtomicBool::new(false),
        // Until the threads run, no waiting: a spool that cannot be written is an error here.
        stop: AtomicBool::new(true),
        instance: Mutex::new(instance),
        backlog: Mutex::new(None),
        unserved: Mutex::default(),
        last: OnceLock::new(),
    });
    if !store.put(&shared, &mut writer::first(&shared.hello)) {
        let said = shared.counters.spool_error.get().unwrap_or_default();
        let path = match &shared.settings.policy {
            Policy::Spool(spool) => spool.folder.clone(),
            Policy::Memory(_) => std::path::PathBuf::new(),
        };
        return Err(OutboxError::Spool { path, source: io::Error::other(said) });
    }
    shared.stop.store(false, std::sync::atomic::Ordering::Release);
    let failed = |name| move |source| OutboxError::Thread { name, source };
    let runtime = sender::Background::new().map_err(failed(SENDER))?;
    let none = || failed(SENDER)(io::Error::other("no runtime"));
    let handle = runtime.handle().ok_or_else(none)?;
    // From here on, dropping it ends what was started.
    let inner = Inner { shared: shared.clone(), runtime: handle };
    let of_writer = shared.clone();
    let writer = thread::Builder::new().name(WRITER.to_owned());
    writer.spawn(move || writer::run(&of_writer, store)).map_err(failed(WRITER))?;
    let sender = thread::Builder::new().name(SENDER.to_owned());
    sender.spawn(move || sender::run(&shared, runtime, reader)).map_err(failed(SENDER))?;
    Ok(inner)
}

fn random_id() -> Result<String, OutboxError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().fold(String::with_capacity(32), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    }))
}

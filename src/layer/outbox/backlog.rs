//! What waits, sent one window after another: its own instance's first, in turn with what ended
//! processes left.

use super::records::Gap;
use super::shared::{Place, Shared};
use super::spool::cursor::Position;
use super::spool::instance::Instance;
use super::spool::left::LeftReader;
use super::spool::live::LiveReader;
use super::spool::shelf::Shelf;
use super::sync::{Instant, sleep, timeout};
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// After files could not be read.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Everything that waits.
pub(super) struct Backlog {
    shared: Arc<Shared>,
    /// `None` without a spool.
    own: Option<LiveReader>,
    /// What other processes left.
    left: Vec<LeftReader>,
    looked: Option<Instant>,
}

impl Backlog {
    pub(super) fn new(shared: Arc<Shared>, own: Option<LiveReader>) -> Self {
        Self { shared, own, left: Vec::new(), looked: None }
    }

    pub(super) async fn run(mut self) {
        let every = self.shared.settings.look_for_left;
        loop {
            if let Place::Spool { shelf, root } = &self.shared.place
                && self.looked.as_ref().is_none_or(|at| at.elapsed() >= every)
            {
                let adopted = adopt(&self.left, &self.shared.id, root, shelf);
                self.left.extend(adopted.unwrap_or_else(|error| {
                    self.shared.counters.spool_error.set(Some(format!(
                        "what other processes left in {} cannot be read: {error}",
                        root.display()
                    )));
                    Vec::new()
                }));
                self.looked = Some(Instant::now());
            }
            let own = self.send_own().await;
            let left = self.send_left().await;
            match own.and_then(|own| left.map(|left| own || left)) {
                Ok(true) => {}
                Ok(false) => {
                    let _ = timeout(every, self.shared.data.notified()).await;
                }
                Err(error) => {
                    let error = format!("the spool cannot be read: {error}");
                    self.shared.counters.spool_error.set(Some(error));
                    sleep(AFTER_ERROR).await;
                }
            }
        }
    }

    /// Sends a window of this instance's records. `false`: none wait.
    async fn send_own(&mut self) -> io::Result<bool> {
        let shared = &self.shared;
        let window = match (&mut self.own, &shared.place) {
            (Some(reader), _) => reader.window(&shared.settings)?,
            (None, Place::Memory(slot)) => slot.window(&shared.settings),
            (None, Place::Spool { .. }) => None,
        };
        if let Some(window) = &window {
            let lost = shared.deliver(&shared.id, &shared.framing, window).await;
            // Before they leave the spool: what tells them may wait for room.
            let noted = self.own.as_mut().map_or(Ok(()), |reader| reader.owe(&lost));
            for lost in lost {
                shared.tell(Gap::of(&shared.id, lost));
            }
            noted?;
            if let Some(reader) = &mut self.own {
                reader.done()?;
            }
        }
        let at = match (&self.own, &shared.place) {
            (Some(reader), _) => reader.at(),
            (None, Place::Memory(slot)) => slot.at(),
            (None, Place::Spool { .. }) => Position::default(),
        };
        shared.progress.send_if_modified(|progress| {
            let further = progress.done_to != at;
            progress.done_to = at;
            further
        });
        Ok(window.is_some())
    }

    /// Sends a window of what one of the others left. `false`: nobody left anything.
    async fn send_left(&mut self) -> io::Result<bool> {
        let shared = &self.shared;
        let Some(left) = self.left.first_mut() else { return Ok(false) };
        let window = match left.window(&shared.settings) {
            Ok(window) => window,
            Err(error) => {
                // Its lock is released; it is found again at the next look.
                self.left.remove(0);
                return Err(error);
            }
        };
        if let Some(window) = window {
            let lost = shared.deliver(left.id(), left.framing(), &window).await;
            left.owe(&lost)?;
            left.done(window.end)?;
        } else {
            // Everything is acknowledged, what tells of the rest included.
            self.left.remove(0).remove()?;
        }
        Ok(true)
    }
}

fn adopt(
    known: &[LeftReader],
    own: &str,
    root: &Path,
    shelf: &Arc<Shelf>,
) -> io::Result<Vec<LeftReader>> {
    let known = known.iter().map(|left| left.id().to_owned());
    let known: HashSet<String> = known.chain([own.to_owned()]).collect();
    let found = Instance::left(root, &known)?.into_iter();
    // A folder that is gone was delivered and removed by another process meanwhile.
    let readers = found.map(|instance| LeftReader::new(instance, shelf.clone(), own));
    let there = readers.filter(|it| !matches!(it, Err(it) if it.kind() == io::ErrorKind::NotFound));
    there.collect()
}

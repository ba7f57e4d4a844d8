//! The files of the public log on a disk that fails and crashes where a test wants it to.
//!
//! ```text
//! names    now: what a reader sees      on disk: what a sync of the folder left
//! bytes    of each file, and whether a sync of it succeeded before anything else went wrong with it
//! crash    each name is the one on disk or the one of now; bytes that are not durable are torn
//! ```
//!
//! Files are real, so that reading needs nothing of this. A sync that failed counts for ever: the
//! system calls such pages clean, and the next sync of the same file succeeds without writing them.

use super::simulated::{Op, Simulated, Tear, failed, torn};
use crate::ledger::files::Files;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    /// The number of the file.
    File(usize),
}

#[derive(Debug, Clone)]
struct Content {
    bytes: Vec<u8>,
    durable: bool,
    /// A sync of it failed.
    lost: bool,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    now: BTreeMap<PathBuf, Node>,
    on_disk: BTreeMap<PathBuf, Node>,
}

/// The files below a folder, which is durable itself.
#[derive(Clone)]
pub(super) struct SimulatedFiles {
    disk: Simulated,
    root: PathBuf,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for SimulatedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedFiles").field("root", &self.root).finish_non_exhaustive()
    }
}

impl SimulatedFiles {
    /// Those below `root`, of which there are none yet, on a disk that counts their operations with its
    /// own.
    pub(super) fn new(disk: &Simulated, root: &Path) -> Self {
        Self { disk: disk.clone(), root: root.to_owned(), state: Arc::default() }
    }

    fn step(&self) -> io::Result<()> {
        self.disk.step(Op::File).map_err(failed)
    }

    /// Leaves the files as the crash left them.
    pub(super) fn crash(&self, tear: Tear) {
        let state = self.state.lock().unwrap();
        let names: BTreeSet<&PathBuf> = state.now.keys().chain(state.on_disk.keys()).collect();
        for dir in names.iter().filter(|path| path.parent() == Some(&self.root)) {
            let _ = std::fs::remove_dir_all(dir);
        }
        for (nth, path) in names.into_iter().enumerate() {
            let is_of_now = match tear {
                Tear::Nothing => false,
                Tear::Everything => true,
                // Names go to the disk in any order, and whether their bytes do or not.
                Tear::Front(bytes) => (bytes + nth) % 3 == 0,
                Tear::Blocks(bits) => bits >> (nth % 64) & 1 == 1,
            };
            let names = if is_of_now { &state.now } else { &state.on_disk };
            // A name whose folder is gone is gone.
            let Some(node) = names.get(path).filter(|_| path.parent().unwrap().is_dir()) else {
                continue;
            };
            match node {
                Node::Folder => std::fs::create_dir(path).unwrap(),
                Node::File(file) => {
                    let Content { bytes, durable, .. } = &state.files[*file];
                    let left = if *durable { bytes.clone() } else { torn(&[], bytes, tear) };
                    std::fs::write(path, left).unwrap();
                }
            }
        }
    }
}

impl Files for SimulatedFiles {
    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        self.step()?;
        let mut state = self.state.lock().unwrap();
        for above in dir.ancestors().filter(|above| above.starts_with(&self.root)) {
            if above != self.root {
                state.now.insert(above.to_owned(), Node::Folder);
            }
        }
        std::fs::create_dir_all(dir)
    }

    fn write(&self, path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
        self.step()?;
        let mut state = self.state.lock().unwrap();
        let number = state.files.len();
        state.files.push(Content { bytes: bytes.to_vec(), durable: false, lost: false });
        state.now.insert(path.to_owned(), Node::File(number));
        std::fs::write(path, bytes)?;
        drop(state);
        if durable { self.sync(path) } else { Ok(()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        let mut state = self.state.lock().unwrap();
        let node = state.now.remove(from).unwrap();
        state.now.insert(to.to_owned(), node);
        std::fs::rename(from, to)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let done = self.step();
        let mut state = self.state.lock().unwrap();
        let Some(Node::File(number)) = state.now.get(path).copied() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let file = &mut state.files[number];
        file.lost |= done.is_err() && !file.durable;
        file.durable |= !file.lost && done.is_ok();
        done
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        let State { now, on_disk, .. } = &mut *self.state.lock().unwrap();
        on_disk.retain(|path, _| path.parent() != Some(dir) || now.contains_key(path));
        let within = now.iter().filter(|(path, _)| path.parent() == Some(dir));
        on_disk.extend(within.map(|(path, node)| (path.clone(), *node)));
        Ok(())
    }

    fn sync_all(&self, _: &Path) -> io::Result<()> {
        let done = self.step();
        let State { files, now, on_disk } = &mut *self.state.lock().unwrap();
        for file in files {
            file.lost |= done.is_err() && !file.durable;
            file.durable |= !file.lost && done.is_ok();
        }
        if done.is_ok() {
            on_disk.clone_from(now);
        }
        done
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.state.lock().unwrap().now.remove(path);
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        self.state.lock().unwrap().now.retain(|path, _| !path.starts_with(dir));
        std::fs::remove_dir_all(dir)
    }
}

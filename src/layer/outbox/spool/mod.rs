//! Records in files: they survive the process.
//!
//! ```text
//! FOLDER/                         0700, shared by processes
//!   lock                          held while instances are made or looked for
//!   refused/INSTANCE.frames       records that the receiver will never take
//!   INSTANCE-SALT/                one of each outbox
//!     lock                        held while its process lives, then by who delivers the rest
//!     instance                    resource and scope of its records
//!     00000001.segment …          frames; deleted when delivered
//!     cursor                      up to where segments are delivered
//!     owed                        records that will never arrive and that no entry tells yet
//!     gap                         what tells that its process ended, the same bytes however often
//! ```
//!
//! Everything is written to the page cache and never synced: it outlives the process, not a power
//! cut. Only a receipt promises that.
//!
//! | file | holds |
//! |---|---|
//! | [`instance`] | folders, locks, and finding what ended processes left |
//! | [`writer`] | appending frames to segments, within the bound |
//! | [`shelf`] | what writer and reader share: which segments there are, how many bytes |
//! | [`live`] | reading one's own segments while they grow |
//! | [`left`] | reading what an ended process left, and what of it is missing |
//! | [`cursor`] | up to where segments are delivered |
//! | [`owed`], [`farewell`] | what is still to be told: of a process that lives, of one that ended |

pub(super) mod cursor;
pub(super) mod farewell;
pub(super) mod instance;
pub(super) mod left;
pub(super) mod live;
pub(super) mod owed;
pub(super) mod refused;
pub(super) mod shelf;
pub(super) mod writer;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The file of a segment.
fn segment_path(folder: &Path, index: u64) -> PathBuf {
    folder.join(format!("{index:08}.segment"))
}

/// Options for files that nobody else may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

/// Makes a folder that nobody else may enter, and those above it.
fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// Opens a lock's file.
fn lock_file(folder: &Path) -> io::Result<File> {
    private().truncate(false).open(folder.join("lock"))
}

//! Where things lie in a data folder, and what is opened there first.

use super::{PipelineError, log_keys};
use crate::config::Config;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::{Ledger, OpenError, Options, PublicLog, PublicLogError, Recovery, origin_of};
use crate::protect::Keys;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Folder of the ledger within the data folder.
const LEDGER_FOLDER: &str = "ledger";

/// Folder of the embedded index within the data folder.
const INDEX_FOLDER: &str = "index";

/// Folder of the public log within the data folder.
const LOG_FOLDER: &str = "log";

/// Folder of the consumers' cursors within the data folder.
pub(super) const CURSOR_FOLDER: &str = "cursors";

/// Folder of dead letters within the data folder.
const DEAD_LETTERS: &str = "dead-letters";

/// Where the ledger of a data folder lies.
///
/// ```
/// let ledger = spanledger::pipeline::ledger_dir("data".as_ref());
/// assert_eq!(ledger, std::path::Path::new("data/ledger"));
/// ```
pub fn ledger_dir(data: &Path) -> PathBuf {
    data.join(LEDGER_FOLDER)
}

/// Where the embedded index of a data folder lies.
///
/// ```
/// let index = spanledger::pipeline::index_dir("data".as_ref());
/// assert_eq!(index, std::path::Path::new("data/index"));
/// ```
pub fn index_dir(data: &Path) -> PathBuf {
    data.join(INDEX_FOLDER)
}

/// Where the public log of a data folder lies.
///
/// ```
/// let log = spanledger::pipeline::log_dir("data".as_ref());
/// assert_eq!(log, std::path::Path::new("data/log"));
/// ```
pub fn log_dir(data: &Path) -> PathBuf {
    data.join(LOG_FOLDER)
}

/// Where the cursors of a data folder's consumers lie.
pub(crate) fn cursors_dir(data: &Path) -> PathBuf {
    data.join(CURSOR_FOLDER)
}

/// Where the dead letters of a data folder lie.
pub(crate) fn dead_letters_dir(data: &Path) -> PathBuf {
    data.join(DEAD_LETTERS)
}

/// The name under which entries say which ledger they come from.
///
/// ```
/// let name = spanledger::pipeline::ledger_name([0xab; 16]);
/// assert_eq!(name, format!("spanledger/{}", "ab".repeat(16)));
/// ```
pub fn ledger_name(origin: [u8; 16]) -> String {
    format!("spanledger/{}", hex(origin))
}

/// A ledger's random number as text.
pub(super) fn hex(origin: [u8; 16]) -> String {
    origin.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A folder for the owner alone.
pub(super) fn private_folder(path: &Path) -> Result<(), PipelineError> {
    make_private(path).map_err(|source| PipelineError::Data { path: path.to_owned(), source })
}

/// The same, for who says in other words what went wrong.
pub(super) fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// The keys; new ones only for a new ledger. With other keys, what is sent again would be another
/// entry, and no hash could be compared with an earlier one.
pub(super) fn open_keys(config: &Config) -> Result<Keys, PipelineError> {
    let has_entries =
        ledger_dir(&config.data).read_dir().is_ok_and(|mut files| files.next().is_some());
    let keys =
        if has_entries { Keys::open(&config.keys) } else { Keys::open_or_create(&config.keys) };
    Ok(keys?)
}

/// What was signed last: of the last checkpoint and of what the folder of keys says, the larger. So
/// what was signed binds the ledger also when the public log is lost, or is as old as the ledger.
pub(super) fn last_signed(config: &Config) -> Result<Option<Checkpoint>, PublicLogError> {
    let published = PublicLog::open(&log_dir(&config.data)).checkpoint()?;
    let published = published.map(|signed| signed.checkpoint);
    // The keys may be those of another ledger, which then is told when it is to be signed.
    let origin = origin_of(&ledger_dir(&config.data)).map(hex);
    let noted = log_keys::last_signed(&config.keys)?
        .filter(|noted| noted.origin.rsplit('/').next() == origin.as_deref());
    Ok(match (noted, published) {
        (Some(noted), Some(published)) if published.head.size > noted.head.size => Some(published),
        (noted, published) => noted.or(published),
    })
}

pub(super) fn open_ledger(config: &Config) -> Result<(Ledger, Recovery), PipelineError> {
    // IMPORTANT: read before anything of the ledger is changed. What was signed binds it.
    let signed = last_signed(config)?.map(|signed| signed.head);
    let options = Options { signed, ..config.ledger.clone() };
    Ledger::open(&ledger_dir(&config.data), options).map_err(|source| match source {
        OpenError::Locked { .. } => PipelineError::Taken { path: config.data.clone(), source },
        source => PipelineError::Ledger(source),
    })
}

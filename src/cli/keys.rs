//! `keys`: who may write and read. On the data folder itself, or through a running server.

use super::client::{Source, SourceError};
use super::display::{Paint, Style, clean};
use super::exit::{CommandError, Exit};
use super::keys_args::{
    CreateKeyArgs, KeysArgs, KeysCommand, RevokeKeyArgs, RotateKeyArgs, SecretArgs,
};
use super::keys_table::{heading, line};
use crate::access::{Book, BookError, Credential, read_last_used};
use crate::api::{CreateKey, Key, KeyMade, KeysAnswer, RotateKey};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Folder of the credentials within the data folder.
const ACCESS_FOLDER: &str = "access";

/// Kind of the problem with which a server refuses to make a first key without being told to.
const FIRST_KEY: &str = "urn:spanledger:problem:first-key";

/// Who made a key of a server that had none.
const NOBODY_YET: &str = "local";

/// Where the credentials of a data folder lie.
///
/// ```
/// let access = spanledger::cli::access_dir("data".as_ref());
/// assert_eq!(access, std::path::Path::new("data/access"));
/// ```
pub fn access_dir(data: &Path) -> PathBuf {
    data.join(ACCESS_FOLDER)
}

/// Why keys were not changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The book of credentials says what is wrong.
    #[error(transparent)]
    Book(BookError),
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// It would be the first credential.
    #[error(
        "this would be the first credential here: from it on nobody gets in without one, agents \
         that send without a key are refused, and reading needs an auditor's key. Make the \
         operator's first (`spanledger keys create --role operator`), or repeat this with --yes"
    )]
    First,
    /// The file for the secret cannot be made. Nothing was changed.
    #[error("{} cannot be made for the secret, so no key was made; name a new file", .path.display())]
    Out {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key is there and its secret is lost.
    #[error(
        "the key {id} was made, and its secret could not be written to {}: revoke it with \
         `spanledger keys revoke {id}` and make another", .path.display()
    )]
    Lost {
        /// Its id.
        id: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<BookError> for KeysError {
    fn from(error: BookError) -> Self {
        match error {
            BookError::First => Self::First,
            error => Self::Book(error),
        }
    }
}

/// Where keys are changed.
enum Ring {
    /// The folder of credentials.
    Folder(PathBuf),
    /// A running server.
    Server(Source),
}

/// Makes, lists, rotates or revokes keys. `notes` is for what a person should know beside it.
///
/// # Errors
/// [`CommandError`]; nothing is changed then, except as [`KeysError::Lost`] says.
pub async fn keys(
    args: &KeysArgs,
    style: Style,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<Exit, CommandError> {
    if let KeysCommand::Log(log) = &args.command {
        if args.api.is_some() {
            let what = "the log's key is changed on its own machine: leave --api out";
            return Err(KeysError::Invalid(what.to_owned()).into());
        }
        return super::log_key::run(log, &args.data, &actor(), out);
    }
    let ring = match &args.api {
        Some(address) => Ring::Server(Source::connect(address, &args.connect)?),
        None => Ring::Folder(access_dir(&args.data)),
    };
    match &args.command {
        KeysCommand::Create(create) => make(&ring, create, out, notes).await?,
        KeysCommand::Rotate(rotate) => replace(&ring, rotate, out).await?,
        KeysCommand::Revoke(revoke) => end(&ring, revoke, out).await?,
        // Done above: it is no credential.
        KeysCommand::Log(_) => {}
        KeysCommand::List(list) => {
            let answer = ring.list().await?;
            if list.json {
                write_json(&answer, out)?;
            } else {
                write_list(&ring, &answer, style, out)?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Fine)
}

async fn make(
    ring: &Ring,
    args: &CreateKeyArgs,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), CommandError> {
    let file = SecretFile::new(&args.secret)?;
    let (made, first) = ring.create(args.request()).await?;
    show(&made, &args.secret, file, out)?;
    if !args.secret.quiet && !args.secret.json {
        writeln!(out, "{}", ring.when("takes it"))?;
    }
    if first {
        // Beside the secret and not among it: a script reads the one, a person the other.
        writeln!(
            notes,
            "This is the first credential: from now on nobody gets in without one. Agents need a \
             writer's key\nto send (`spanledger keys create --role writer --tenant default`), and \
             reading needs an auditor's\n(`spanledger keys create --role auditor --tenant default`). \
             What was sent before belongs to the\ntenant default."
        )?;
    }
    Ok(())
}

async fn replace(
    ring: &Ring,
    args: &RotateKeyArgs,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let file = SecretFile::new(&args.secret)?;
    let made = ring.rotate(&args.id, args.request()).await?;
    show(&made, &args.secret, file, out)?;
    if !args.secret.quiet && !args.secret.json {
        let id = clean(&args.id);
        writeln!(out, "The old key {id} goes on for {} at most.", clean(&args.grace))?;
        writeln!(out, "{}", ring.when("takes it"))?;
    }
    Ok(())
}

async fn end(ring: &Ring, args: &RevokeKeyArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let key = ring.revoke(&args.id).await?;
    if args.json {
        return Ok(write_json(&key, out)?);
    }
    writeln!(
        out,
        "revoked {} ({}): {}",
        clean(&key.id),
        clean(&key.name),
        ring.when("refuses it")
    )?;
    Ok(())
}

/// Shows a new key, and its secret in one place: the file, or standard output.
fn show(
    made: &KeyMade,
    args: &SecretArgs,
    file: Option<SecretFile>,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let printed = match (&made.secret, file) {
        (Some(secret), Some(file)) => {
            file.keep(secret, &made.key.id)?;
            None
        }
        (secret, _) => secret.as_deref(),
    };
    if args.json {
        let secret = printed.map(str::to_owned);
        return Ok(write_json(&KeyMade { key: made.key.clone(), secret }, out)?);
    }
    if args.quiet {
        return Ok(printed.map_or(Ok(()), |secret| writeln!(out, "{secret}"))?);
    }
    let Key { id, name, role, tenant, expires, .. } = &made.key;
    let tenant = tenant.as_ref().map(|tenant| format!(" of {}", clean(tenant)));
    let expires = expires.as_ref().map_or("never expires".to_owned(), |at| format!("until {at}"));
    let (id, name, tenant) = (clean(id), clean(name), tenant.unwrap_or_default());
    writeln!(out, "made {id} ({name}): {role}{tenant}, {expires}")?;
    match (&args.out, printed, &made.key.certificate) {
        (_, Some(secret), _) => writeln!(
            out,
            "\n  {secret}\n\nThis is shown once. Send it as `Authorization: Bearer KEY`; commands take \
             it from SPANLEDGER_KEY\nor --key-file."
        )?,
        (_, None, Some(name)) => writeln!(out, "It is who shows the certificate {}.", clean(name))?,
        (Some(path), None, None) => writeln!(out, "Its secret is in {}.", path.display())?,
        (None, None, None) => {}
    }
    Ok(())
}

fn write_list(
    ring: &Ring,
    answer: &KeysAnswer,
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    if answer.keys.is_empty() {
        return writeln!(
            out,
            "no credentials: everybody on this machine may do everything.\n\
             `spanledger keys create --role operator` makes the first one."
        );
    }
    let now = Timestamp::now();
    writeln!(out, "{}", style.paint(Paint::Dim, &heading()))?;
    for key in &answer.keys {
        writeln!(out, "{}", line(key, now, style))?;
    }
    match ring {
        Ring::Folder(_) => writeln!(
            out,
            "{} in all. A server writes down each minute when they were used",
            answer.keys.len()
        ),
        Ring::Server(_) => writeln!(out, "{} in all", answer.keys.len()),
    }
}

fn write_json(answer: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    let text = serde_json::to_string(answer).map_err(io::Error::other)?;
    writeln!(out, "{text}")
}

impl Ring {
    /// Makes a key; also whether it is the first.
    async fn create(&self, asked: CreateKey) -> Result<(KeyMade, bool), CommandError> {
        match self {
            Self::Folder(dir) => {
                let (now, knows) = (Timestamp::now(), asked.first);
                let new = asked.read(now).map_err(KeysError::Invalid)?;
                let made = Book::change(dir, |book| {
                    book.check_first(new.role, knows)?;
                    let first = book.credentials.is_empty();
                    Ok((book.create(new, &actor(), now)?, first))
                });
                let ((credential, token), first) = made.map_err(KeysError::from)?;
                Ok((KeyMade::of(&credential, token.as_ref(), now), first))
            }
            Self::Server(source) => {
                let made: KeyMade = post(source, &["api", "v1", "keys"], &asked).await?;
                let first = made.key.created_by == NOBODY_YET;
                Ok((made, first))
            }
        }
    }

    async fn list(&self) -> Result<KeysAnswer, CommandError> {
        match self {
            Self::Folder(dir) => {
                let book = Book::read(dir).map_err(KeysError::from)?.unwrap_or_default();
                let (now, used) = (Timestamp::now(), read_last_used(dir));
                let key = |it: &Credential| Key::of(it, used.get(&it.id).copied(), now);
                let keys = book.credentials.iter().map(key).collect();
                Ok(KeysAnswer { keys })
            }
            Self::Server(source) => read(&source.get(&["api", "v1", "keys"], &[]).await?),
        }
    }

    async fn rotate(&self, id: &str, asked: RotateKey) -> Result<KeyMade, CommandError> {
        match self {
            Self::Folder(dir) => {
                let now = Timestamp::now();
                let grace = asked.read().map_err(KeysError::Invalid)?;
                let until = now.checked_add(grace);
                let until = until.map_err(|_| KeysError::Invalid("that is too long".to_owned()))?;
                let made = Book::change(dir, |book| book.rotate(id, until, &actor(), now));
                let (credential, token) = made.map_err(KeysError::from)?;
                Ok(KeyMade::of(&credential, Some(&token), now))
            }
            Self::Server(source) => {
                post(source, &["api", "v1", "keys", id, "rotate"], &asked).await
            }
        }
    }

    async fn revoke(&self, id: &str) -> Result<Key, CommandError> {
        match self {
            Self::Folder(dir) => {
                let now = Timestamp::now();
                let revoked = Book::change(dir, |book| book.revoke(id, &actor(), now));
                Ok(Key::of(&revoked.map_err(KeysError::from)?, None, now))
            }
            Self::Server(source) => {
                let nothing = serde_json::Map::new();
                post(source, &["api", "v1", "keys", id, "revoke"], &nothing).await
            }
        }
    }

    /// From when on a change counts.
    fn when(&self, what: &str) -> String {
        match self {
            Self::Folder(dir) => {
                let data = dir.parent().unwrap_or(dir);
                format!("A server that runs on {} {what} within a second.", data.display())
            }
            Self::Server(_) => format!("The server {what} from now on."),
        }
    }
}

async fn post<A: DeserializeOwned>(
    source: &Source,
    path: &[&str],
    body: &impl Serialize,
) -> Result<A, CommandError> {
    match source.post(path, body).await {
        Ok(bytes) => read(&bytes),
        Err(SourceError::Problem(problem)) if problem.kind == FIRST_KEY => {
            Err(KeysError::First.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn read<A: DeserializeOwned>(bytes: &[u8]) -> Result<A, CommandError> {
    serde_json::from_slice(bytes).map_err(CommandError::Answer)
}

/// Who changes the folder: the user of this process. Not what the environment calls him, which he
/// can choose.
pub(super) fn actor() -> String {
    let uid = rustix::process::getuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|user| {
        let mut fields = user.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id == uid && !name.is_empty()).then(|| name.to_owned())
    });
    format!("os:{}", name.unwrap_or(uid))
}

/// A file for a secret, made before the key: a key whose secret nobody has helps nobody.
struct SecretFile {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl SecretFile {
    fn new(args: &SecretArgs) -> Result<Option<Self>, KeysError> {
        let Some(path) = &args.out else { return Ok(None) };
        let file = File::options().create_new(true).write(true).mode(0o600).open(path);
        let file = file.map_err(|source| KeysError::Out { path: path.clone(), source })?;
        Ok(Some(Self { path: path.clone(), file, kept: false }))
    }

    fn keep(mut self, secret: &str, id: &str) -> Result<(), KeysError> {
        let written = writeln!(self.file, "{secret}").and_then(|()| self.file.sync_all());
        self.kept = written.is_ok();
        written.map_err(|source| KeysError::Lost { id: clean(id), path: self.path.clone(), source })
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if !self.kept {
            // Empty, or half a secret: nothing to keep.
            let _ = fs::remove_file(&self.path);
        }
    }
}

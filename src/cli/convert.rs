//! `convert`: what a request would become, for whoever writes a mapping.

use super::args::ConvertArgs;
use super::display::Style;
use super::exit::{CommandError, Exit};
use super::explained;
use crate::access::Tenant;
use crate::config::{Config, ConfigError, Overrides};
use crate::convert::{MappingError, Mappings, in_folder};
use crate::intake::{Preview, Previewed};
use crate::protect::{Keys, ProtectError, Protector, ProtectorError, ROOT_KEY_LEN};
use crate::receiver::otlp::{self, DecodeError, Signal};
use crate::receiver::{Kept, NotKept, kept};
use std::io::{self, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};

/// Why nothing was converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A mapping cannot be used.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The request cannot be read.
    #[error("cannot read the request {}: check the path and its permissions", path.display())]
    Read {
        /// The file; `-` for standard input.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was read is no request.
    #[error(transparent)]
    NotKept(#[from] NotKept),
    /// The request breaks off or is not what it began as.
    #[error("the request is broken")]
    Broken(#[from] DecodeError),
    /// There are no random bytes for a throw-away key.
    #[error("the system gave no random bytes for a throw-away key; try again")]
    Random(#[source] getrandom::Error),
    /// The configuration's fields cannot be searched for.
    #[error(transparent)]
    Protector(#[from] ProtectorError),
    /// An entry could not be protected.
    #[error(transparent)]
    Protect(#[from] ProtectError),
}

impl ConvertError {
    /// What was given is wrong (2), or something failed (1).
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Random(_) | Self::Protect(_) => Exit::Failed,
            _ => Exit::Usage,
        }
    }
}

/// Converts a request and writes the entries that it would become. Reads from `input` unless the
/// arguments name a file.
///
/// # Errors
/// [`CommandError::Convert`], and [`CommandError::Output`] when `out` cannot be written.
pub fn convert(
    args: &ConvertArgs,
    style: Style,
    input: &mut impl Read,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let (mappings, protector) = prepared(args)?;
    if let Some(file) = &args.check {
        writeln!(out, "{}: the mapping is right", file.display())?;
        return Ok(Exit::Fine);
    }
    let limits = crate::receiver::Limits::default();
    let bytes = read(args.request.as_deref(), input)?;
    let signal = match (args.traces, args.logs) {
        (true, _) => Some(Signal::Traces),
        (_, true) => Some(Signal::Logs),
        _ => None,
    };
    let messages = kept(bytes, signal, &limits).map_err(ConvertError::from)?;
    let as_json = args.json || !(args.explain || io::stdout().is_terminal());
    let mut refused = 0_usize;
    for Kept { signal, format, message } in &messages {
        let mut written = Ok(());
        let show = |previewed: Previewed| {
            if written.is_ok() {
                written = show(&previewed, as_json, style, out);
            }
        };
        let mut preview = Preview::new(&mappings, &protector, &Tenant::default(), show);
        otlp::decode(*signal, *format, message, &mut preview).map_err(ConvertError::from)?;
        let reasons = preview.finish().map_err(ConvertError::from)?;
        written?;
        refused = refused.saturating_add(reasons.len());
        for why in reasons {
            writeln!(io::stderr(), "a record would be refused: {why}")?;
        }
    }
    out.flush()?;
    Ok(if refused == 0 { Exit::Fine } else { Exit::Failed })
}

fn show(
    previewed: &Previewed,
    as_json: bool,
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    if as_json {
        out.write_all(&previewed.body)?;
        return out.write_all(b"\n");
    }
    // What intake writes is JSON; if it ever were not, the bytes say more than an error.
    match serde_json::from_slice(&previewed.body) {
        Ok(entry) => {
            out.write_all(explained::text(&entry, previewed.why.as_ref(), style).as_bytes())
        }
        Err(_) => out.write_all(&previewed.body),
    }
}

/// The mappings and the protection that the arguments ask for, with a key that is thrown away.
fn prepared(args: &ConvertArgs) -> Result<(Mappings, Protector), ConvertError> {
    let config = match &args.config {
        Some(file) => Some(Config::load(Some(file), &Overrides::default())?),
        None => None,
    };
    let folder = config.as_ref().and_then(|config| config.mappings.as_deref());
    let mut files = folder.map(in_folder).transpose()?.unwrap_or_default();
    files.extend(args.mapping.iter().chain(&args.check).cloned());
    let mappings = Mappings::with(&files)?;
    let mut root = [0; ROOT_KEY_LEN];
    getrandom::fill(&mut root).map_err(ConvertError::Random)?;
    let settings = config.map(|config| config.audit).unwrap_or_default();
    Ok((mappings, Protector::new(&settings, Keys::from_root(&root))?))
}

fn read(path: Option<&Path>, input: &mut impl Read) -> Result<Vec<u8>, ConvertError> {
    let path = path.filter(|path| *path != Path::new("-"));
    let mut bytes = Vec::new();
    let read = match path {
        Some(path) => std::fs::read(path).map(|read| bytes = read),
        None => input.read_to_end(&mut bytes).map(drop),
    };
    let path = path.unwrap_or(Path::new("-")).to_owned();
    read.map_err(|source| ConvertError::Read { path, source })?;
    Ok(bytes)
}

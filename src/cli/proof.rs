//! `proof`: that an entry is in the log, or that an older log is the beginning of it; and `verify
//! --proof`, which checks one that was saved.

use super::args::SourceArgs;
use super::client::{Source, SourceError};
use super::display::clean;
use super::exit::{CommandError, Exit};
use super::trust::{TrustError, given_keys, kept, witnesses};
use super::verify::{findings_json, headline, witnessed_json};
use super::verify_args::VerifyArgs;
use crate::evidence::{
    CheckedProof, KeySource, MAX_PROOF_BYTES, SavedProof, Shows, Trust, Verdict, hex,
};
use clap::Args;
use serde_json::json;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::Path;

/// `proof`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  spanledger proof 42\n  spanledger proof 000102030405060708090a0b0c0d0e0f --json > proof.json\n  spanledger proof 42 --size 1000\n  spanledger proof --old 1000 --json > consistency.json\n  spanledger proof --old 1000 --new 2000\n  spanledger verify --proof proof.json --key operator.vkey\n  spanledger verify --proof consistency.json --key operator.vkey --checkpoint kept-in-march\n\nAn entry is named by its event.id, for whoever may read it, or by its sequence, for a global auditor.\nThe proof of an id has its leaf record, too: a receipt. With --old it is shown that the log of that size\nis the beginning of the newer one. What is printed was checked; who signed it shows `verify --proof`,\nwhich needs nothing but the file and the operator's key.\nExit codes: 0 proved, 1 not (yet) to be proved, 2 usage, also a size or a sequence that the log does not\nhave, 3 what was answered proves nothing."
)]
pub struct ProofArgs {
    /// The entry: its event.id (32 hexadecimal digits) or its sequence
    #[arg(value_name = "ENTRY", required_unless_present = "old", conflicts_with = "old")]
    pub entry: Option<ProofEntry>,

    /// Size of the tree that the entry is to be in; that of the last checkpoint when it is left out.
    /// For an entry that is named by its sequence
    #[arg(long, value_name = "SIZE", requires = "entry")]
    pub size: Option<u64>,

    /// Size of the older log
    #[arg(long, value_name = "SIZE")]
    pub old: Option<u64>,

    /// Size of the newer log; that of the last checkpoint when it is left out
    #[arg(long, value_name = "SIZE", requires = "old")]
    pub new: Option<u64>,

    /// Print the proof as JSON, to be saved
    #[arg(long)]
    pub json: bool,

    /// Whose entry, of one that is named by its event.id: for a key that reads every tenant's
    #[arg(long, value_name = "NAME", env = "SPANLEDGER_TENANT", hide_env_values = true)]
    pub tenant: Option<String>,

    /// Where the answers come from.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// An entry, by one of its two names.
///
/// ```
/// use spanledger::cli::ProofEntry;
/// assert_eq!("42".parse(), Ok(ProofEntry::Sequence(42)));
/// let id = "0".repeat(31) + "A";
/// assert_eq!(id.parse(), Ok(ProofEntry::Id(id.to_lowercase())));
/// assert!("4x".parse::<ProofEntry>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofEntry {
    /// Its `event.id`.
    Id(String),
    /// Its place in the log.
    Sequence(u64),
}

/// Why text is not a [`ProofEntry`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("name an entry by its event.id, 32 hexadecimal digits, or by its sequence, a number")]
pub struct NotAnEntry;

impl std::str::FromStr for ProofEntry {
    type Err = NotAnEntry;

    fn from_str(text: &str) -> Result<Self, NotAnEntry> {
        if text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(Self::Id(text.to_ascii_lowercase()));
        }
        let is_number = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).map(Self::Sequence).ok_or(NotAnEntry)
    }
}

/// Asks for a proof, checks its path, and prints it.
///
/// # Errors
/// [`CommandError`]; [`CommandError::NotProved`] while no checkpoint covers the entry.
pub async fn proof(
    args: &ProofArgs,
    source: &Source,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    if matches!(args.entry, Some(ProofEntry::Id(_))) && args.size.is_some() {
        return Err(CommandError::SizeOfReceipt);
    }
    let (path, query) = asked(args);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let query: Vec<_> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = source.get_or_accepted(&path, &query).await.inspect_err(|error| {
        let is_beyond = matches!(error, SourceError::Problem(it) if it.status == 400);
        if is_beyond && matches!(args.entry, Some(ProofEntry::Sequence(_))) {
            let _ = writeln!(
                std::io::stderr(),
                "a running server signs what came last within seconds: for such an entry ask again a moment later"
            );
        }
    })?;
    let proof = match SavedProof::read(&answer) {
        Ok(proof)
            if proof.checkpoint.is_some() || !matches!(args.entry, Some(ProofEntry::Id(_))) =>
        {
            proof
        }
        Ok(_) => return Err(CommandError::NotProved),
        Err(_) if is_pending(&answer) => return Err(CommandError::NotProved),
        Err(error) => return Err(CommandError::Answer(serde::de::Error::custom(error))),
    };
    let nobody = Trust { keys: Vec::new(), from: KeySource::Beside };
    let checked = proof.check(&nobody, &[], &[]);
    if checked.verdict() == Verdict::Compromised {
        out.write_all(headline(&checked.findings, "").as_bytes())?;
        out.flush()?;
        return Ok(Exit::Tampered);
    }
    if args.json {
        let value: serde_json::Value =
            serde_json::from_slice(&answer).map_err(CommandError::Answer)?;
        writeln!(out, "{value:#}")?;
    } else {
        out.write_all(shown(&proof, &checked).as_bytes())?;
        writeln!(
            out,
            "save it with --json, and check it anywhere: spanledger verify --proof FILE --key KEY"
        )?;
    }
    out.flush()?;
    Ok(Exit::Fine)
}

/// Which path answers, and the parameters.
fn asked(args: &ProofArgs) -> (Vec<String>, Vec<(&'static str, String)>) {
    let path = |segments: &[&str]| {
        ["api", "v1"].iter().chain(segments).map(|it| (*it).to_owned()).collect::<Vec<_>>()
    };
    let number = |name, value: Option<u64>| value.map(|value| (name, value.to_string()));
    match &args.entry {
        Some(ProofEntry::Id(id)) => {
            let tenant = args.tenant.iter().map(|tenant| ("tenant", tenant.clone()));
            (path(&["entries", id, "receipt"]), tenant.collect())
        }
        Some(ProofEntry::Sequence(index)) => {
            let query = number("index", Some(*index)).into_iter();
            (path(&["log", "inclusion"]), query.chain(number("size", args.size)).collect())
        }
        None => {
            let query = number("old", args.old).into_iter();
            (path(&["log", "consistency"]), query.chain(number("new", args.new)).collect())
        }
    }
}

/// Whether it is a receipt of an entry that no checkpoint covers.
fn is_pending(answer: &[u8]) -> bool {
    let answer = serde_json::from_slice::<serde_json::Value>(answer).unwrap_or_default();
    answer.get("state").is_some_and(|state| state == "pending")
}

/// What a proof shows, for a person.
fn shown(proof: &SavedProof, checked: &CheckedProof) -> String {
    let mut text = String::new();
    let trees: Vec<_> = checked.trees.iter().collect();
    // Writing into a text cannot fail.
    let _ = match &proof.shows {
        Shows::Inclusion { index, leaf, record, .. } => {
            let size = trees.first().map_or(0, |tree| tree.size);
            let _ = writeln!(text, "entry {index} is in the tree of {size} entries");
            if let Some(record) = record {
                let _ = writeln!(text, "  id     {}", record.id);
                let _ = writeln!(text, "  body   sha256 {}", hex(&record.body_hash));
            }
            writeln!(text, "  leaf   {}", hex(leaf))
        }
        Shows::Consistency { old, new, .. } => {
            let (old, new) = (old.size, new.size);
            writeln!(text, "the log of {old} entries is the beginning of the one of {new}")
        }
    };
    for tree in trees {
        let _ = writeln!(text, "  root   {} ({} entries)", hex(&tree.root), tree.size);
    }
    let _ = match (&proof.checkpoint, checked.signers.is_empty()) {
        (Some(_), false) => writeln!(text, "  signed by {}", clean(&checked.signers.join(", "))),
        (Some(_), true) => writeln!(text, "  signed; by whom was not checked"),
        (None, _) => writeln!(text, "  no checkpoint of that size came with it"),
    };
    text
}

/// Checks a proof that was saved.
pub(super) fn saved(args: &VerifyArgs, path: &Path) -> Result<(Verdict, String), CommandError> {
    let keys = given_keys(&args.key)?;
    let failed = |source| TrustError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_PROOF_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    let proof = SavedProof::read(&bytes)
        .map_err(|source| TrustError::Proof { path: path.to_owned(), source })?;
    let from = if keys.is_empty() { KeySource::Beside } else { KeySource::Given };
    let trust = Trust { keys, from };
    let (kept, quorum) = (kept(&args.checkpoint)?, witnesses(&args.witness, args.quorum)?);
    let mut checked = proof.check(&trust, &kept, &args.expected());
    let signed = proof.witnessing(&checked, &kept, &trust);
    let witnessed = quorum.and_then(|it| it.check(&signed, &mut checked.findings));
    let text = if args.json {
        let (findings, more) = findings_json(&checked.findings);
        let tree = |it: &crate::ledger::TreeHead| json!({"size": it.size, "root": hex(&it.root)});
        let report = json!({
            "verdict": checked.verdict(),
            "ok": checked.verdict() == Verdict::Ok,
            "trees": checked.trees.iter().map(tree).collect::<Vec<_>>(),
            "signers": checked.signers,
            "witnessed": witnessed_json(witnessed.as_ref()),
            "findings": findings,
            "more_findings": more,
        });
        format!("{report:#}\n")
    } else {
        let told = if checked.verdict() == Verdict::Compromised {
            String::new()
        } else {
            shown(&proof, &checked)
        };
        let mut text = headline(&checked.findings, "the proof holds");
        for line in told.lines() {
            let _ = writeln!(text, "  {line}");
        }
        if let Some(witnessed) = &witnessed {
            let _ = writeln!(text, "  witnessed: {}", clean(&witnessed.to_string()));
        }
        text
    };
    Ok((checked.verdict(), text))
}

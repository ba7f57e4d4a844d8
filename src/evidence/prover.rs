//! What proves entries: the ledger for what was recorded, the public log for the tree over it.
//!
//! Every proof is checked before it is given out. Tiles are derived files: one that is damaged must
//! become an error here and not a proof that fails at an auditor's.

use super::acts::chosen;
use super::format::{Item, MAX_BODY_BYTES, Manifest, hex};
use super::make::{Maker, pretty};
use super::originals::Originals;
use super::spool::Spool;
use super::zip::{MAX_BUNDLE_BYTES, WriteError};
use crate::access::Tenant;
use crate::entry::format_ns;
use crate::intake::Opener;
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::proof::{
    InvalidProof, ProofError, Subtrees, consistency, inclusion, root, verify_consistency,
    verify_inclusion,
};
use crate::ledger::{
    EntryId, Hash, PublicLog, PublicLogError, ReadError, Reader, TreeHead, merkle,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// What is free on a disk where a bundle is begun: room for the largest one, and for as much beside it,
/// which is several times what the ledger itself keeps for its end.
const MIN_FREE_BYTES: u64 = 2 * MAX_BUNDLE_BYTES;

/// A tree of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Its size and root.
    pub head: TreeHead,
    /// Its checkpoint, where it is the one that was signed last.
    pub signed: Option<SignedCheckpoint>,
}

impl Tree {
    /// Its checkpoint as a signed note.
    pub fn note(&self) -> Option<String> {
        let note = self.signed.as_ref().map(|signed| String::from_utf8_lossy(&signed.note));
        note.map(std::borrow::Cow::into_owned)
    }
}

/// What can be proved about a ledger. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Prover {
    reader: Reader,
    log: PublicLog,
    origin: String,
    /// What opens originals for a bundle.
    opener: Option<Opener>,
}

/// Why something cannot be proved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// An entry cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The public log cannot be read.
    #[error(transparent)]
    Log(#[from] PublicLogError),
    /// The public log has no such proof.
    #[error(transparent)]
    Proof(#[from] ProofError<PublicLogError>),
    /// What the public log says is not the tree that was signed.
    #[error(
        "the tiles of the public log do not make the tree that was signed: run `spanledger verify`, then remove \
         the tiles, which are made again from the ledger"
    )]
    Tiles(#[from] InvalidProof),
    /// Nothing was signed yet.
    #[error("no checkpoint is signed yet: the first follows within seconds of the first entry")]
    Unsigned,
    /// The tree is not as large.
    #[error("the signed tree has {signed} entries, not {asked}: ask for a smaller size")]
    Beyond {
        /// The size that was asked for.
        asked: u64,
        /// The size that is signed.
        signed: u64,
    },
    /// The bundle would be too large.
    #[error(
        "the bodies of the story have more than {MAX_BODY_BYTES} bytes: ask for a part of it by another id"
    )]
    TooLarge,
    /// The bundle would have too many files, or would be too long.
    #[error("{0}: ask for a part of the story by another id")]
    TooMuch(#[source] WriteError),
    /// The bundle cannot be written.
    #[error("a bundle cannot be written; is there room on the disk of the data folder?")]
    Write(#[source] io::Error),
    /// The room on the disk is left to the entries that come.
    #[error(
        "a bundle takes up to {MAX_BUNDLE_BYTES} bytes on the disk of the data folder while it is made, and what \
         is free there is left to the ledger: make room"
    )]
    NoRoom,
    /// Two sizes or an index are in the wrong order.
    #[error("{0}")]
    Asked(&'static str),
}

impl From<WriteError> for ProveError {
    fn from(error: WriteError) -> Self {
        match error {
            too_large @ WriteError::TooLarge => Self::TooMuch(too_large),
            WriteError::Io(error) => Self::Write(error),
        }
    }
}

impl Prover {
    /// Proves by this ledger and its public log. `origin` is the name of the log where it has signed
    /// nothing yet.
    pub fn new(reader: Reader, log: PublicLog, origin: impl Into<String>) -> Self {
        Self { reader, log, origin: origin.into(), opener: None }
    }

    /// The same, whose bundles also have the originals that mode `full` sealed, with what checks them: who
    /// gets one reads them. Making a bundle then reads keys and may block.
    #[must_use]
    pub fn with_originals(self, opener: Opener) -> Self {
        Self { opener: Some(opener), ..self }
    }

    /// The checkpoint that was signed last.
    ///
    /// # Errors
    /// [`ProveError`] when it cannot be read.
    pub fn checkpoint(&self) -> Result<Option<SignedCheckpoint>, ProveError> {
        Ok(self.log.checkpoint()?)
    }

    /// Whether a checkpoint covers all that is durable now, or none will come that does.
    ///
    /// # Errors
    /// [`ProveError`] when it cannot be read.
    pub fn is_settled(&self, watermark: u64) -> Result<bool, ProveError> {
        let signed = self.checkpoint()?.map_or(0, |it| it.checkpoint.head.size);
        Ok(signed >= watermark || self.reader.has_ended())
    }

    /// Number of durable entries.
    pub fn watermark(&self) -> u64 {
        self.reader.watermark()
    }

    /// The entry at that place, when it is the one with that id and of that tenant.
    ///
    /// # Errors
    /// [`ProveError`] when it cannot be read.
    pub fn item(
        &self,
        sequence: u64,
        id: [u8; 16],
        tenant: &Tenant,
    ) -> Result<Option<Item>, ProveError> {
        let found = self.reader.get(sequence)?;
        let found = found.filter(|it| it.id == EntryId(id) && it.tenant == tenant.name());
        Ok(found.and_then(|it| Item::of(&it)))
    }

    /// Adds the inclusion proof, where the tree covers the entry.
    ///
    /// # Errors
    /// [`ProveError`] when the public log is damaged.
    pub fn prove(&self, item: &mut Item, head: &TreeHead) -> Result<(), ProveError> {
        Self::prove_in(&Known::new(&self.log), item, head)
    }

    fn prove_in(tree: &Known<'_>, item: &mut Item, head: &TreeHead) -> Result<(), ProveError> {
        let sequence = item.proof.sequence;
        if sequence < head.size {
            let path = Self::path_in(tree, sequence, &item.leaf_hash, head)?;
            item.proof.inclusion = Some(path.iter().map(|hash| hex(hash)).collect());
        }
        Ok(())
    }

    fn path(&self, index: u64, leaf: &Hash, head: &TreeHead) -> Result<Vec<Hash>, ProveError> {
        Self::path_in(&Known::new(&self.log), index, leaf, head)
    }

    fn path_in(
        tree: &Known<'_>,
        index: u64,
        leaf: &Hash,
        head: &TreeHead,
    ) -> Result<Vec<Hash>, ProveError> {
        let path = inclusion(tree, index, head.size)?;
        verify_inclusion(leaf, index, head, &path)?;
        Ok(path)
    }

    /// The path from an entry's leaf to the root of the tree of that size, or of the one that was
    /// signed last; with the leaf's hash.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn inclusion(
        &self,
        index: u64,
        size: Option<u64>,
    ) -> Result<(Tree, Hash, Vec<Hash>), ProveError> {
        let tree = self.tree(size)?;
        let head = tree.head;
        if index >= head.size {
            return Err(ProveError::Asked("`index` is below the size of the tree"));
        }
        let found = self.reader.get(index)?.ok_or(ProveError::Unsigned)?;
        let leaf = merkle::leaf_hash(&found.as_ref().leaf_record());
        let path = self.path(index, &leaf, &head)?;
        Ok((tree, leaf, path))
    }

    /// What shows that the tree of the size `old` is the beginning of the one of the size `new`,
    /// or of the one that was signed last.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn consistency(
        &self,
        old: u64,
        new: Option<u64>,
    ) -> Result<(TreeHead, Tree, Vec<Hash>), ProveError> {
        let new = self.tree(new)?;
        if old > new.head.size {
            return Err(ProveError::Asked("`old` is not above `new`"));
        }
        let old = self.tree(Some(old))?.head;
        let path = consistency(&self.log, old.size, new.head.size)?;
        verify_consistency(&old, &new.head, &path)?;
        Ok((old, new, path))
    }

    /// The tree of that size, which a signed one contains; without a size the signed one.
    fn tree(&self, size: Option<u64>) -> Result<Tree, ProveError> {
        let signed = self.checkpoint()?.ok_or(ProveError::Unsigned)?;
        let head = signed.checkpoint.head;
        match size {
            Some(asked) if asked > head.size => {
                Err(ProveError::Beyond { asked, signed: head.size })
            }
            Some(size) if size < head.size => {
                Ok(Tree { head: TreeHead { size, root: root(&self.log, size)? }, signed: None })
            }
            _ => Ok(Tree { head, signed: Some(signed) }),
        }
    }

    /// Where a bundle can grow: in a file without a name, in the data folder, or where that may not be
    /// written in the system's own. A disk that is nearly full is left to the entries that come.
    ///
    /// # Errors
    /// [`ProveError::Write`], [`ProveError::NoRoom`].
    pub fn spool(&self) -> Result<Spool, ProveError> {
        self.spool_beside(MIN_FREE_BYTES)
    }

    /// The same where that many bytes are free.
    fn spool_beside(&self, free: u64) -> Result<Spool, ProveError> {
        let in_dir = |dir: &Path| {
            let spool = Spool::in_dir(dir).map_err(ProveError::Write)?;
            if has_free(dir, free) { Ok(spool) } else { Err(ProveError::NoRoom) }
        };
        match self.log.dir().parent().map(in_dir) {
            Some(Err(ProveError::Write(_))) | None => in_dir(&std::env::temp_dir()),
            Some(made) => made,
        }
    }

    /// Writes a bundle of these entries into an empty spool.
    ///
    /// # Errors
    /// [`ProveError`]; what the spool has then is no bundle.
    pub fn bundle(
        &self,
        asked: &str,
        tenant: &Tenant,
        story: &Story,
        now_ns: u64,
        spool: &mut Spool,
    ) -> Result<(), ProveError> {
        let checkpoint = self.checkpoint()?;
        let origin = checkpoint.as_ref().map_or(&self.origin, |it| &it.checkpoint.origin);
        let mut manifest = Manifest::new(asked, tenant, origin, format_ns(now_ns));
        manifest.trace_ids.clone_from(&story.trace_ids);
        manifest.truncated = story.truncated;
        manifest.payloads = self.opener.is_some();
        let mut maker = Maker::begin(spool, manifest, checkpoint, self.log.keys()?);
        let (tree, mut bytes) = (Known::new(&self.log), 0_usize);
        for (sequence, id) in &story.entries {
            let Some(mut item) = self.item(*sequence, *id, tenant)? else {
                maker.add_elsewhere(id);
                continue;
            };
            bytes = bytes.saturating_add(item.body.as_ref().map_or(0, Vec::len));
            let originals = self.originals(*sequence)?;
            bytes = bytes.saturating_add(originals.as_ref().map_or(0, Vec::len));
            if bytes > MAX_BODY_BYTES {
                return Err(ProveError::TooLarge);
            }
            if let Some(head) = maker.head() {
                Self::prove_in(&tree, &mut item, &head)?;
            }
            maker.add(&item)?;
            if let Some(originals) = originals {
                maker.add_originals(*sequence, &originals)?;
            }
        }
        let acts = self.acts(&maker, story, &tree)?;
        Ok(maker.finish(&acts)?)
    }

    /// The file with the originals of an entry, when they were asked for and it has some.
    fn originals(&self, sequence: u64) -> Result<Option<Vec<u8>>, ProveError> {
        let Some(opener) = &self.opener else { return Ok(None) };
        let stored = self.reader.get(sequence)?;
        let found = stored.and_then(|stored| Originals::of(&stored.as_ref(), opener));
        Ok(found.map(|originals| pretty(&originals)))
    }

    /// The entries of ours that explain those of the story, proved.
    fn acts(
        &self,
        maker: &Maker<'_>,
        story: &Story,
        tree: &Known<'_>,
    ) -> Result<Vec<Item>, ProveError> {
        let Some(head) = maker.head() else { return Ok(Vec::new()) };
        let system = Tenant::system();
        let bodiless = maker.seen().bodiless().map(|it| (it.sequence, it.leaf.clone()));
        let bodiless: Vec<_> = bodiless.collect();
        let mut failed = None;
        let found = story.acts.iter().map_while(|(sequence, id)| {
            let item = self.item(*sequence, *id, &system);
            item.map_err(|error| failed = Some(error)).ok()
        });
        let mut acts = chosen(found.flatten(), head.size, &bodiless);
        failed.map_or(Ok(()), Err)?;
        for act in &mut acts {
            Self::prove_in(tree, act, &head)?;
        }
        Ok(acts)
    }
}

/// Whether that many bytes are free there. What the system does not tell is room enough: writing finds
/// out.
fn has_free(dir: &Path, bytes: u64) -> bool {
    let disk = rustix::fs::statvfs(dir);
    disk.map_or(true, |disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= bytes)
}

/// The public log, with the hashes that were read already: the paths of a story share most.
struct Known<'l> {
    log: &'l PublicLog,
    seen: RefCell<HashMap<(u8, u64), Hash>>,
}

impl<'l> Known<'l> {
    fn new(log: &'l PublicLog) -> Self {
        Self { log, seen: RefCell::default() }
    }
}

impl Subtrees for Known<'_> {
    type Error = PublicLogError;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, PublicLogError> {
        if let Some(hash) = self.seen.borrow().get(&(level, index)) {
            return Ok(*hash);
        }
        let hash = self.log.subtree(level, index)?;
        self.seen.borrow_mut().insert((level, index), hash);
        Ok(hash)
    }
}

/// The entries that a bundle is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Story {
    /// Sequence and id of each, in the order of the story.
    pub entries: Vec<(u64, [u8; 16])>,
    /// The same of entries of the log about itself that may explain some of those.
    pub acts: Vec<(u64, [u8; 16])>,
    /// Every trace id.
    pub trace_ids: Vec<String>,
    /// Whether there are more.
    pub truncated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_room_of_a_disk_is_left_to_the_ledger() {
        let dir = tempfile::tempdir().unwrap();
        assert!(has_free(dir.path(), 1), "a test needs some room, too");
        assert!(!has_free(dir.path(), u64::MAX));
        assert!(has_free(&dir.path().join("not there"), u64::MAX), "writing finds out");
    }

    #[test]
    fn a_bundle_that_is_too_large_is_refused_in_words_about_what_is_too_large() {
        let files = ProveError::from(WriteError::TooLarge).to_string();
        assert!(files.contains("files and") && files.contains("another id"), "{files}");
        assert!(!files.contains("bodies of the story"), "{files}");
    }
}

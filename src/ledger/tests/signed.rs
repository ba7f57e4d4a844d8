//! A ledger and what was signed of it: one that contradicts its checkpoint is not opened.

use super::{batch, small};
use crate::ledger::{Ledger, OpenError, Options, TreeHead};
use std::path::Path;

/// A ledger of so many entries in several segments, closed, and the tree after each entry.
async fn ledger(dir: &Path, ids: impl Iterator<Item = u64>) -> Vec<TreeHead> {
    let (ledger, _) = Ledger::open(dir, small()).unwrap();
    let mut heads = vec![ledger.reader().head()];
    for id in ids {
        ledger.append(batch([id])).await.unwrap();
        heads.push(ledger.reader().head());
    }
    ledger.close().await.unwrap();
    heads
}

async fn open(dir: &Path, signed: TreeHead) -> Result<TreeHead, OpenError> {
    let options = Options { signed: Some(signed), ..small() };
    let (ledger, recovery) = Ledger::open(dir, options)?;
    ledger.close().await.unwrap();
    Ok(recovery.head)
}

fn files(dir: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let files = dir.read_dir().unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .map(|path| (path.file_name().unwrap().to_owned(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_ledger_goes_on_after_each_tree_that_it_had() {
    let dir = tempfile::tempdir().unwrap();
    for signed in ledger(dir.path(), 0..30).await {
        assert_eq!(open(dir.path(), signed).await.unwrap().size, 30, "{signed}");
    }
}

#[tokio::test]
async fn a_copy_from_before_the_last_checkpoint_is_refused_and_left_as_it_is() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = ledger(new.path(), 0..30).await;
    ledger(old.path(), 0..20).await;
    let before = files(old.path());
    let error = open(old.path(), all[30]).await.unwrap_err();
    assert!(matches!(error, OpenError::Rollback { .. }));
    let text = error.to_string();
    assert!(text.contains("size 30") && text.contains("size 20"), "{text}");
    assert_eq!(files(old.path()), before);
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(open(empty.path(), all[30]).await, Err(OpenError::Rollback { .. })));
    assert_eq!(
        open(empty.path(), all[0]).await.unwrap().size,
        0,
        "an empty tree is every ledger's"
    );
}

#[tokio::test]
async fn a_ledger_with_another_entry_anywhere_below_the_checkpoint_is_refused() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let signed = ledger(one.path(), 0..30).await;
    ledger(other.path(), (0..30).map(|id| if id == 12 { 99 } else { id })).await;
    for (size, head) in signed.iter().enumerate() {
        let opened = open(other.path(), *head).await;
        assert_eq!(opened.is_ok(), size <= 12, "{head}");
    }
}

#[tokio::test]
async fn a_torn_group_is_cut_off_above_the_checkpoint_only() {
    let dir = tempfile::tempdir().unwrap();
    let heads = ledger(dir.path(), 0..3).await;
    let segments = files(dir.path());
    let (name, bytes) = segments
        .iter()
        .rfind(|(name, _)| Path::new(name).extension().is_some_and(|ending| ending == "segment"))
        .unwrap();
    // The mark of the end and some bytes of the last entry's group are gone.
    std::fs::write(dir.path().join(name), &bytes[..bytes.len() - 150]).unwrap();
    let before = files(dir.path());
    let refused = open(dir.path(), heads[3]).await.unwrap_err();
    assert!(matches!(refused, OpenError::Rollback { .. }), "{refused}");
    assert_eq!(files(dir.path()), before, "nothing is cut off");
    assert_eq!(open(dir.path(), heads[2]).await.unwrap(), heads[2]);
}

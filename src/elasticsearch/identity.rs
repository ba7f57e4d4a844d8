//! Whether the cluster is the one that has the earlier entries.
//!
//! The cursor says what is done with, and means one cluster. Pointed at another one, or at one that
//! was emptied, the exporter would leave out the history without a word. So the cluster's own
//! number (`cluster_uuid`) lies beside the cursor, and is compared before the first bulk and after
//! each loss of the connection. A key without the cluster privilege `monitor` cannot ask; then
//! nothing is compared.

use super::deliver::{Held, Shared};
use super::outcome::{Problem, said_of_send_error};
use super::status::locked;
use super::transport::{Method, Reply, Request, Transport};
use crate::export::CursorFile;
use crate::store::StoreError;
use crate::store::durable::write_file;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The number of the cluster that the cursor means.
#[derive(Debug)]
pub(super) struct Identity {
    file: PathBuf,
    cursor: CursorFile,
    /// Held while the file is read and written, by threads that may block.
    comparing: Mutex<()>,
    /// Whether it was compared since the connection was lost.
    compared: AtomicBool,
}

/// What the reply to `GET /` says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Number(String),
    /// The key may not ask, or what is in between does not let it.
    Nothing,
}

#[derive(Deserialize)]
struct Root {
    cluster_uuid: String,
}

impl Identity {
    /// For the exporter `name` with its files in `dir`.
    pub(super) fn new(dir: &Path, name: &str, ledger: [u8; 16]) -> Self {
        Self {
            file: dir.join(format!("{name}-cluster.id")),
            comparing: Mutex::new(()),
            cursor: CursorFile::new(dir, name, ledger),
            compared: AtomicBool::new(false),
        }
    }

    /// The connection was lost: what answers next may be another cluster.
    pub(super) fn doubt(&self) {
        self.compared.store(false, Ordering::Relaxed);
    }

    /// Whether entries may go to the cluster of that number; notes it when it is the first, or
    /// when everything goes there from the first entry on.
    fn accepts(&self, number: &str) -> Result<bool, StoreError> {
        let _comparing = locked(&self.comparing);
        let known = std::fs::read_to_string(&self.file).unwrap_or_default();
        if known.trim_end() == number {
            return Ok(true);
        }
        if !known.trim_end().is_empty() && self.cursor.read().is_some_and(|next| next > 0) {
            return Ok(false);
        }
        write_file(&self.file, format!("{number}\n").as_bytes()).map(|()| true)
    }
}

/// Waits until the cluster is known to be the right one, or cannot be asked.
pub(super) async fn ensure_cluster<T: Transport>(shared: &Shared<T>, held: &mut Held) {
    while !shared.identity.compared.load(Ordering::Relaxed) {
        let request = Request {
            method: Method::Get,
            path: "/".to_owned(),
            query: vec![("filter_path", "cluster_uuid".to_owned())],
            body: None,
            timeout: TIMEOUT,
        };
        let ticket = shared.gate.enter().await;
        let reply = shared.transport.send(request).await;
        let said = match &reply {
            Ok(reply) => of_reply(reply),
            Err(error) => Err((Problem::Unavailable, said_of_send_error(error))),
        };
        let waits = match said {
            Ok(Said::Nothing) => None,
            Ok(Said::Number(number)) => compare(shared, number).await.err(),
            Err(waits) => Some(waits),
        };
        match waits {
            None => {
                ticket.answered(false);
                shared.identity.compared.store(true, Ordering::Relaxed);
            }
            Some((problem, why)) => {
                ticket.failed(problem, reply.ok().and_then(|reply| reply.retry_after));
                held.set(problem, &why);
            }
        }
    }
}

async fn compare<T: Transport>(
    shared: &Shared<T>,
    number: String,
) -> Result<(), (Problem, String)> {
    let of = shared.identity.clone();
    let accepted = tokio::task::spawn_blocking(move || of.accepts(&number)).await;
    match accepted {
        Ok(Ok(false)) => {
            let why = "this cluster is not the one that has the earlier entries".to_owned();
            Err((Problem::OtherCluster, why))
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "cannot note which cluster this is; another one is not noticed");
            Ok(())
        }
        // The thread is gone with the runtime, and so are we.
        Ok(Ok(true)) | Err(_) => Ok(()),
    }
}

fn of_reply(reply: &Reply) -> Result<Said, (Problem, String)> {
    let why = || format!("the cluster answered {} to GET /", reply.status);
    match reply.status {
        200 => Ok(serde_json::from_slice::<Root>(&reply.body)
            .map_or(Said::Nothing, |root| Said::Number(root.cluster_uuid))),
        401 => Err((Problem::Unauthorized, why())),
        429 => Err((Problem::Busy, why())),
        // It refuses this question; whether it takes documents, a bulk says.
        300..500 => Ok(Said::Nothing),
        _ => Err((Problem::Unavailable, why())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_cluster_is_accepted_only_when_nothing_is_left_out_there() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::new(dir.path(), "elasticsearch", [1; 16]);
        let cursor = CursorFile::new(dir.path(), "elasticsearch", [1; 16]);
        assert!(identity.accepts("first").unwrap());
        cursor.write(0).unwrap();
        assert!(identity.accepts("second").unwrap(), "nothing was exported yet");
        cursor.write(7).unwrap();
        assert!(identity.accepts("second").unwrap());
        assert!(!identity.accepts("third").unwrap());
        std::fs::remove_file(dir.path().join("elasticsearch.cursor")).unwrap();
        assert!(identity.accepts("third").unwrap(), "from the first entry on");
        cursor.write(7).unwrap();
        std::fs::remove_file(dir.path().join("elasticsearch-cluster.id")).unwrap();
        assert!(identity.accepts("fourth").unwrap(), "somebody wants only what is new there");
        assert!(!identity.accepts("third").unwrap());
    }

    #[test]
    fn a_cluster_that_does_not_say_its_number_is_not_waited_for_and_one_that_is_away_is() {
        let said = |status, body: &'static str| {
            of_reply(&Reply { status, body: body.into(), retry_after: None })
                .map_err(|(problem, _)| problem)
        };
        assert_eq!(said(200, r#"{"cluster_uuid":"a"}"#), Ok(Said::Number("a".to_owned())));
        for status in [403, 400, 404, 302] {
            assert_eq!(said(status, "<html>"), Ok(Said::Nothing), "{status}");
        }
        assert_eq!(said(200, "{}"), Ok(Said::Nothing));
        assert_eq!(said(401, ""), Err(Problem::Unauthorized));
        assert_eq!(said(429, ""), Err(Problem::Busy));
        assert_eq!(said(503, ""), Err(Problem::Unavailable));
    }
}

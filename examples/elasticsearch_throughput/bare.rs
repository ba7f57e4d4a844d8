//! The bare client: bulks that are ready, sent by as many workers as may be on their way.

use super::Args;
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use spanledger::elasticsearch::{DEFAULT_BULK_TIMEOUT, DEFAULT_MAX_ITEMS, Filling, Request};
use spanledger::ledger::Reader;
use spanledger::store::projection::Origin;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bytes that are read from the ledger at once.
const CHUNK: usize = 1024 * 1024;

/// The bulks that the exporter would send for this ledger, byte for byte.
pub(crate) fn bulks(data: &Path, args: &Args) -> Result<Vec<Request>> {
    let reader = Reader::open(&data.join("ledger")).context("the ledger of the collector")?;
    let name = spanledger::cli::ledger_name(reader.origin());
    let mut scan = reader.scan(0);
    let (mut filling, mut bulks) = (Filling::default(), Vec::new());
    let mut end = |filling: &mut Filling| -> Result<()> {
        let mut part = filling.take(args.bulk_size, Vec::new());
        part.make_wire(!args.no_gzip);
        bulks.push(part.request(true, DEFAULT_BULK_TIMEOUT).context("a bulk has its body")?);
        Ok(())
    };
    while let Some(chunk) = scan.next_chunk(CHUNK)? {
        for entry in chunk.entries() {
            if filling.bytes() >= args.bulk_size || filling.len() >= DEFAULT_MAX_ITEMS {
                end(&mut filling)?;
            }
            filling.push(entry, Origin { name: &name });
        }
    }
    while !filling.is_empty() {
        end(&mut filling)?;
    }
    Ok(bulks)
}

/// Sends them all; how long it took from the first byte to the last reply.
pub(crate) async fn send(url: &str, bulks: Vec<Request>, in_flight: usize) -> Result<Duration> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let left = Arc::new(Mutex::new(bulks.into_iter()));
    let url = format!("{url}/_bulk");
    let start = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        workers.spawn(work(client.clone(), url.clone(), left.clone()));
    }
    while let Some(worker) = workers.join_next().await {
        worker.context("a worker ended")??;
    }
    Ok(start.elapsed())
}

async fn work(
    client: reqwest::Client,
    url: String,
    left: Arc<Mutex<std::vec::IntoIter<Request>>>,
) -> Result<()> {
    loop {
        let next = left.lock().ok().and_then(|mut left| left.next());
        let Some(bulk) = next else { return Ok(()) };
        let body = bulk.body.context("a bulk has its body")?;
        let mut request = client
            .post(&url)
            .query(&bulk.query)
            .header("content-type", "application/x-ndjson")
            .body(body.bytes);
        if body.gzip {
            request = request.header("content-encoding", "gzip");
        }
        let reply = request.send().await?.error_for_status()?.bytes().await?;
        ensure!(has_no_errors(&reply), "the node refused documents: {reply:?}");
    }
}

fn has_no_errors(reply: &Bytes) -> bool {
    memchr::memmem::find(reply, br#""errors":false"#).is_some()
}

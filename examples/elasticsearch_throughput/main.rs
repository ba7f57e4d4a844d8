//! How many documents a second spanledger brings into a real Elasticsearch node, next to what the
//! node takes from a bare bulk client; and how long a search for an external id takes in it.
//!
//! ```text
//! spans ─► spanledger ─► ledger ─┬─► bulks made beforehand ─► bare client ─► node
//!                                └─► spanledger serve ─► exporter ─────────► the same, emptied
//! ```
//!
//! ```sh
//! cargo build --release
//! cargo run --example elasticsearch_throughput -- --binary target/release/spanledger
//! cargo run --example elasticsearch_throughput -- --binary … --spans 1000000 --rounds 1 --searches 50
//! ```
//!
//! Both send the same bytes: the same documents, bulks of the same size, compressed alike, as many
//! on their way at once. The bare client has its bulks ready, compressed, in memory, and looks at
//! no reply but for whether it has errors: it is the most that the node takes. The exporter is
//! timed from the start of its process until all is delivered, reading, compressing and its look
//! at each reply included. Rounds are interleaved, so that a noisy machine is noisy for both.
//!
//! The node is a throw-away one of `tests/search-node`; it runs on this machine and shares it.

mod bare;
mod collector;
mod node;
mod search;

use anyhow::{Context as _, Result};
use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// Measures spanledger's exporter against a bare bulk client, on a real node.
#[derive(Debug, Parser)]
struct Args {
    /// The spanledger to measure: a release build.
    #[arg(long, default_value = "target/release/spanledger")]
    binary: PathBuf,
    /// Spans, each of which is a document.
    #[arg(long, default_value_t = 200_000)]
    spans: u64,
    /// Spans with one external id.
    #[arg(long, default_value_t = 200)]
    spans_per_id: u64,
    /// Rounds; the figures are medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Bulk requests on their way at once.
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// Bytes of a bulk before compression.
    #[arg(long, default_value_t = 5 * 1024 * 1024)]
    bulk_size: usize,
    /// Sends bulks as they are.
    #[arg(long)]
    no_gzip: bool,
    /// Memory of the node's heap.
    #[arg(long, default_value = "2g")]
    heap: String,
    /// After the last round, searches for that many external ids.
    #[arg(long, default_value_t = 0)]
    searches: u64,
    /// Folder for the throw-away data.
    #[arg(long, default_value = "target/tmp")]
    dir: PathBuf,
}

impl Args {
    /// How many external ids there are.
    fn runs(&self) -> u64 {
        (self.spans / self.spans_per_id.max(1)).max(1)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.dir)?;
    let folder = tempfile::TempDir::with_prefix_in("throughput-", &args.dir)?;
    let data = folder.path().join("collector");
    let collector = collector::Collector::new(&args.binary, &data, &args)?;
    eprintln!("{} spans into a ledger", args.spans);
    collector.fill(args.spans, args.runs()).await?;
    let node = node::Node::start(&folder.path().join("node"), &args.heap)?;
    collector.set_up(&node.url)?;

    let (mut bare_rates, mut rates) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let bulks = bare::bulks(&data, &args)?;
        node.empty().await?;
        let took = bare::send(&node.url, bulks, args.in_flight).await?;
        bare_rates.push(per_second(args.spans, took));
        node.empty().await?;
        let took = collector.export(&node.url, args.spans).await?;
        rates.push(per_second(args.spans, took));
        let (bare, ours) = (bare_rates[round - 1], rates[round - 1]);
        println!("round {round}: bare client {bare:.0}/s, spanledger {ours:.0}/s");
    }
    if let (Some(bare), Some(ours)) = (median(&mut bare_rates), median(&mut rates)) {
        println!("bare client  {bare:>8.0} documents/s");
        println!("spanledger   {ours:>8.0} documents/s, {:.2} of it", ours / bare);
    }
    if args.searches > 0 {
        search::measure(&node, &args).await.context("the searches")?;
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn per_second(spans: u64, took: Duration) -> f64 {
    spans as f64 / took.as_secs_f64()
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

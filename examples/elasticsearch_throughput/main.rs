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
    /// Rounds; the figures are medians. With 0 and searches, documents are exported once.
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

    if args.rounds > 0 {
        // A node that has just started is slow until its code is compiled.
        eprintln!("one round that does not count");
        bare::send(&node.url, bare::bulks(&data, &args)?, args.in_flight).await?;
    }
    let (mut bare_runs, mut runs) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let bulks = bare::bulks(&data, &args)?;
        node.empty().await?;
        let before = cpu(node.pid)?;
        let took = bare::send(&node.url, bulks, args.in_flight).await?;
        bare_runs.push(Run::new(args.spans, took, cpu(node.pid)?.saturating_sub(before)));
        node.empty().await?;
        let before = cpu(node.pid)?;
        let (took, own) = collector.export(&node.url, args.spans).await?;
        let mut run = Run::new(args.spans, took, cpu(node.pid)?.saturating_sub(before));
        run.own_cpu_us = microseconds(own, args.spans);
        runs.push(run);
        eprintln!("round {round}");
        print(&bare_runs, &runs);
    }
    if args.searches > 0 {
        if args.rounds == 0 {
            let (took, _) = collector.export(&node.url, args.spans).await?;
            println!("{} documents exported in {:.0} s", args.spans, took.as_secs_f64());
        }
        search::measure(&node, &args).await.context("the searches")?;
    }
    Ok(())
}

/// What one subject did in one round.
#[derive(Debug, Clone, Copy)]
struct Run {
    per_second: f64,
    /// Of the node, for one document.
    node_cpu_us: f64,
    /// Of spanledger, for one document; the bare client's is not counted.
    own_cpu_us: f64,
}

impl Run {
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    fn new(documents: u64, took: Duration, node: Duration) -> Self {
        let per_second = documents as f64 / took.as_secs_f64();
        Self { per_second, node_cpu_us: microseconds(node, documents), own_cpu_us: 0.0 }
    }
}

/// Prints the medians of the rounds so far.
fn print(bare: &[Run], ours: &[Run]) {
    let rate = |runs: &[Run]| median(runs.iter().map(|run| run.per_second));
    let node = |runs: &[Run]| median(runs.iter().map(|run| run.node_cpu_us));
    println!("{:<12} {:>12} {:>16} {:>16}", "", "documents/s", "node CPU us/doc", "own CPU us/doc");
    println!("{:<12} {:>12.0} {:>16.1} {:>16}", "bare client", rate(bare), node(bare), "-");
    let own = median(ours.iter().map(|run| run.own_cpu_us));
    println!("{:<12} {:>12.0} {:>16.1} {own:>16.1}", "spanledger", rate(ours), node(ours));
    println!("documents/s of spanledger next to the bare client: {:.2}", rate(ours) / rate(bare));
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn microseconds(cpu: Duration, documents: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / documents.max(1) as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// CPU time of a process so far. On a machine with other work it says more than the clock.
fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15 of proc(5).
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = after.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)))
}

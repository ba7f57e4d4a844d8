//! How long the node takes to find a whole story by its external id.

use super::Args;
use super::collector::external_id;
use super::node::Node;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Searches for some ids, each once, far from one another; prints median and 99th percentile.
pub(crate) async fn measure(node: &Node, args: &Args) -> Result<()> {
    let documents = node.count().await?;
    ensure!(documents == args.spans, "{documents} documents, {} expected", args.spans);
    let step = (args.runs() / args.searches).max(1);
    let mut times = Vec::new();
    let runs = (0..args.runs()).step_by(usize::try_from(step)?);
    for run in runs.take(usize::try_from(args.searches)?) {
        let id = external_id(run);
        let (took, hits) = search(node, &id).await?;
        ensure!(hits as u64 == args.spans_per_id, "{hits} documents of {id}");
        times.push(took);
    }
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() - 1) * share / 100).copied().context("a time");
    println!(
        "search by external id in {documents} documents, all {} of it in order: median {:.1} ms, p99 {:.1} ms ({} ids)",
        args.spans_per_id,
        milliseconds(at(50)?),
        milliseconds(at(99)?),
        times.len()
    );
    Ok(())
}

/// Asks as a person in Kibana does, and receives all documents.
async fn search(node: &Node, id: &str) -> Result<(Duration, usize)> {
    let query = json!({
        "size": 1000,
        "query": {"term": {"trace_id": id}},
        "sort": [{"@timestamp": "asc"}],
    });
    let start = Instant::now();
    let url = format!("{}/spanledger-*/_search", node.url);
    let reply = node.client.post(url).json(&query).send().await?.bytes().await?;
    let took = start.elapsed();
    let answer: Value = serde_json::from_slice(&reply)?;
    let hits = answer["hits"]["hits"].as_array().context("hits")?;
    Ok((took, hits.len()))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

//! `spanledger bench`: what a span costs on this machine, next to a receiver that only decodes.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the rounds, interleaved, and the table that comes out |
//! | `load.rs` | the load: `GenAI` spans over real gRPC connections, every id fresh |
//! | `reference.rs` | the receiver that only decodes |
//! | `process.rs` | CPU time, memory and writes of a process |
//!
//! Each subject is a process of its own on real sockets and, for spanledger, a real disk with
//! fsync on. CPU time is read when everything is acknowledged and every consumer is at the end of
//! the ledger. Rounds are interleaved, so that a noisy machine is noisy for all.

mod load;
mod process;
mod reference;

use anyhow::{Context as _, Result, bail};
use load::{Load, percentile};
use process::{Running, Usage, usage};
use serde::Serialize;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a subject to start, or for its consumers to reach the end.
const PATIENCE: Duration = Duration::from_mins(2);

/// Pause between two looks at a subject that is not ready yet.
const POLL: Duration = Duration::from_millis(20);

/// Measures what a span costs: CPU, bytes written, time to the acknowledgement.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  spanledger bench\n  spanledger bench --spans 1000000 --rounds 5 --json\n  spanledger bench --dir /mnt/disk   # measure that disk's fsync"
)]
pub struct BenchArgs {
    /// Spans per subject and round.
    #[arg(long, default_value_t = 200_000)]
    spans: u64,
    /// Spans that each subject gets before anything is measured: a process that has just started
    /// pays for its first memory, which says nothing of the next million spans.
    #[arg(long, default_value_t = 200_000)]
    warm_up: u64,
    /// Rounds; the table shows the median.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Directory for the throw-away data: the disk under it is the one that is measured.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Serves as the receiver that only decodes.
    #[arg(long, hide = true)]
    reference: bool,
}

/// One subject of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    DecodeOnly,
    LedgerOnly,
    WithIndex,
}

impl Subject {
    const ALL: [Subject; 3] = [Subject::DecodeOnly, Subject::LedgerOnly, Subject::WithIndex];

    const fn name(self) -> &'static str {
        match self {
            Subject::DecodeOnly => "decode only (tonic, prost)",
            Subject::LedgerOnly => "ledger only",
            Subject::WithIndex => "ledger and index",
        }
    }
}

/// What one subject did in one round, or the medians of all rounds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Figures {
    cpu_us_per_span: f64,
    spans_per_second: f64,
    peak_memory_mib: f64,
    written_per_span: f64,
    wire_bytes_per_span: f64,
    written_per_ledger_byte: f64,
    p50_ms: f64,
    p99_ms: f64,
    single_p50_ms: f64,
    single_p99_ms: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    subject: &'static str,
    ratio: f64,
    #[serde(flatten)]
    median: Figures,
}

#[derive(Debug, Serialize)]
struct Report {
    spans: u64,
    warm_up: u64,
    rounds: usize,
    fdatasync_p50_ms: f64,
    fdatasync_p99_ms: f64,
    subjects: Vec<Row>,
}

/// Runs the command.
///
/// # Errors
/// When a subject does not start or a request is not acknowledged.
pub async fn run(args: BenchArgs) -> Result<()> {
    if args.reference {
        return reference::serve().await;
    }
    let old =
        Tiles { dir: args.dir.join(format!("spanledger-bench-tiles-{}", std::process::id())) };
    let mut rounds: Vec<[Figures; 3]> = Vec::new();
    for round in 0..args.rounds.max(1) {
        let mut figures = [Figures::default(); 3];
        for (subject, slot) in Subject::ALL.into_iter().zip(&mut figures) {
            eprintln!("round {} of {}: {}", round.saturating_add(1), args.rounds, subject.name());
            *slot = measure(subject, &args, &old).await?;
        }
        rounds.push(figures);
    }
    let sync = fdatasync_times(&args.dir)?;
    let report = report(&args, &rounds, &sync);
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        print(&report, &mut out)?;
    }
    Ok(())
}

/// The public logs of the subjects that were measured, until all are. ext4 looks at each inode that
/// was freed in the last minutes before it gives out another one, so that the next subject would pay
/// for the thousands of tiles of the one before.
struct Tiles {
    dir: PathBuf,
}

impl Tiles {
    /// Keeps what is in `data/log`.
    fn keep(&self, data: &Path) {
        let kept = std::fs::read_dir(&self.dir).map_or(0, Iterator::count);
        let _ = std::fs::create_dir_all(&self.dir);
        let _ = std::fs::rename(data.join("log"), self.dir.join(kept.to_string()));
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

async fn measure(subject: Subject, args: &BenchArgs, old: &Tiles) -> Result<Figures> {
    let data = args.dir.join(format!("spanledger-bench-{}", std::process::id()));
    let outcome = measure_in(subject, args, &data).await;
    old.keep(&data);
    let _ = std::fs::remove_dir_all(&data);
    outcome
}

async fn measure_in(subject: Subject, args: &BenchArgs, data: &Path) -> Result<Figures> {
    let (running, grpc, api) = start(subject, data)?;
    let pid = running.0.id();
    let load = Load { spans: args.spans, spans_per_request: 100, connections: 4, in_flight: 4 };
    let mut before = (Usage::default(), 0);
    if args.warm_up > 0 {
        let warm_up = Load { spans: args.warm_up, ..load };
        load::send(&grpc, warm_up, fresh_seed()?).await?;
        before = settled(pid, api.as_deref(), data).await?;
    }
    let sent = load::send(&grpc, load, fresh_seed()?).await?;
    let (after, ledger_bytes) = settled(pid, api.as_deref(), data).await?;
    let used = after.since(before.0);
    let ledger_bytes = ledger_bytes.saturating_sub(before.1);
    // Latency with one request in flight, after the CPU was read: it is another question.
    let single = Load { spans: 20_000, connections: 1, in_flight: 1, ..load };
    let alone = load::send(&grpc, single, fresh_seed()?).await?;
    Ok(figures(&sent, &alone, used, ledger_bytes))
}

/// What a subject has used, and the bytes of its ledger, when every consumer is at the end.
async fn settled(pid: u32, api: Option<&str>, data: &Path) -> Result<(Usage, u64)> {
    if let Some(api) = api {
        wait_for_consumers(api).await?;
    }
    Ok((usage(pid)?, directory_bytes(&data.join("ledger"))))
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn figures(sent: &load::Sent, alone: &load::Sent, used: Usage, ledger_bytes: u64) -> Figures {
    let spans = sent.spans.max(1) as f64;
    Figures {
        cpu_us_per_span: used.cpu.as_secs_f64() * 1e6 / spans,
        spans_per_second: spans / sent.elapsed.as_secs_f64().max(f64::EPSILON),
        peak_memory_mib: used.peak_memory as f64 / (1024.0 * 1024.0),
        written_per_span: used.written as f64 / spans,
        wire_bytes_per_span: sent.bytes as f64 / spans,
        written_per_ledger_byte: if ledger_bytes == 0 {
            0.0
        } else {
            used.written as f64 / ledger_bytes as f64
        },
        p50_ms: milliseconds(sent.percentile(0.5)),
        p99_ms: milliseconds(sent.percentile(0.99)),
        single_p50_ms: milliseconds(alone.percentile(0.5)),
        single_p99_ms: milliseconds(alone.percentile(0.99)),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Starts a subject; answers its OTLP address and, for spanledger, its API's.
fn start(subject: Subject, data: &Path) -> Result<(Running, String, Option<String>)> {
    let binary = std::env::current_exe().context("this program cannot find itself")?;
    let mut command = Command::new(binary);
    command.stdin(Stdio::null());
    if subject == Subject::DecodeOnly {
        let child = command.args(["bench", "--reference"]).stdout(Stdio::piped()).spawn()?;
        let mut running = Running(child);
        let out = running.0.stdout.take().context("the reference receiver has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        return Ok((running, line.trim().to_owned(), None));
    }
    std::fs::create_dir_all(data)?;
    let config = data.join("bench.yaml");
    let index = subject == Subject::WithIndex;
    std::fs::write(&config, format!("index:\n  enabled: {index}\nlog:\n  level: warn\n"))?;
    command.arg("serve").arg("--config").arg(&config).arg("--data").arg(data);
    for flag in ["--listen-grpc", "--listen-http", "--listen-api"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    let mut running = Running(command.stdout(Stdio::null()).spawn()?);
    let file = data.join("endpoints.json");
    let since = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(&file) {
            let endpoints: serde_json::Value = serde_json::from_str(&text)?;
            let of = |name: &str| endpoints.get(name).and_then(|v| v.as_str()).map(str::to_owned);
            return Ok((running, of("grpc").context("no gRPC endpoint")?, of("api")));
        }
        if let Some(status) = running.0.try_wait()? {
            bail!("spanledger serve ended with {status} before it listened");
        }
        if since.elapsed() > PATIENCE {
            bail!("spanledger serve did not listen within {PATIENCE:?}");
        }
        std::thread::sleep(POLL);
    }
}

/// Waits until every consumer is at the end of the ledger.
async fn wait_for_consumers(api: &str) -> Result<()> {
    let since = Instant::now();
    loop {
        let text = reqwest::get(format!("http://{api}/metrics")).await?.text().await?;
        let behind: f64 = text
            .lines()
            .filter(|line| line.starts_with("spanledger_consumer_lag_entries{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        if behind < 1.0 {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            bail!("consumers are still {behind} entries behind after {PATIENCE:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Ids that no earlier run had.
fn fresh_seed() -> Result<u64> {
    getrandom::u64().context("the system gives no random numbers")
}

/// Bytes of all files below a directory.
fn directory_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => directory_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .fold(0, u64::saturating_add)
}

/// What one `fdatasync` of a request's worth of bytes takes on this disk, sorted.
fn fdatasync_times(directory: &Path) -> Result<Vec<Duration>> {
    const TIMES: usize = 200;
    const BYTES: usize = 240 * 1024;
    let path = directory.join(format!("spanledger-bench-sync-{}", std::process::id()));
    let mut file = File::create(&path)?;
    let bytes = vec![0x5a_u8; BYTES];
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        file.write_all(&bytes)?;
        let start = Instant::now();
        file.sync_data()?;
        times.push(start.elapsed());
    }
    std::fs::remove_file(&path)?;
    times.sort_unstable();
    Ok(times)
}

fn report(args: &BenchArgs, rounds: &[[Figures; 3]], sync: &[Duration]) -> Report {
    let medians: Vec<Figures> = (0..Subject::ALL.len())
        .map(|at| {
            median(&rounds.iter().filter_map(|round| round.get(at).copied()).collect::<Vec<_>>())
        })
        .collect();
    let base = medians.first().map_or(1.0, |figures| figures.cpu_us_per_span).max(f64::EPSILON);
    Report {
        spans: args.spans,
        warm_up: args.warm_up,
        rounds: rounds.len(),
        fdatasync_p50_ms: milliseconds(percentile(sync, 0.5)),
        fdatasync_p99_ms: milliseconds(percentile(sync, 0.99)),
        subjects: Subject::ALL
            .into_iter()
            .zip(medians)
            .map(|(subject, median)| Row {
                subject: subject.name(),
                ratio: median.cpu_us_per_span / base,
                median,
            })
            .collect(),
    }
}

fn median(rounds: &[Figures]) -> Figures {
    let of = |field: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    Figures {
        cpu_us_per_span: of(|f| f.cpu_us_per_span),
        spans_per_second: of(|f| f.spans_per_second),
        peak_memory_mib: of(|f| f.peak_memory_mib),
        written_per_span: of(|f| f.written_per_span),
        wire_bytes_per_span: of(|f| f.wire_bytes_per_span),
        written_per_ledger_byte: of(|f| f.written_per_ledger_byte),
        p50_ms: of(|f| f.p50_ms),
        p99_ms: of(|f| f.p99_ms),
        single_p50_ms: of(|f| f.single_p50_ms),
        single_p99_ms: of(|f| f.single_p99_ms),
    }
}

fn print(report: &Report, out: &mut impl std::io::Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{} spans after {} unmeasured ones, 100 a request, median of {} rounds",
        report.spans, report.warm_up, report.rounds
    )?;
    writeln!(
        out,
        "{:<28} {:>9} {:>6} {:>9} {:>8} {:>10} {:>9} {:>9} {:>11} {:>11}",
        "subject",
        "CPU us/sp",
        "ratio",
        "spans/s",
        "MiB",
        "B written",
        "/ledger B",
        "p99 ms",
        "1-in-fl p50",
        "1-in-fl p99"
    )?;
    for row in &report.subjects {
        let f = &row.median;
        writeln!(
            out,
            "{:<28} {:>9.2} {:>6.2} {:>9.0} {:>8.0} {:>10.0} {:>9.2} {:>9.2} {:>11.2} {:>11.2}",
            row.subject,
            f.cpu_us_per_span,
            row.ratio,
            f.spans_per_second,
            f.peak_memory_mib,
            f.written_per_span,
            f.written_per_ledger_byte,
            f.p99_ms,
            f.single_p50_ms,
            f.single_p99_ms,
        )?;
    }
    writeln!(
        out,
        "one fdatasync of 240 KiB on this disk: p50 {:.2} ms, p99 {:.2} ms",
        report.fdatasync_p50_ms, report.fdatasync_p99_ms
    )
}

//! The `spanledger` binary: what the command line asks for, and how it ends.

use clap::Parser as _;
use spanledger::cli::setup::{SetupArgs, SetupTarget};
use spanledger::cli::{
    self, Cli, Command, CommandError, Exit, ServeArgs, Source, SourceArgs, Style, bench, demo,
    offline, serve,
};
use spanledger::config::{Config, Overrides};
use spanledger::telemetry::{LogFormat, start_logs};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Every request allocates its entries and gives them back at once: an allocator that is good at
/// that halves the cost of a span.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longest time that work of others is waited for when all that matters is done.
const LAST_WAIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{}", cli::error_line(&error));
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(run(Cli::parse()));
    // What still hangs in the system, such as a write to a mount that is away, keeps nobody waiting.
    runtime.shutdown_timeout(LAST_WAIT);
    exit.into()
}

async fn run(cli: Cli) -> Exit {
    let style = Style::of_stdout();
    let mut out = std::io::stdout();
    match cli.command {
        Command::Serve(args) => end(serve(args).await),
        Command::Bench(args) => end(bench::run(args).await.map(|()| Exit::Fine)),
        Command::Demo(args) => {
            // The demo speaks for itself; only what went wrong is said beside it.
            let _ = start_logs("warn", LogFormat::Text);
            let start = async |args: ServeArgs| {
                let (config, mappings) = serve::configuration(&args)?;
                serve::start(config, mappings).await
            };
            cli::end(Box::pin(demo::demo(&args, start, told_to_stop(), style, &mut out)).await)
        }
        Command::Search(args) => cli::end(
            async { cli::search(&args, &source(&args.source).await?, style, &mut out).await }.await,
        ),
        Command::Trace(args) => cli::end(
            async { cli::trace(&args, &source(&args.source).await?, style, &mut out).await }.await,
        ),
        Command::Tail(args) => cli::end(
            async {
                cli::tail(&args, &source(&args.source).await?, style, &mut out, told_to_stop())
                    .await
            }
            .await,
        ),
        Command::Convert(args) => {
            cli::end(cli::convert(&args, style, &mut std::io::stdin(), &mut out))
        }
        Command::Import(args) => cli::end(cli::import(&args, &mut out, told_to_stop()).await),
        Command::Verify(args) if !args.elasticsearch.is_empty() => {
            cli::end(Box::pin(cli::verify_copy(&args, &mut out)).await)
        }
        Command::Verify(args) => cli::end(cli::verify(&args, &mut out)),
        Command::Evidence(args) => {
            cli::end(async { cli::evidence(&args, &args.open().await?, &mut out).await }.await)
        }
        Command::Proof(args) => cli::end(
            async { cli::proof(&args, &source(&args.source).await?, &mut out).await }.await,
        ),
        Command::DeadLetters(args) => cli::end(
            async { cli::dead_letters(&args, &source(&args.source).await?, &mut out).await }.await,
        ),
        Command::Keys(args) => {
            cli::end(cli::keys(&args, style, &mut out, &mut std::io::stderr()).await)
        }
        Command::Erase(args) => cli::end(Box::pin(cli::erase(&args, &mut out)).await),
        Command::Repair(args) => cli::end(cli::repair(&args, &mut out).await),
        Command::ConfirmClock(args) => cli::end(cli::confirm_clock(&args, &mut out)),
        Command::Hold(args) => cli::end(cli::hold(&args, &mut out)),
        Command::Setup(args) => setup(args, &mut out).await,
    }
}

/// Prepares a cluster, as flags and the configuration file say.
async fn setup(args: SetupArgs, out: &mut impl std::io::Write) -> Exit {
    let args = match args.target {
        SetupTarget::Elasticsearch(args) => args,
        SetupTarget::Kibana(args) => {
            return cli::kibana::setup(&args, out).await.unwrap_or_else(|error| {
                eprintln!("{}", cli::error_line(&error));
                error.exit()
            });
        }
    };
    // The file may leave the cluster to the flag, as for `serve`.
    let overrides = Overrides { elasticsearch: args.url.clone(), ..Overrides::default() };
    let configured = match Config::load(args.config.as_deref(), &overrides) {
        Ok(config) => config.elasticsearch.map(|cluster| cluster.connection),
        Err(error) => {
            eprintln!("{}", cli::error_line(&error));
            return Exit::Usage;
        }
    };
    cli::setup::setup(&args, configured, out).await.unwrap_or_else(|error| {
        eprintln!("{}", cli::error_line(&error));
        error.exit()
    })
}

async fn source(args: &SourceArgs) -> Result<Source, CommandError> {
    Ok(Source::open(args, offline).await?)
}

/// Starts, says where everything is, and stops in an orderly way when it is told to.
async fn serve(args: ServeArgs) -> anyhow::Result<Exit> {
    let (config, mappings) = match serve::configuration(&args) {
        Ok(configured) => configured,
        // What the flags or the file say cannot be: that is a matter of usage.
        Err(error) => {
            eprintln!("{}", cli::error_line(&error));
            return Ok(Exit::Usage);
        }
    };
    if args.check_config {
        for notice in &config.notices {
            println!("note: {notice}");
        }
        println!("the configuration is right: data in {}", config.data.display());
        return Ok(Exit::Fine);
    }
    start_logs(&config.log_level, config.log_format).map_err(anyhow::Error::msg)?;
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    let data = config.data.display().to_string();
    // Before anything listens: a signal that comes while it starts must not be missed.
    let told = told_to_stop();
    let running = serve::start(config, mappings).await?;
    if let Some(torn) = &running.recovery().torn {
        if torn.sealed {
            tracing::error!("the end of the ledger was damaged: {torn}");
        } else {
            tracing::warn!("the end of the ledger was torn: {torn}");
        }
    }
    let at = running.endpoints();
    let line = format!(
        "spanledger listens{}: OTLP gRPC {}, OTLP HTTP {}, API {}/, data in {data}",
        if at.tls { " with TLS" } else { "" },
        at.grpc,
        at.http,
        at.api_url()
    );
    writeln!(std::io::stdout(), "{line}")?;
    told.await;
    tracing::info!("stopping");
    running.stop().await?;
    Ok(Exit::Fine)
}

/// Resolves at Ctrl-C or SIGTERM.
fn told_to_stop() -> impl Future<Output = ()> {
    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    async move {
        match (terminate, interrupt) {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            // Without handlers a signal ends the process at once, which the ledger survives.
            _ => std::future::pending().await,
        }
    }
}

/// The exit code, and the error with its causes on standard error.
fn end(result: anyhow::Result<Exit>) -> Exit {
    result.unwrap_or_else(|error| {
        eprintln!("{}", cli::error_line(error.as_ref()));
        Exit::Failed
    })
}

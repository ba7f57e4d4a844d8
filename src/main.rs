//! The `spanledger` binary.
use clap::Parser as _;
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(clap::Parser)]
enum C {
    Serve(spanledger::cli::ServeArgs),
    Bench(spanledger::cli::bench::BenchArgs),
}
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match C::parse() {
        C::Serve(a) => spanledger::cli::serve::run(a).await,
        C::Bench(a) => spanledger::cli::bench::run(a).await,
    }
}

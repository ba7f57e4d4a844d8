//! Spans from sixteen threads, while the receiver and the agent are killed at random: every span
//! whose close returned is an entry or covered by a gap entry of its instance, and nothing is there
//! twice.
//!
//! ```text
//! agent (this binary, again) ──► proxy ──► receiver (the built binary)
//!   │ kill -9, and the next one      kill -9, and again on the same data
//!   ├─► spool/             what is not delivered yet, for whoever comes next
//!   └─► closed/ID/THREAD   the time of each close that returned, 8 bytes each
//! ```
//!
//! `SPANLEDGER_SOAK_SPANS` (20,000) and `SPANLEDGER_SOAK_SEED` make it longer and different.
#![cfg(feature = "server")]

#[path = "layer_soak/account.rs"]
mod account;
#[path = "layer_soak/agent.rs"]
mod agent;
mod support;

use account::Ledger;
use agent::{Agent, LONGEST, now_ns};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use support::numbers::Numbers;
use support::server::{Server, look_until};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

/// Spans of one run, unless `SPANLEDGER_SOAK_SPANS` says otherwise: for each commit.
const SPANS: u64 = 20_000;

/// Rounds of a short run, in each of which the agent and the receiver are killed once; a longer
/// run has one more for each [`SPANS_OF_A_ROUND`], up to [`MOST_ROUNDS`].
const ROUNDS: u64 = 3;
const SPANS_OF_A_ROUND: u64 = 50_000;
const MOST_ROUNDS: u64 = 60;

fn set(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.replace('_', "").parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_whose_close_returned_is_missing_untold_however_often_both_ends_are_killed() {
    let since = Instant::now();
    let spans = set("SPANLEDGER_SOAK_SPANS").unwrap_or(SPANS);
    let rounds = (ROUNDS + spans / SPANS_OF_A_ROUND).min(MOST_ROUNDS);
    let seed = set("SPANLEDGER_SOAK_SEED").unwrap_or(1);
    let mut random = Numbers::new(seed);
    println!("{spans} spans, {rounds} rounds, SPANLEDGER_SOAK_SEED={seed}");

    let folder = TempDir::new().unwrap();
    let mut server = Server::start(&folder.path().join("data")).await;
    let proxy = Proxy::start(server.grpc()).await;
    // What an agent that is killed did not do, the last one does.
    let of_round = (spans / (rounds + 1)).max(1);
    let mut agent = Agent::start(folder.path(), &proxy.address, of_round);
    let mut left = spans;
    // When each instance was killed.
    let mut killed = BTreeMap::new();
    for round in 1..=rounds {
        let mut ends = [(random.below(of_round), true), (random.below(of_round), false)];
        ends.sort_unstable();
        for (after, is_the_agents) in ends {
            agent.closed(after).await;
            if is_the_agents {
                let instance = agent.instance.clone();
                left = left.saturating_sub(agent.kill());
                killed.insert(instance, now_ns());
                let budget = if round == rounds { left } else { of_round.min(left) };
                agent = Agent::start(folder.path(), &proxy.address, budget);
            } else {
                server.restart().await;
                proxy.to(server.grpc());
            }
        }
    }
    agent.closed(u64::MAX).await;
    let mut ledger = Ledger::new(server.data());
    told(&mut ledger, &killed).await;
    let said = agent.end();
    server.terminate().await;
    let sum = ledger.settle(folder.path(), &killed);
    println!("{sum}\nthe last agent: {said}\nin {:.1} s", since.elapsed().as_secs_f64());
    assert!(sum.closed >= spans && sum.instances == rounds + 1, "{sum}");
}

/// Waits until the end of each killed instance is told, by whoever found what it left.
async fn told(ledger: &mut Ledger, killed: &BTreeMap<String, u64>) {
    let missing = |ledger: &Ledger| {
        killed.keys().filter(|it| !ledger.tells_the_end_of(it)).cloned().collect::<Vec<_>>()
    };
    let all = look_until(LONGEST, async || {
        ledger.read_on();
        missing(ledger).is_empty().then_some(())
    });
    let told = all.await.is_some();
    assert!(told, "nothing tells the end of {:?}", missing(ledger));
}

/// One address for a receiver that is started again on other ports.
struct Proxy {
    address: String,
    to: Arc<Mutex<String>>,
}

impl Proxy {
    async fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let to = Arc::new(Mutex::new(to.to_owned()));
        let current = Arc::clone(&to);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let to = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
                tokio::spawn(async move {
                    // An end that is not there, or goes, is what this test is about.
                    if let Ok(mut to) = TcpStream::connect(to).await {
                        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
        });
        Self { address, to }
    }

    fn to(&self, address: &str) {
        address.clone_into(&mut self.to.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

//! tmp
use super::args::ServeArgs;
use super::endpoints::Endpoints;
use crate::config::{Config, Overrides};
use crate::convert::Mappings;
use crate::intake::Intake;
use crate::ledger::Ledger;
use crate::protect::{Keys, Protector};
use crate::receiver::{Receiver, Server};
use anyhow::Result;
/// tmp
pub async fn run(args: ServeArgs) -> Result<()> {
    let o = Overrides {
        data: args.data,
        grpc: args.listen_grpc,
        http: args.listen_http,
        api: args.listen_api,
    };
    let c = Config::load(args.config.as_deref(), &o)?;
    std::fs::create_dir_all(&c.data)?;
    let keys = Keys::open_or_create(&c.keys)?;
    let (ledger, _) = Ledger::open(&c.data.join("ledger"), c.ledger.clone())?;
    let intake = Intake::new(Mappings::builtin()?, Protector::new(&c.audit, keys), ledger.clone());
    let r = Receiver::new(intake, c.limits.clone());
    let g = Server::bind(c.listen.grpc, c.limits.clone(), r.metrics().clone()).await?;
    let h = Server::bind(c.listen.http, c.limits.clone(), r.metrics().clone()).await?;
    Endpoints { grpc: g.address(), http: h.address(), api: c.listen.api, pid: std::process::id() }
        .write(&c.data)?;
    tokio::spawn(h.serve(r.http(), std::future::pending()));
    g.serve(r.grpc(), std::future::pending()).await;
    Ok(())
}

//! The demo from its beginning to its end: a server of its own, the run, the way out.

use super::place::{ThrowAwayDir, free_or_default};
use super::play;
use crate::cli::args::{DEFAULT_API, DEFAULT_GRPC, DEFAULT_HTTP, DemoArgs, ServeArgs};
use crate::cli::display::Style;
use crate::cli::endpoints::Endpoints;
use crate::cli::exit::{CommandError, Exit};
use std::future::Future;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A server that the demo has started.
pub trait Server: Sized {
    /// Why it could not be started or stopped.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Where it listens.
    fn endpoints(&self) -> Endpoints;

    /// Stops it: intake first, then what is on its way, then the files.
    fn stop(self) -> impl Future<Output = Result<(), Self::Error>>;
}

/// Starts a server on a throw-away data folder, plays the run, and stops it: at once with
/// `--exit`, else when `stop` (Ctrl-C) comes.
///
/// # Errors
/// [`CommandError`].
pub async fn demo<S: Server>(
    args: &DemoArgs,
    mut start: impl AsyncFnMut(ServeArgs) -> Result<S, S::Error>,
    stop: impl Future<Output = ()>,
    style: Style,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let data = ThrowAwayDir::create()?;
    let failed = |error: S::Error| CommandError::Server(Box::new(error));
    let defaults = [DEFAULT_GRPC, DEFAULT_HTTP, DEFAULT_API].map(free_default);
    let server = match start(serve_args(&data, defaults)).await {
        Ok(server) => server,
        // Somebody may have taken a port since it was looked at: once more, with any.
        Err(_) => start(serve_args(&data, [Some(ANY_PORT); 3])).await.map_err(failed)?,
    };
    let played = play(&server.endpoints(), !args.exit, style, out).await;
    if !args.exit && matches!(played, Ok(Exit::Fine)) {
        stop.await;
    }
    // The server is stopped whatever became of the run, and the folder goes after it.
    let stopped = server.stop().await.map_err(failed);
    drop(data);
    let exit = played?;
    stopped?;
    Ok(exit)
}

/// Loopback, whichever port is free.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The default address where it is free, so that an exporter with its defaults can join in.
fn free_default(default: &str) -> Option<SocketAddr> {
    default.parse().ok().map(free_or_default)
}

/// No configuration, so that the demo is the same everywhere.
fn serve_args(data: &ThrowAwayDir, listen: [Option<SocketAddr>; 3]) -> ServeArgs {
    let [listen_grpc, listen_http, listen_api] = listen;
    ServeArgs {
        elasticsearch: Vec::new(),
        data: Some(data.path().to_owned()),
        config: None,
        check_config: false,
        listen_grpc,
        listen_http,
        listen_api,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Deaf {
        stopped: Arc<AtomicBool>,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("no")]
    struct No;

    impl Server for Deaf {
        type Error = No;

        fn endpoints(&self) -> Endpoints {
            // Discard, on loopback: nobody listens there.
            let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
            Endpoints { grpc: nobody, http: nobody, api: nobody, pid: 1, tls: false }
        }

        async fn stop(self) -> Result<(), No> {
            self.stopped.store(true, Ordering::SeqCst);
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_demo_that_fails_stops_its_server_and_throws_its_data_away() {
        let stopped = Arc::new(AtomicBool::new(false));
        let mut data = None;
        let start = async |args: ServeArgs| {
            data = args.data;
            Ok(Deaf { stopped: stopped.clone() })
        };
        let args = DemoArgs { exit: true };
        let never = std::future::pending();
        let result = demo(&args, start, never, Style::plain(80), &mut Vec::new()).await;
        let error = result.unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:9"), "{error}");
        assert!(stopped.load(Ordering::SeqCst));
        assert!(!data.unwrap().exists());
    }

    #[tokio::test]
    async fn a_server_that_does_not_start_is_tried_on_free_ports_and_then_says_why() {
        let mut ports = Vec::new();
        let start = async |args: ServeArgs| {
            ports.push(args.listen_api.map(|address| address.port()));
            Err::<Deaf, No>(No)
        };
        let args = DemoArgs { exit: true };
        let never = std::future::pending();
        let result = demo(&args, start, never, Style::plain(80), &mut Vec::new()).await;
        assert!(matches!(result, Err(CommandError::Server(_))));
        assert_eq!((ports.len(), ports[1]), (2, Some(0)));
    }
}

//! An OpenTelemetry Collector on free ports: the program of `tests/clients/collector`.

use super::clients;
use super::server::{DEADLINE, look_until};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// A running Collector. Dropping it kills the process.
pub struct Collector {
    child: Child,
    /// Holds `log`.
    folder: TempDir,
}

impl Collector {
    /// Starts it with a configuration and with further settings that are laid over it, and returns
    /// when it takes data. Its receivers have to listen on port 0.
    pub async fn start(config: &Path, more: &str, environment: &[(&str, &str)]) -> Self {
        let folder = TempDir::with_prefix("spanledger-test-collector-").unwrap();
        let over = folder.path().join("over.yaml");
        let quiet = "service: {telemetry: {metrics: {level: none}}}\n";
        let quiet_file = folder.path().join("quiet.yaml");
        fs::write(&over, more).unwrap();
        fs::write(&quiet_file, quiet).unwrap();
        let mut command = clients::command("collector");
        for file in [config, &over, &quiet_file] {
            command.arg("--config").arg(file);
        }
        let child = command
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut collector = Self { child, folder };
        let ready = look_until(DEADLINE, async || {
            if collector.log().contains("Everything is ready") {
                return Some(true);
            }
            collector.child.try_wait().unwrap().map(|_| false)
        });
        let ready = ready.await;
        assert_eq!(ready, Some(true), "the Collector does not start:\n{}", collector.log());
        collector
    }

    /// Everything that it has said.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("log")).unwrap()).into_owned()
    }

    /// `127.0.0.1:PORT` of a receiver by its name, over `GRPC` or `HTTP`.
    pub fn listens(&self, receiver: &str, protocol: &str) -> String {
        let log = self.log();
        let starting = format!("Starting {protocol} server");
        let of_line = |line: &str| {
            let fields: Value = serde_json::from_str(line.rsplit('\t').next()?).ok()?;
            let is_it = fields["otelcol.component.id"] == receiver && line.contains(&starting);
            is_it.then(|| fields["endpoint"].as_str().unwrap().to_owned())
        };
        log.lines().find_map(of_line).unwrap_or_else(|| panic!("{receiver} is not there:\n{log}"))
    }

    /// Exports to a receiver over gRPC, as an agent does.
    ///
    /// # Errors
    /// What the Collector answers: without a queue, what it was told itself.
    pub async fn export(
        &self,
        receiver: &str,
        spans: ExportTraceServiceRequest,
    ) -> Result<(), tonic::Status> {
        let address = format!("http://{}", self.listens(receiver, "GRPC"));
        let mut client = TraceServiceClient::connect(address).await.unwrap();
        let answer = client.export(spans).await?.into_inner();
        let refused = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        assert_eq!(refused, 0);
        Ok(())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

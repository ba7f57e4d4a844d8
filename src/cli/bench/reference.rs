//! What the bar is measured against: a receiver that only decodes, with tonic and prost.

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use std::io::Write as _;
use tonic::{Request, Response, Status};

struct DecodeOnly;

#[tonic::async_trait]
impl TraceService for DecodeOnly {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        drop(std::hint::black_box(request.into_inner()));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Serves until it is killed. Prints its address on one line when it listens.
pub(super) async fn serve() -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", listener.local_addr()?)?;
    out.flush()?;
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(TraceServiceServer::new(DecodeOnly))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener))
        .await?;
    Ok(())
}

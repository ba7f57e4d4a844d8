//! What `fuzz/` reaches of the receivers: framing and decompression.

use super::grpc;
use super::inflate::{Encoding, Inflate, InflateError};
use super::{Budget, Limits};
use bytes::Bytes;

/// What became of a compressed body.
#[derive(Debug)]
pub enum Inflated {
    /// Its contents.
    Whole(Vec<u8>),
    /// A limit or the memory budget was reached.
    Bounded,
    /// It is not what its encoding says.
    Corrupt,
}

/// Decompresses a body whose encoding has the name `encoding`; `None` for a name that nobody knows.
pub fn inflate(body: Bytes, encoding: &[u8], limits: &Limits, budget: &Budget) -> Option<Inflated> {
    let encoding = Encoding::from_header(encoding)?;
    let whole = || {
        let mut inflate = Inflate::new(body, encoding, limits, budget)?;
        inflate.run(usize::MAX)?;
        Ok(inflate.finish().as_slice().to_vec())
    };
    Some(match whole() {
        Ok(out) => Inflated::Whole(out),
        Err(InflateError::Corrupt(_)) => Inflated::Corrupt,
        Err(_) => Inflated::Bounded,
    })
}

/// The one message of a gRPC body, and whether it is compressed; `None` for a body that is refused.
/// `encoding` is what `grpc-encoding` says.
pub fn unframe(body: &Bytes, encoding: &[u8]) -> Option<(Bytes, bool)> {
    let (message, found) = grpc::unframe(body, Encoding::from_header(encoding)?).ok()?;
    Some((message, found != Encoding::Identity))
}

//! The names in a client's certificate.
//!
//! The subject is written as RFC 4514 writes it, the only form in which no value can look like
//! another part of the name: `CN=a,O=b` is two parts, `CN=a\,O\=b` is one.

use super::{CertificateName, PeerCertificate};
use std::fmt::Write as _;
use x509_parser::prelude::{
    AttributeTypeAndValue, FromDer as _, GeneralName, X509Certificate, X509Name,
};

/// Most names of a certificate that are looked at; the others are left out. A certificate of a
/// person or a service has one to five.
const MAX_NAMES: usize = 64;

/// Longest name, bytes; a longer one is left out. A credential's is no longer.
const MAX_NAME_BYTES: usize = 512;

/// Types of RFC 4514, section 3, with their object identifiers. Every other type is written as its
/// identifier and the bytes of its value.
const TYPES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// Why a certificate that an accepted authority signed is refused all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusableCertificate {
    /// Its names cannot be read.
    #[error("the names in the client's certificate cannot be read")]
    Unreadable,
    /// It has ended since it was checked: the session is resumed.
    #[error("the client's certificate has expired")]
    Expired,
}

impl PeerCertificate {
    /// The names in a certificate that was verified: its subject, then its DNS names, URIs and
    /// mail addresses. `now` is in seconds since 1970: a resumed session shows a certificate that
    /// was verified when the session began, and may have expired since.
    ///
    /// # Errors
    /// [`UnusableCertificate`].
    pub fn from_der(certificate: &[u8], now: i64) -> Result<Self, UnusableCertificate> {
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|_| UnusableCertificate::Unreadable)?;
        if certificate.validity().not_after.timestamp() < now {
            return Err(UnusableCertificate::Expired);
        }
        let subject = subject(certificate.subject());
        let subject = (!subject.is_empty()).then(|| CertificateName::subject(&subject));
        let alternative =
            certificate.subject_alternative_name().map_err(|_| UnusableCertificate::Unreadable)?;
        let alternative = alternative.iter().flat_map(|names| &names.value.general_names);
        let names = alternative.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(CertificateName::dns(name)),
            GeneralName::URI(name) => Some(CertificateName::uri(name)),
            GeneralName::RFC822Name(name) => Some(CertificateName::email(name)),
            _ => None,
        });
        let short = |name: &CertificateName| name.as_str().len() <= MAX_NAME_BYTES;
        Ok(Self { names: subject.into_iter().chain(names).filter(short).take(MAX_NAMES).collect() })
    }
}

/// As RFC 4514 writes it: the last part first.
fn subject(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (index, part) in parts.iter().rev().enumerate() {
        for (within, attribute) in part.iter().enumerate() {
            match (index, within) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('+'),
            }
            write_attribute(&mut text, attribute);
        }
    }
    text
}

fn write_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    let known = TYPES.iter().find(|(id, _)| *id == oid).map(|(_, name)| *name);
    if let (Some(name), Ok(value)) = (known, attribute.as_str()) {
        text.push_str(name);
        text.push('=');
        write_value(text, value);
    } else {
        text.push_str(&oid);
        text.push_str("=#");
        write_encoding(text, attribute);
    }
}

/// Escapes what has a meaning in a name. Source: RFC 4514, section 2.4.
fn write_value(text: &mut String, value: &str) {
    let last = value.char_indices().next_back().map(|(at, _)| at);
    for (at, character) in value.char_indices() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', character]),
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || Some(at) == last => text.push_str("\\ "),
            // A line of a log or a table must stay one.
            control if control.is_ascii_control() => {
                let _ = write!(text, "\\{:02x}", u32::from(control));
            }
            plain => text.push(plain),
        }
    }
}

/// Tag, length and content of a value, in hexadecimal. Its length is that of a part of a
/// certificate, so that two bytes of it are enough; a longer one is over the bound of a name.
fn write_encoding(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let content = attribute.as_slice();
    let _ = write!(text, "{:02x}", attribute.attr_value().tag().0);
    let _ = match content.len() {
        length @ 0..=0x7f => write!(text, "{length:02x}"),
        length @ 0x80..=0xff => write!(text, "81{length:02x}"),
        length => write!(text, "82{length:04x}"),
    };
    for byte in content {
        let _ = write!(text, "{byte:02x}");
    }
}

#[cfg(test)]
#[path = "tls_names_tests.rs"]
mod tests;

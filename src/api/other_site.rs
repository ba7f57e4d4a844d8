//! Requests that a page of another site had a browser send.

use axum::http::{Request, header};

/// Whether a page of another site had a browser send this. A browser adds a certificate, or a
/// password that it remembers, by itself.
/// Source: <https://developer.mozilla.org/docs/Web/HTTP/Headers/Sec-Fetch-Site>; RFC 6454, section 7.
pub(super) fn is_of_another_site<B>(request: &Request<B>) -> bool {
    if request.method().is_safe() {
        return false;
    }
    let headers = request.headers();
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    // HTTP/2 names the host in the address.
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str);
    match (text("sec-fetch-site"), text(header::ORIGIN.as_str())) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_none() || host != text(header::HOST.as_str()).or(authority)
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_can_change_nothing() {
        let sent = |method: &str, uri: &str, pairs: &[(&str, &str)]| {
            let request = Request::builder().method(method).uri(uri);
            let request = pairs.iter().fold(request, |it, (name, value)| it.header(*name, *value));
            is_of_another_site(&request.body(()).unwrap())
        };
        let host = ("host", "127.0.0.1:4380");
        for (headers, refused) in [
            (vec![host], false),
            (vec![host, ("origin", "http://127.0.0.1:4380")], false),
            (vec![host, ("origin", "https://evil.example")], true),
            (vec![host, ("origin", "null")], true),
            (vec![host, ("sec-fetch-site", "same-origin")], false),
            (vec![host, ("sec-fetch-site", "same-site")], true),
            (vec![host, ("sec-fetch-site", "cross-site")], true),
        ] {
            assert_eq!(sent("POST", "/", &headers), refused, "{headers:?}");
            assert!(!sent("GET", "/", &headers), "reading is for the right alone");
        }
        let own = [("origin", "https://ledger.example")];
        assert!(!sent("POST", "https://ledger.example/api/v1/keys", &own));
        assert!(sent("POST", "https://other.example/api/v1/keys", &own));
    }
}

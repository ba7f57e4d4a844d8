//! The Host header on loopback: a page of the web must not reach this server under its own name.
//!
//! A browser lets a page talk to the page's own host. An attacker points that host's name at
//! 127.0.0.1 after the page was loaded (DNS rebinding) and reads everything. The browser still
//! sends the attacker's name in `Host`: so on loopback only the names of loopback are answered.

use super::problem::Problem;
use crate::access::Credentials;
use axum::http::{Request, header};
use std::net::{IpAddr, SocketAddr};

/// Which hosts a listener answers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostCheck {
    /// Any: the listener is not on loopback, and credentials guard it.
    Any,
    /// These names and this port.
    Only {
        /// Names and addresses, as they stand in a `Host` header, lower case.
        names: Vec<String>,
        /// The port; a header without one means 80. Absent: any, as behind a tunnel.
        port: Option<u16>,
    },
}

impl HostCheck {
    /// The check for a listener at that address.
    ///
    /// ```
    /// use spanledger::api::HostCheck;
    /// let check = HostCheck::for_listener("127.0.0.1:4380".parse()?);
    /// assert!(check.allows("localhost:4380") && check.allows("[::1]:4380"));
    /// assert!(!check.allows("evil.example:4380") && !check.allows("localhost:80"));
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn for_listener(address: SocketAddr) -> Self {
        if !address.ip().to_canonical().is_loopback() {
            return Self::Any;
        }
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
        let own = match address.ip().to_canonical() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        if !names.contains(&own) {
            names.push(own);
        }
        Self::Only { names, port: Some(address.port()) }
    }

    /// The same names with any port. What writes may come through a tunnel or a mapped port; a
    /// page of the web still cannot choose the name.
    #[must_use]
    pub fn on_any_port(self) -> Self {
        match self {
            Self::Only { names, .. } => Self::Only { names, port: None },
            Self::Any => Self::Any,
        }
    }

    /// Whether a request with this `Host` is answered.
    pub fn allows(&self, host: &str) -> bool {
        let Self::Only { names, port } = self else { return true };
        let (name, given) = split(host);
        let given = match given {
            None => 80,
            Some(digits) => match digits.parse::<u16>() {
                // `parse` takes a sign, a port has none.
                Ok(_) if digits.starts_with('+') => return false,
                Ok(given) => given,
                Err(_) => return false,
            },
        };
        port.is_none_or(|port| given == port)
            && names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }

    /// Refuses a request for another host, or for none, while nobody needs a credential.
    ///
    /// # Errors
    /// A [`Problem`] with status 421.
    pub fn check<B>(
        &self,
        request: &Request<B>,
        credentials: Option<&Credentials>,
    ) -> Result<(), Problem> {
        let Self::Only { port, .. } = self else { return Ok(()) };
        // A page of the web has no credential; and a proxy on this machine says its own name.
        if credentials.is_some_and(|credentials| !credentials.is_open()) {
            return Ok(());
        }
        let headers = request.headers().get_all(header::HOST).iter().map(|host| host.to_str().ok());
        let authority = request.uri().authority().map(|authority| Some(authority.as_str()));
        let mut named = false;
        for host in headers.chain(authority) {
            named = true;
            if !host.is_some_and(|host| self.allows(host)) {
                return Err(refusal(*port));
            }
        }
        if named { Ok(()) } else { Err(refusal(*port)) }
    }
}

fn refusal(port: Option<u16>) -> Problem {
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    // The name that was asked for is not repeated: it is the attacker's text.
    Problem::host(format!(
        "While nobody needs a credential this server answers as 127.0.0.1{port}, \
         [::1]{port} or localhost{port}. Use one of these addresses."
    ))
}

/// Name and port; the colons of a bracketed IPv6 address belong to the name.
fn split(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> HostCheck {
        HostCheck::for_listener("127.0.0.1:4380".parse().unwrap())
    }

    #[test]
    fn the_names_of_loopback_with_the_port_are_answered() {
        for host in ["127.0.0.1:4380", "[::1]:4380", "localhost:4380", "LocalHost:4380"] {
            assert!(loopback().allows(host), "{host}");
        }
    }

    #[test]
    fn every_other_host_is_refused() {
        for host in [
            "",
            "evil.example",
            "evil.example:4380",
            "localhost",
            "localhost:",
            "localhost:43800",
            "localhost:+4380",
            "localhost.:4380",
            "localhost.evil.example:4380",
            "127.0.0.1.evil.example:4380",
            "127.0.0.1:4380:4380",
            "[::1]",
            "[::2]:4380",
            "::1:4380",
            "user@localhost:4380",
        ] {
            assert!(!loopback().allows(host), "{host}");
        }
    }

    #[test]
    fn a_listener_on_port_80_needs_no_port_in_the_header() {
        let check = HostCheck::for_listener("[::1]:80".parse().unwrap());
        assert!(check.allows("localhost") && check.allows("[::1]") && check.allows("[::1]:80"));
    }

    #[test]
    fn a_listener_for_other_machines_takes_every_name() {
        for address in ["0.0.0.0:4380", "10.0.0.1:4380", "[2001:db8::1]:4380"] {
            assert_eq!(HostCheck::for_listener(address.parse().unwrap()), HostCheck::Any);
        }
    }

    #[test]
    fn where_everybody_needs_a_credential_a_proxy_may_say_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::open(dir.path()).unwrap();
        let request =
            Request::builder().header(header::HOST, "audit.acme.example").body(()).unwrap();
        assert!(loopback().check(&request, Some(&credentials)).is_err());
        credentials.put_in_effect(crate::access::Book::default());
        assert!(loopback().check(&request, Some(&credentials)).is_ok());
    }

    #[test]
    fn a_request_without_a_host_is_refused_and_two_hosts_must_both_be_right() {
        let request = |hosts: &[&str], uri: &str| {
            let mut builder = Request::builder().uri(uri);
            for host in hosts {
                builder = builder.header(header::HOST, *host);
            }
            builder.body(()).unwrap()
        };
        assert_eq!(loopback().check(&request(&[], "/"), None).unwrap_err().status, 421);
        assert!(loopback().check(&request(&["localhost:4380"], "/"), None).is_ok());
        assert!(loopback().check(&request(&["localhost:4380", "evil:4380"], "/"), None).is_err());
        assert!(loopback().check(&request(&[], "http://localhost:4380/"), None).is_ok());
        let both = request(&["localhost:4380"], "http://evil.example/");
        assert!(loopback().check(&both, None).is_err());
    }
}

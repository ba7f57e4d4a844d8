//! What it costs to know who a request is from: `cargo bench --bench access`. Per request, that is
//! once for some hundred spans.

use divan::Bencher;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use spanledger::access::{
    Book, Credentials, Forward, NewCredential, Presented, RateLimits, Right, Role, Tenant,
    TenantFrom, Tenants,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// Credentials among a thousand others, and the headers of a request of the last of them.
fn credentials(role: Role, limits: RateLimits) -> (tempfile::TempDir, Credentials, HeaderMap) {
    let mut book = Book::default();
    let tenant = |n: usize| Tenant::new(&format!("tenant-{n}")).expect("a name");
    let forward = Forward {
        from: TenantFrom::ResourceAttribute("tenant.id".to_owned()),
        tenants: (0..1000).map(tenant).collect(),
    };
    let mut last = None;
    for number in 0..1000 {
        let name = format!("agents {number}");
        let new = NewCredential {
            forward: (role == Role::Forwarder).then(|| forward.clone()),
            limits,
            ..NewCredential::new(name, role, Some(tenant(number)))
        };
        last = book.create(new, "os:bench", Timestamp::now()).expect("a credential").1;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let credentials = Credentials::open(dir.path()).expect("credentials");
    credentials.put_in_effect(book);
    let token = last.expect("a key");
    let mut headers = HeaderMap::new();
    let value = format!("Bearer {}", token.reveal());
    headers.insert("authorization", HeaderValue::from_str(&value).expect("a value"));
    (dir, credentials, headers)
}

fn admit(credentials: &Credentials, headers: &HeaderMap) -> bool {
    let principal = credentials.authenticate(Presented::from_headers(headers), None);
    principal.is_ok_and(|principal| {
        principal.demand(Right::Write).is_ok()
            && principal.admit_request().is_ok()
            && principal.admit_bytes(150_000).is_ok()
            && Tenants::of(&principal, headers).1.is_none()
    })
}

#[divan::bench]
fn a_request_with_a_key(bencher: Bencher<'_, '_>) {
    let (_dir, credentials, headers) = credentials(Role::Writer, RateLimits::default());
    assert!(admit(&credentials, &headers));
    bencher.bench(|| admit(&credentials, &headers));
}

#[divan::bench]
fn a_request_with_a_key_that_has_limits(bencher: Bencher<'_, '_>) {
    let limits =
        RateLimits { requests_per_second: Some(u32::MAX), bytes_per_second: Some(1 << 40) };
    let (_dir, credentials, headers) = credentials(Role::Writer, limits);
    assert!(admit(&credentials, &headers));
    bencher.bench(|| admit(&credentials, &headers));
}

#[divan::bench]
fn the_tenant_of_a_resource_of_a_forwarder(bencher: Bencher<'_, '_>) {
    let (_dir, credentials, headers) = credentials(Role::Forwarder, RateLimits::default());
    let principal =
        credentials.authenticate(Presented::from_headers(&headers), None).expect("a principal");
    let tenants = Tenants::of(&principal, &headers).0;
    let attributes = [("service.name", "agents"), ("tenant.id", "tenant-500"), ("a", "b")];
    assert_eq!(tenants.of_resource(attributes.into_iter()).name(), "tenant-500");
    bencher.bench(|| tenants.of_resource(attributes.into_iter()).name().len());
}

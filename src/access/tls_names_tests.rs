use super::*;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, KeyPair, SanType,
};

const NOW: i64 = 1_800_000_000;

fn names_of(params: &CertificateParams) -> Vec<String> {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let named = PeerCertificate::from_der(certificate.der(), NOW).unwrap();
    named.names.iter().map(ToString::to_string).collect()
}

fn params(subject: &[(DnType, &str)]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), DnValue::Utf8String((*value).to_owned()));
    }
    params
}

#[test]
fn a_certificate_is_named_by_its_subject_and_each_alternative_name() {
    let mut params = params(&[
        (DnType::CountryName, "DE"),
        (DnType::OrganizationName, "Acme"),
        (DnType::CommonName, "agent"),
    ]);
    params.subject_alt_names = vec![
        SanType::DnsName("Agents.Acme.example".try_into().unwrap()),
        SanType::URI("spiffe://acme/agent".try_into().unwrap()),
        SanType::Rfc822Name("ops@acme.example".try_into().unwrap()),
        SanType::IpAddress([127, 0, 0, 1].into()),
    ];
    let expected = [
        "subject:CN=agent,O=Acme,C=DE",
        "dns:agents.acme.example",
        "uri:spiffe://acme/agent",
        "email:ops@acme.example",
    ];
    assert_eq!(names_of(&params), expected);
}

#[test]
fn no_value_can_look_like_another_part_of_the_name() {
    for (value, written) in [
        ("a,O=Acme", "CN=a\\,O=Acme"),
        ("a+O=Acme", "CN=a\\+O=Acme"),
        ("a\\,b", "CN=a\\\\\\,b"),
        (" a ", "CN=\\ a\\ "),
        (" ", "CN=\\ "),
        ("#a#", "CN=\\#a#"),
        ("a\nb\0", "CN=a\\0ab\\00"),
        ("\"<;>\"", "CN=\\\"\\<\\;\\>\\\""),
        ("Zürich 日本", "CN=Zürich 日本"),
    ] {
        let named = names_of(&params(&[(DnType::CommonName, value)]));
        assert_eq!(named, [format!("subject:{written}")], "{value:?}");
    }
}

#[test]
fn a_type_without_a_name_in_the_standard_is_written_as_its_bytes() {
    let serial_number = DnType::from_oid(&[2, 5, 4, 5]);
    let named = names_of(&params(&[(DnType::CommonName, "a"), (serial_number, "17")]));
    assert_eq!(named, ["subject:2.5.4.5=#0c023137,CN=a"]);
}

#[test]
fn a_certificate_without_names_has_none() {
    assert!(names_of(&params(&[])).is_empty());
}

#[test]
fn names_beyond_the_bounds_are_left_out() {
    let long = "x".repeat(MAX_NAME_BYTES);
    let mut params = params(&[(DnType::CommonName, &long)]);
    let dns = |index: usize| SanType::DnsName(format!("a{index}.example").try_into().unwrap());
    params.subject_alt_names = (0..MAX_NAMES + 6).map(dns).collect();
    let named = names_of(&params);
    assert_eq!(named.len(), MAX_NAMES);
    assert_eq!(named[0], "dns:a0.example");
}

#[test]
fn what_is_no_certificate_or_has_ended_is_refused() {
    let unreadable = PeerCertificate::from_der(b"certificate", NOW);
    assert_eq!(unreadable, Err(UnusableCertificate::Unreadable));

    let key = KeyPair::generate().unwrap();
    let mut ended = params(&[(DnType::CommonName, "a")]);
    ended.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let ended = ended.self_signed(&key).unwrap();
    assert_eq!(PeerCertificate::from_der(ended.der(), NOW), Err(UnusableCertificate::Expired));

    let mut broken = params(&[(DnType::CommonName, "a")]);
    let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], b"no names".to_vec());
    broken.custom_extensions = vec![names];
    let broken = broken.self_signed(&key).unwrap();
    assert_eq!(PeerCertificate::from_der(broken.der(), NOW), Err(UnusableCertificate::Unreadable));
}

use super::*;
use rcgen::{CertificateParams, KeyPair};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Writes a certificate and its key; gives the certificate.
fn write_pair(settings: &TlsSettings) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    fs::write(&settings.certificate, certificate.pem()).unwrap();
    write_private(&settings.key, &key.serialize_pem());
    certificate.der().to_vec()
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn settings(folder: &Path) -> TlsSettings {
    TlsSettings {
        certificate: folder.join("tls.crt"),
        key: folder.join("tls.key"),
        clients: None,
        reload: Duration::from_secs(30),
    }
}

fn error_of(settings: &TlsSettings) -> String {
    Tls::load(settings.clone()).unwrap_err().to_string()
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_key_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    let expect = |settings: &TlsSettings, words: &[&str]| {
        let error = error_of(settings);
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    };
    expect(&settings, &["tls.certificate", "tls.crt", "cannot read"]);
    write_pair(&settings);
    assert!(Tls::load(settings.clone()).is_ok());

    fs::set_permissions(&settings.key, fs::Permissions::from_mode(0o644)).unwrap();
    expect(&settings, &["tls.key", "644", "chmod 600"]);
    let another = KeyPair::generate().unwrap().serialize_pem();
    write_private(&settings.key, &another);
    expect(&settings, &["tls.key", "is not the key of the certificate"]);
    write_private(&settings.key, "nothing");
    expect(&settings, &["tls.key", "no private key", "passphrase"]);

    write_pair(&settings);
    fs::write(&settings.certificate, "nothing").unwrap();
    expect(&settings, &["tls.certificate", "no certificate"]);
    write_pair(&settings);
    let authorities = folder.path().join("ca.crt");
    fs::write(&authorities, "nothing").unwrap();
    let clients =
        ClientAuthorities { authorities: authorities.clone(), revoked: None, required: false };
    settings.clients = Some(clients.clone());
    expect(&settings, &["tls.client_ca", "no certificate"]);
    fs::copy(&settings.certificate, &authorities).unwrap();
    assert!(Tls::load(settings.clone()).is_ok());
    settings.clients = Some(ClientAuthorities { revoked: Some(authorities), ..clients });
    expect(&settings, &["tls.client_revoked", "no list"]);
}

#[test]
fn a_file_that_changed_is_taken_and_one_that_did_not_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    write_pair(&settings);
    let tls = Tls::load(settings.clone()).unwrap();
    let before = tls.config();
    assert!(!tls.look(false).unwrap());
    assert!(Arc::ptr_eq(&before, &tls.config()));
    assert!(tls.look(true).unwrap(), "who asks gets what is there");
    write_pair(&settings);
    assert!(tls.look(false).unwrap());
    assert!(!Arc::ptr_eq(&before, &tls.config()));
    assert_eq!(tls.status().reloads(), 2);
}

#[test]
fn a_broken_file_changes_nothing_and_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    write_pair(&settings);
    let tls = Tls::load(settings.clone()).unwrap();
    let (before, expires) = (tls.config(), tls.status().expires());
    fs::write(&settings.certificate, "half a certifi").unwrap();
    assert!(tls.look(false).is_err());
    assert!(!tls.look(false).unwrap(), "the same file is not tried again");
    assert!(Arc::ptr_eq(&before, &tls.config()));
    assert_eq!(tls.status().expires(), expires);
    assert!(tls.status().is_stale());
    write_pair(&settings);
    assert!(tls.look(false).unwrap());
    assert!(!tls.status().is_stale());
}

#[test]
fn a_key_is_tried_again_when_only_its_mode_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    write_pair(&settings);
    let tls = Tls::load(settings.clone()).unwrap();
    fs::set_permissions(&settings.key, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(tls.look(false).unwrap_err().to_string().contains("chmod"));
    fs::set_permissions(&settings.key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(tls.look(false).unwrap());
}

#[test]
fn the_group_may_read_a_key_that_root_owns_and_no_other() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    write_pair(&settings);
    let is_roots = fs::metadata(&settings.key).unwrap().uid() == 0;
    for (mode, is_private) in
        [(0o600, true), (0o400, true), (0o640, is_roots), (0o660, false), (0o604, false)]
    {
        fs::set_permissions(&settings.key, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(Tls::load(settings.clone()).is_ok(), is_private, "{mode:o}");
    }
}

#[test]
fn the_end_of_the_certificate_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    fs::write(&settings.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    write_private(&settings.key, &key.serialize_pem());
    assert_eq!(Tls::load(settings).unwrap().status().expires(), 1_893_456_000);
}

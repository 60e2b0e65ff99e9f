use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use super::cert_source::read;
use super::testing::{Authority, Issued, provider};
use super::{
    CertError, CertManager, CertSource, ClientAuth, Origin, Roots, ServerTls, TlsClientOptions,
    TlsServerOptions, UnknownName,
};

/// A directory that is gone at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("longshore-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a pair of files, both named so.
    fn store(&self, name: &str, issued: &Issued) -> (PathBuf, PathBuf) {
        let (chain, key) = (
            self.0.join(format!("{name}.pem")),
            self.0.join(format!("{name}.key")),
        );
        std::fs::write(&chain, issued.certificate.pem()).unwrap();
        std::fs::write(&key, issued.key.serialize_pem()).unwrap();
        (chain, key)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn shown(certs: &CertManager) -> CertificateDer<'static> {
    certs.current().default.key.cert[0].clone()
}

#[test]
fn every_form_of_a_certificate_is_taken() {
    let issued = Authority::new().issue("a.test");
    let folder = Folder::new("forms");
    let (chain, key) = folder.store("a", &issued);
    let both = [read(&chain).unwrap(), read(&key).unwrap()].concat();
    let ready = CertifiedKey::from_der(vec![issued.der()], issued.key_der(), &provider()).unwrap();
    let all = [
        CertManager::from_pem_files(&chain, &key),
        CertManager::from_pem(issued.certificate.pem(), issued.key.serialize_pem()),
        CertManager::from_pem(both.clone(), both),
        CertManager::from_der(vec![issued.der()], issued.key_der()),
        CertManager::from_certified_key(ready.clone()),
        CertManager::new(Arc::new(ready)),
    ];
    for certs in all {
        assert_eq!(shown(&certs.unwrap()), issued.der());
    }
}

#[test]
fn a_key_of_another_certificate_is_refused_with_both_files_named() {
    let authority = Authority::new();
    let (old, new) = (authority.issue("a.test"), authority.issue("a.test"));
    let folder = Folder::new("mismatch");
    let (chain, _) = folder.store("old", &old);
    let (_, key) = folder.store("new", &new);
    let certs = old.manager();
    let version = certs.version();
    for error in [
        certs.update(CertSource::pem_files(&chain, &key)),
        certs.add("a.test", CertSource::pem_files(&chain, &key)),
    ] {
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("old.pem") && text.contains("new.key"),
            "{text}"
        );
    }
    assert_eq!(
        (certs.version(), shown(&certs)),
        (version, old.der()),
        "nothing was swapped"
    );
    let mixed = CertSource::der(vec![old.der()], new.key_der());
    assert!(matches!(
        certs.update(mixed),
        Err(CertError::KeyMismatch {
            certificate: Origin::Memory,
            key: Origin::Memory
        })
    ));
}

#[test]
fn reload_takes_new_files_and_keeps_the_old_certificates_if_any_file_is_bad() {
    let authority = Authority::new();
    let folder = Folder::new("reload");
    let (old, named, memory) = (
        authority.issue("a.test"),
        authority.issue("b.test"),
        authority.issue("c.test"),
    );
    let (chain, key) = folder.store("a", &old);
    let (named_chain, named_key) = folder.store("b", &named);
    let certs = CertManager::from_pem_files(&chain, &key).unwrap();
    let certs = certs
        .with_name("b.test", CertSource::pem_files(&named_chain, &named_key))
        .unwrap();
    certs.add("c.test", memory.source()).unwrap();

    let new = authority.issue("a.test");
    folder.store("a", &new);
    assert_eq!(shown(&certs), old.der(), "nothing is read unasked");
    std::fs::write(&named_key, "half a fi").unwrap();
    let error = certs.reload().unwrap_err();
    assert!(error.to_string().contains("b.key"), "{error}");
    assert_eq!(shown(&certs), old.der());

    folder.store("b", &named);
    assert_eq!(certs.reload().unwrap(), 2);
    assert_eq!(shown(&certs), new.der());

    std::fs::remove_file(&chain).unwrap();
    assert!(matches!(certs.reload(), Err(CertError::Read { path, .. }) if path == chain));
    assert_eq!(shown(&certs), new.der());
    assert_eq!(memory.manager().reload().unwrap(), 0);
}

#[test]
fn a_reloaded_certificate_must_still_be_valid_for_its_name() {
    let authority = Authority::new();
    let folder = Folder::new("rename");
    let (chain, key) = folder.store("b", &authority.issue("b.test"));
    let certs = authority.issue("a.test").manager();
    certs
        .add("b.test", CertSource::pem_files(chain, key))
        .unwrap();
    folder.store("b", &authority.issue("c.test"));
    assert!(matches!(
        certs.reload(),
        Err(CertError::NameNotCovered { .. })
    ));
}

#[test]
fn bad_files_are_named_with_what_is_wrong() {
    let folder = Folder::new("bad");
    let issued = Authority::new().issue("a.test");
    let (chain, key) = folder.store("a", &issued);
    let write = |name: &str, text: &str| {
        let path = folder.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let section = |label: &str, text: &str| {
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let fails = |chain: &Path, key: &Path| CertManager::from_pem_files(chain, key).unwrap_err();
    let empty = write("empty", "");
    let broken = write("broken", &section("CERTIFICATE", "!!!"));
    let cut = write("cut", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let nonsense = write("nonsense", &section("CERTIFICATE", "AAAA"));
    let bad_key = write("badkey", &section("PRIVATE KEY", "AAAA"));
    let encrypted = write("encrypted", &section("ENCRYPTED PRIVATE KEY", "AAAA"));
    let missing = folder.0.join("missing");

    let errors = [
        (fails(&missing, &key), "missing"),
        (fails(&chain, &missing), "missing"),
        (fails(&empty, &key), "empty"),
        (fails(&chain, &empty), "empty"),
        (fails(&broken, &key), "broken"),
        (fails(&nonsense, &key), "nonsense"),
        (fails(&chain, &bad_key), "badkey"),
        (fails(&chain, &encrypted), "encrypted"),
        (fails(&key, &key), "a.key"),
        (fails(&chain, &chain), "a.pem"),
        (
            fails(&cut, &key),
            "cut` is not well-formed pem: there is no line `-----END CERTIFICATE-----`",
        ),
    ];
    for (error, file) in &errors {
        assert!(
            error.to_string().contains(file),
            "{error} does not name {file}"
        );
    }
    assert!(errors[0].0.source().is_some());
    assert!(matches!(errors[2].0, CertError::NoCertificate { .. }));
    assert!(matches!(errors[3].0, CertError::NoKey { .. }));
    assert!(matches!(errors[4].0, CertError::Pem { .. }));
    assert!(matches!(errors[5].0, CertError::BadCertificate { .. }));
    assert!(matches!(errors[6].0, CertError::BadKey { .. }));
    assert!(matches!(errors[7].0, CertError::EncryptedKey { .. }));
    assert!(matches!(
        CertManager::from_der(vec![], issued.key_der()),
        Err(CertError::NoCertificate { .. })
    ));
}

#[test]
fn an_expired_certificate_is_taken() {
    let expired = Authority::new().issue_for_years("a.test", 2001, 2002);
    assert_eq!(shown(&expired.manager()), expired.der());
}

#[test]
fn names_are_found_exactly_first_then_by_wildcard_then_by_the_policy() {
    let authority = Authority::new();
    let default = authority.issue("default.test");
    let (exact, wild) = (authority.issue("api.a.test"), authority.issue("*.a.test"));
    let certs = default.manager();
    certs.add("API.a.test.", exact.source()).unwrap();
    certs.add("*.a.test", wild.source()).unwrap();
    let find = |asked: Option<&str>| {
        certs
            .current()
            .find(asked)
            .map(|pair| pair.key.cert[0].clone())
    };
    assert_eq!(find(Some("api.a.test")), Some(exact.der()));
    assert_eq!(find(Some("Api.A.Test")), Some(exact.der()));
    assert_eq!(find(Some("www.a.test")), Some(wild.der()));
    assert_eq!(
        find(Some("a.b.a.test")),
        Some(default.der()),
        "a wildcard stands for one label"
    );
    assert_eq!(find(Some("a.test")), Some(default.der()));
    assert_eq!(find(None), Some(default.der()));
    certs.set_unknown_name(UnknownName::Refuse);
    assert_eq!(
        (find(Some("a.test")), find(None)),
        (None, Some(default.der()))
    );
    assert_eq!(find(Some("default.test")), Some(default.der()));
    let certs = certs.with_unknown_name(UnknownName::RefuseAlsoMissing);
    assert_eq!(certs.current().find(None).map(|_| ()), None);
    assert!(certs.remove("api.a.test") && !certs.remove("api.a.test"));
    assert_eq!(
        certs.current().find(Some("api.a.test")).unwrap().key.cert[0],
        wild.der()
    );
}

#[test]
fn a_name_that_no_client_could_use_is_refused() {
    let authority = Authority::new();
    let certs = authority.issue("a.test").manager();
    let wild = || authority.issue("*.a.test").source();
    for name in ["", "*", "*.", "a b", "*.*.a.test", "127.0.0.1:80"] {
        assert!(
            matches!(certs.add(name, wild()), Err(CertError::InvalidName { .. })),
            "{name}"
        );
    }
    for name in ["b.test", "a.test", "x.y.a.test", "*.b.test"] {
        assert!(
            matches!(
                certs.add(name, wild()),
                Err(CertError::NameNotCovered { .. })
            ),
            "{name}"
        );
    }
    assert!(matches!(
        certs.add("*.a.test", authority.issue("x.a.test").source()),
        Err(CertError::NameNotCovered { .. })
    ));
}

#[test]
fn swaps_by_many_threads_are_all_kept() {
    let authority = Authority::new();
    let certs = authority.issue("a.test").manager();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (certs, authority) = (certs.clone(), &authority);
            scope.spawn(move || {
                for round in 0..10 {
                    let name = format!("n{round}.t{thread}.test");
                    certs.add(&name, authority.issue(&name).source()).unwrap();
                }
            });
        }
    });
    assert_eq!((certs.version(), certs.current().named.len()), (40, 40));
}

#[test]
fn a_config_is_built_once_for_each_set_of_certificates() {
    let authority = Authority::new();
    let certs = authority.issue("a.test").manager();
    let server = ServerTls::new(Some(certs.clone()), TlsServerOptions::default()).unwrap();
    let first = server.setup().unwrap().config;
    assert!(Arc::ptr_eq(&first, &server.setup().unwrap().config));
    certs
        .clone()
        .update(authority.issue("a.test").source())
        .unwrap();
    let second = server.setup().unwrap().config;
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(!Arc::ptr_eq(&first.ticketer, &second.ticketer));
    assert!(Arc::ptr_eq(&second, &server.setup().unwrap().config));
}

#[test]
fn roots_come_from_files_and_bytes() {
    let authority = Authority::new();
    let issued = authority.issue("a.test");
    let folder = Folder::new("roots");
    let (pem, key) = folder.store("root", &issued);
    assert_eq!(Roots::from_pem_file(&pem).unwrap().store().len(), 1);
    assert_eq!(
        Roots::from_pem(&read(&pem).unwrap()).unwrap().store().len(),
        1
    );
    assert_eq!(authority.roots().store().len(), 1);
    assert!(
        Roots::from_pem_file(key)
            .unwrap_err()
            .to_string()
            .contains("root.key")
    );
    assert!(matches!(
        Roots::from_der([]),
        Err(CertError::NoCertificate { .. })
    ));
    assert!(matches!(
        Roots::from_der([vec![0].into()]),
        Err(CertError::BadCertificate { .. })
    ));
}

#[test]
fn no_key_is_ever_printed() {
    let issued = Authority::new().issue("a.test");
    let secret = issued.key.serialize_pem();
    let texts = [
        format!(
            "{:?}",
            CertSource::pem(issued.certificate.pem(), secret.clone())
        ),
        format!("{:?}", issued.source()),
        format!("{:?}", issued.manager()),
        format!(
            "{:?}",
            TlsClientOptions::default().with_certificate(issued.manager())
        ),
    ];
    let secret_bytes = format!("{:?}", &issued.key.serialize_der()[40..60]);
    for text in texts {
        assert!(
            !text.contains("PRIVATE") && !text.contains(secret_bytes.trim_matches(['[', ']'])),
            "{text}"
        );
    }
}

#[test]
fn public_handles_can_be_shared_between_threads() {
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<CertManager>();
    is_shared::<CertSource>();
    is_shared::<CertError>();
    is_shared::<Roots>();
    is_shared::<ServerTls>();
    is_shared::<TlsClientOptions>();
    is_shared::<TlsServerOptions>();
    is_shared::<super::TlsError>();
    is_shared::<super::TlsInfo>();
}

#[test]
fn steps_are_brief_with_short_signatures_and_without_client_certificates() {
    let authority = Authority::new();
    let is_moderate = |certs: &CertManager, client_auth: ClientAuth| {
        let options = TlsServerOptions::default().with_client_auth(client_auth);
        ServerTls::new(Some(certs.clone()), options)
            .unwrap()
            .setup()
            .unwrap()
            .is_moderate
    };
    let certs = authority.issue("a.test").manager();
    assert!(is_moderate(&certs, ClientAuth::None));
    assert!(!is_moderate(
        &certs,
        ClientAuth::Optional(authority.roots())
    ));
    assert!(!is_moderate(
        &certs,
        ClientAuth::Required(authority.roots())
    ));

    let server = ServerTls::new(Some(certs.clone()), TlsServerOptions::default()).unwrap();
    let rsa = authority.issue_rsa("b.test");
    certs
        .add("b.test", CertSource::der(vec![rsa.der()], rsa.key_der()))
        .unwrap();
    assert!(
        !server.setup().unwrap().is_moderate,
        "one of the keys is long"
    );

    let given = TlsServerOptions::default().with_config(server.setup().unwrap().config);
    assert!(
        !ServerTls::new(None, given)
            .unwrap()
            .setup()
            .unwrap()
            .is_moderate,
        "the keys of a complete configuration are unknown"
    );
}

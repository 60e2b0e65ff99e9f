//! Revocation lists of a chain: a root, an authority below it, and the certificate of a peer, on either side of the
//! connection.

use longshore::tls::{ClientAuth, RevocationLists, TlsServerOptions};

use super::edges::outcome;
use super::*;

/// The serial numbers of the certificates below the root.
const INTERMEDIATE: u64 = 5;
const LEAF: u64 = 9;

/// A root, an authority whose certificate the root has signed, and a certificate of that authority.
struct Chain {
    root: Authority,
    intermediate: Authority,
    leaf: Issued,
}

impl Chain {
    fn new() -> Self {
        let root = Authority::new("the root");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "the authority below the root");
        params.serial_number = Some(INTERMEDIATE.into());
        let key = KeyPair::generate().unwrap();
        let intermediate = Authority(CertifiedIssuer::signed_by(params, key, &root.0).unwrap());
        let leaf = intermediate.issue_numbered(NAME, LEAF);
        Self {
            root,
            intermediate,
            leaf,
        }
    }

    fn manager(&self) -> CertManager {
        let source = CertSource::der(
            vec![
                self.leaf.certificate.der().clone(),
                self.intermediate.0.der().clone(),
            ],
            PrivatePkcs8KeyDer::from(self.leaf.key.serialize_der()).into(),
        );
        CertManager::new(source).unwrap()
    }

    /// The lists of both authorities, `None` for one that is missing, with what they revoke.
    fn lists(&self, root: Option<&[u64]>, intermediate: Option<&[u64]>) -> RevocationLists {
        self.lists_until(2100, root, intermediate)
    }

    /// Lists that were to be replaced at the begin of that year.
    fn lists_until(
        &self,
        year: i32,
        root: Option<&[u64]>,
        intermediate: Option<&[u64]>,
    ) -> RevocationLists {
        let of = |authority: &Authority, serials: Option<&[u64]>| {
            serials.map(|serials| authority.revocation_list_until(year, serials))
        };
        let lists = [of(&self.root, root), of(&self.intermediate, intermediate)];
        let lists = lists.into_iter().flatten();
        RevocationLists::from_der(lists.map(|list| list.der().clone())).unwrap()
    }
}

/// A node on which the chain is looked up by one side.
struct Checks<'a> {
    chain: &'a Chain,
    site: Site,
    probe: Probe,
}

impl<'a> Checks<'a> {
    fn new(chain: &'a Chain) -> Self {
        let site = Site::new();
        let probe = Probe::spawn(&site.node);
        Self { chain, site, probe }
    }

    /// Why a client refuses the chain of its server.
    fn by_client(&self, lists: &RevocationLists) -> Option<String> {
        let server = TcpServerOptions::default().with_cert_manager(self.chain.manager());
        let tls = TlsClientOptions::default()
            .with_roots(self.chain.root.roots())
            .with_server_name(NAME)
            .with_revocation_lists(lists.clone());
        outcome(&self.site, &self.probe, echo(&self.site.node, server), &tls)
    }

    /// Whether a server refuses the chain of its client, with this word in its log: the client gets an alert only.
    fn by_server(&self, lists: &RevocationLists, word: Option<&str>) -> Option<String> {
        let tls = TlsServerOptions::default()
            .with_client_auth(ClientAuth::Required(self.chain.root.roots()))
            .with_revocation_lists(lists.clone());
        let addr = echo(&self.site.node, self.site.server().with_tls(tls));
        let client = self.site.client().with_certificate(self.chain.manager());
        let alert = outcome(&self.site, &self.probe, addr, &client)?;
        let logged = |word| self.site.logged(&["not established", word]);
        Some(word.map_or(alert, logged))
    }

    /// Both sides accept the chain, or refuse it for a reason that has this word in it.
    #[track_caller]
    fn agree(&self, what: &str, lists: &RevocationLists, word: Option<&str>) {
        for (role, text) in [
            ("client", self.by_client(lists)),
            ("server", self.by_server(lists, word)),
        ] {
            match (&text, word) {
                (None, None) => {}
                (Some(text), Some(word)) if text.contains(word) => {}
                _ => panic!("{what}, by the {role}: {text:?}, and not {word:?}"),
            }
        }
    }
}

const UNKNOWN: Option<&str> = Some("UnknownRevocationStatus");
const REVOKED: Option<&str> = Some("Revoked");

#[test]
fn each_certificate_below_the_root_is_looked_up_in_the_list_of_its_authority() {
    let chain = Chain::new();
    let checks = Checks::new(&chain);
    let none: Option<&[u64]> = Some(&[]);
    for (what, root, intermediate, word) in [
        ("nothing is revoked", none, none, None),
        (
            "the authority is revoked",
            Some(&[INTERMEDIATE][..]),
            none,
            REVOKED,
        ),
        ("the peer is revoked", none, Some(&[LEAF][..]), REVOKED),
        (
            "numbers of the other authority",
            Some(&[LEAF][..]),
            Some(&[INTERMEDIATE][..]),
            None,
        ),
        ("no list of the root", None, none, UNKNOWN),
        ("no list of the authority", none, None, UNKNOWN),
    ] {
        checks.agree(what, &chain.lists(root, intermediate), word);
    }
    stop_clean(&checks.site.node);
}

#[test]
fn options_say_what_a_missing_list_and_that_of_the_root_mean() {
    let chain = Chain::new();
    let checks = Checks::new(&chain);
    let none: Option<&[u64]> = Some(&[]);
    let allowing = |root, intermediate| chain.lists(root, intermediate).with_unknown_allowed(true);
    checks.agree("a missing list is allowed", &allowing(None, none), None);
    let revoked = allowing(Some(&[INTERMEDIATE]), None);
    checks.agree("the list that is there holds", &revoked, REVOKED);
    let last = |root, intermediate| chain.lists(root, intermediate).with_only_end_entity(true);
    checks.agree("the root's list is not needed", &last(None, none), None);
    let ignored = last(Some(&[INTERMEDIATE]), none);
    checks.agree("the authority is not looked up", &ignored, None);
    checks.agree("the peer is", &last(none, Some(&[LEAF])), REVOKED);
    checks.agree("its list is needed", &last(none, None), UNKNOWN);
    stop_clean(&checks.site.node);
}

#[test]
fn list_that_is_out_of_date_counts_unless_it_is_refused() {
    let chain = Chain::new();
    let checks = Checks::new(&chain);
    let none: Option<&[u64]> = Some(&[]);
    let old = |root, intermediate| chain.lists_until(2021, root, intermediate);
    checks.agree("nothing is revoked", &old(none, none), None);
    checks.agree(
        "the authority is",
        &old(Some(&[INTERMEDIATE]), none),
        REVOKED,
    );
    let strict = old(none, none).with_expired_refused(true);
    checks.agree("it is refused", &strict, Some("revocation list expired"));
    let fresh = chain.lists(none, none).with_expired_refused(true);
    checks.agree("one that is not is accepted", &fresh, None);
    stop_clean(&checks.site.node);
}

#[test]
fn list_that_another_key_has_signed_refuses_the_chain() {
    let (chain, other) = (Chain::new(), Chain::new());
    let checks = Checks::new(&chain);
    // The name of the authority is the same.
    let forged = other.intermediate.revocation_list(&[]);
    let root = chain.root.revocation_list(&[]);
    let lists = [root, forged].map(|list| list.der().clone());
    let lists = RevocationLists::from_der(lists).unwrap();
    checks.agree("a forged list", &lists, Some("BadSignature"));
    stop_clean(&checks.site.node);
}

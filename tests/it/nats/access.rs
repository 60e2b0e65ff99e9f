//! Who may connect, and who may do what.

use longshore::nats::{NatsAuth, Nkey};

use super::*;

#[track_caller]
fn ended(client: &Started) -> String {
    client.wait_status(|status| match status {
        MessageNatsStatus::Ended(reason) => Some(reason.to_string()),
        _ => None,
    })
}

#[test]
fn user_and_password_are_given_by_option_or_by_address() {
    let config = r#"authorization { user: "alice", password: "p@ss" }"#;
    let Some(server) = NatsServer::start(config) else {
        return;
    };
    let node = node();
    let auth = NatsAuth::User("alice".into(), "p@ss".into());
    connected(&node, options(&server).with_auth(auth));
    connected(&node, format!("nats://alice:p@ss@{}", server.url()));
    stop_clean(&node);
}

#[test]
fn a_token_is_given_by_option_or_by_address() {
    let Some(server) = NatsServer::start(r#"authorization { token: "s3cr3t" }"#) else {
        return;
    };
    let node = node();
    connected(
        &node,
        options(&server).with_auth(NatsAuth::Token("s3cr3t".into())),
    );
    connected(&node, format!("s3cr3t@{}", server.url()));
    stop_clean(&node);
}

#[test]
#[cfg(feature = "tls")]
fn an_nkey_signs_the_nonce_of_the_server() {
    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    let nkey = Nkey::from_seed(SEED).unwrap();
    let config = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}",
        nkey.public_key()
    );
    let Some(server) = NatsServer::start(&config) else {
        return;
    };
    let node = node();
    let client = connected(&node, options(&server).with_auth(NatsAuth::Nkey(nkey)));
    let probe = Probe::spawn(&node);
    client.nats.subscribe(probe.pid, "a", None).unwrap();
    client.nats.publish("a", "in").unwrap();
    assert_eq!(message(&probe).data, "in");
    stop_clean(&node);
}

#[test]
#[cfg(not(feature = "tls"))]
fn an_nkey_needs_the_feature_tls() {
    let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    assert_eq!(Nkey::from_seed(seed).unwrap_err(), NatsError::Unsupported);
}

#[test]
fn a_client_that_is_refused_twice_ends_with_the_words_of_the_server() {
    let Some(server) = NatsServer::start(r#"authorization { token: "right" }"#) else {
        return;
    };
    let node = node();
    let client = start(
        &node,
        options(&server).with_auth(NatsAuth::Token("wrong".into())),
    );
    let asker = Probe::spawn(&node);
    client
        .nats
        .request(asker.pid, 5, "a", "", LIMIT * 10)
        .unwrap();
    assert_eq!(client.wait_disconnected().0, "Authorization Violation");
    assert_eq!(ended(&client), "Authorization Violation");
    assert_eq!(reply(&asker).result.unwrap_err(), NatsError::Closed);
    stop_clean(&node);
}

#[test]
fn a_server_that_refuses_is_left_for_one_that_does_not() {
    let Some(closed) = NatsServer::start(r#"authorization { token: "right" }"#) else {
        return;
    };
    let Some(open) = NatsServer::start("") else {
        return;
    };
    let node = node();
    let client = start(&node, options(&closed).with_server(open.url()));
    assert_eq!(client.wait_connected(), open.url());
    stop_clean(&node);
}

#[test]
fn what_is_not_permitted_is_said_and_the_connection_goes_on() {
    let config = r#"authorization { users: [ {
        user: "u", password: "p",
        permissions: { publish: ["ok.>", "_INBOX.>"], subscribe: ["ok.>", "_INBOX.>"] }
    } ] }"#;
    let Some(server) = NatsServer::start(config) else {
        return;
    };
    let node = node();
    let auth = NatsAuth::User("u".into(), "p".into());
    let client = connected(&node, options(&server).with_auth(auth));
    let nats = &client.nats;
    let (allowed, denied) = (Probe::spawn(&node), Probe::spawn(&node));
    nats.subscribe(allowed.pid, "ok.a", None).unwrap();
    let subscription = nats.subscribe(denied.pid, "no.a", "group").unwrap();
    let end = end(&denied);
    assert_eq!(end.subscription, subscription);
    assert!(
        matches!(&end.error, NatsError::Denied(words) if words.contains("no.a")),
        "{end:?}"
    );
    nats.publish("no.b", "lost").unwrap();
    let words = client.wait_status(|status| match status {
        MessageNatsStatus::Error(words) if words.contains("Publish") => Some(words),
        _ => None,
    });
    assert_eq!(&*words, "Permissions Violation for Publish to \"no.b\"");
    nats.publish("ok.a", "through").unwrap();
    assert_eq!(message(&allowed).data, "through");
    wait_for(&node, client.pid, "losses", 0);
    stop_clean(&node);
}
